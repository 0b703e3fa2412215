"""``nvgemm sass``: its subcommands' arguments, and what they print. Needs no GPU."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from nvgemm.commands import as_json, built

FILE_POLICY = "s2e2"  # for a cubin of which nothing is known; our own kernels have theirs by their blocks
CONTENTS = """\
show       promotion runs before and after a policy, and why each control word changed
stats      registers, spills, instructions, stalls, yields and reuse, before and after
policies   what each policy would change
verify     every rule of the verifier, on a kernel or on a raw and a patched file
diff       how two kernels differ: control words, or instructions
"""


class Pair(NamedTuple):
    """A cubin before and after a policy, and what it is."""

    raw: bytes
    patched: bytes
    policy: str
    title: str


def source(options: argparse.Namespace) -> Pair:
    """What a subcommand was given: a shape to build, the folder of a cache entry, or a file."""
    from nvgemm.runtime.build import applied_policy
    from nvgemm.sass.policy import apply

    if options.path is None:
        cubin = built(options)
        sizes = " ".join(map(str, options.dense or options.grouped))
        title = f"{'dense' if options.dense else 'grouped'} {sizes}"
        return Pair(cubin.raw, cubin.image, applied_policy(cubin.meta), title)
    if options.path.is_dir() and options.policy is None:
        meta = json.loads((options.path / "meta.json").read_bytes())
        raw, patched = ((options.path / name).read_bytes() for name in ("kernel.raw.cubin", "kernel.cubin"))
        return Pair(raw, patched, applied_policy(meta), options.path.name)
    file = options.path / "kernel.raw.cubin" if options.path.is_dir() else options.path
    raw, policy = file.read_bytes(), options.policy or FILE_POLICY
    return Pair(raw, apply(raw, policy), policy, str(options.path))


def show(options: argparse.Namespace) -> None:
    """Promotion runs before and after."""
    from nvgemm.sass.report import terminal
    from nvgemm.sass.report.facts import facts

    pair = source(options)
    content = facts(pair.raw, pair.patched, pair.policy)
    if options.html is not None:
        from nvgemm.sass.report.page import page

        options.html.write_text(page(content, pair.title), encoding="utf-8")
    if options.json:
        print(as_json(content))
    elif options.html is not None:
        print(options.html)
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ  # https://no-color.org
        print(terminal.show(content, full=options.full, colour=colour))


def stats(options: argparse.Namespace) -> None:
    """Counts before and after."""
    from nvgemm.sass.report.statistics import as_text, statistics

    pair = source(options)
    before, after = statistics(pair.raw), statistics(pair.patched)
    facts = {"policy": pair.policy, "before": before, "after": after}
    print(as_json(facts) if options.json else f"policy {pair.policy}\n\n{as_text(before, after)}")


def policies(options: argparse.Namespace) -> None:
    """What each policy would change."""
    from nvgemm.sass.report.catalogue import as_text, catalogue

    rows = catalogue(source(options).raw)
    print(as_json(rows) if options.json else as_text(rows))


def verify(options: argparse.Namespace) -> None:
    """The verifier's verdict."""
    from dataclasses import asdict

    from nvgemm.sass.report.terminal import summary
    from nvgemm.sass.verify import verify

    if options.patched is not None and options.path is None:
        raise ValueError("PATCHED: compares with the raw file PATH, and none was given")
    pair = source(options)
    patched, policy = (pair.patched, pair.policy) if options.patched is None else (_image(options.patched), None)
    counts = asdict(verify(pair.raw, patched, policy))
    print(as_json(counts) if options.json else summary(counts))


def diff(options: argparse.Namespace) -> None:
    """Two kernels beside each other."""
    from nvgemm.sass.report.difference import as_text, difference

    facts = difference(_image(options.a), _image(options.b))
    print(as_json(facts) if options.json else as_text(facts))


def _image(path: Path) -> bytes:
    return (path / "kernel.cubin" if path.is_dir() else path).read_bytes()


def add_to(parser: argparse.ArgumentParser, add_kernel: Callable[[Any, Any], None]) -> None:
    """Give `parser` the subcommands; `add_kernel(source, options)` adds the ways to name a kernel to be built."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"{CONTENTS}\n`nvgemm sass COMMAND --help` tells the options of one. Each takes --json.\n"
    parser.usage = "nvgemm sass COMMAND [options]"
    actions = {"show": show, "stats": stats, "policies": policies, "verify": verify, "diff": diff}
    commands = parser.add_subparsers(dest="action", metavar="COMMAND", help=argparse.SUPPRESS, required=True)
    for line in CONTENTS.splitlines():
        name, text = line.split(maxsplit=1)
        command = commands.add_parser(name, prog=f"nvgemm sass {name}", description=text)
        command.add_argument("--json", action="store_true", help="as JSON")
        command.set_defaults(run=actions[name])
        _add_arguments(name, command, add_kernel)


def _add_arguments(name: str, command: argparse.ArgumentParser, add_kernel: Callable[[Any, Any], None]) -> None:
    if name == "diff":
        for side in "ab":
            command.add_argument(side, type=Path, metavar=side.upper(), help="a cubin file or a cache entry's folder")
        return
    given = command.add_mutually_exclusive_group(required=True)
    given.add_argument("path", nargs="?", type=Path, help="a cubin file or the folder of a cache entry")
    add_kernel(given, command)
    default = f"default: the kernel's own, {FILE_POLICY} for a file"
    command.add_argument("--policy", help=f"policy to apply ({default})")
    if name == "show":
        command.add_argument("--full", action="store_true", help="also runs with the control words of an earlier one")
        command.add_argument("--html", type=Path, metavar="FILE", help="write a page to read in a browser instead")
    if name == "verify":
        command.add_argument("--patched", type=Path, metavar="FILE", help="what PATH became, instead of a policy")
