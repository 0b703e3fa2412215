"""``nvgemm sass``: its subcommands' arguments, and what they print. Needs no GPU."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvgemm.commands import as_json
from nvgemm.sass_sources import FILE_POLICY, image, is_part, source

CONTENTS = """\
show       promotion runs before and after a policy, and why each control word changed
stats      registers, spills, instructions, stalls, yields and reuse, before and after
policies   what each policy would change
verify     every rule of the verifier, on a kernel or on a raw and a patched file
diff       how two kernels differ: control words, or instructions
"""


def show(options: argparse.Namespace) -> None:
    """Promotion runs before and after."""
    from nvgemm.sass.report import terminal
    from nvgemm.sass.report.facts import facts

    pair = source(options)
    content = facts(pair.raw, pair.patched, pair.policy)
    if options.html is not None and options.path is not None and is_part(options.html, options.path):
        raise ValueError(f"--html: {options.html} is part of what is shown; name another file")
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

    pair = source(options)
    rows = catalogue(pair.raw, pair.policy)
    print(as_json(rows) if options.json else as_text(rows))


def verify(options: argparse.Namespace) -> None:
    """The verifier's verdict."""
    from dataclasses import asdict

    from nvgemm.sass.report.terminal import summary
    from nvgemm.sass.verify import verify

    if options.patched is not None and options.path is None:
        raise ValueError("PATCHED: compares with the raw file PATH, and none was given")
    pair = source(options)
    patched, policy = pair.patched, pair.policy
    if options.patched is not None:  # by whatever policy, if none is named
        patched, policy = image(options.patched), options.policy
    counts = asdict(verify(pair.raw, patched, policy))
    print(as_json(counts) if options.json else summary(counts))


def diff(options: argparse.Namespace) -> None:
    """Two kernels beside each other."""
    from nvgemm.sass.report.difference import as_text, difference

    facts = difference(image(options.a), image(options.b))
    print(as_json(facts) if options.json else as_text(facts))


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
        command.add_argument("--patched", type=Path, metavar="FILE", help="what PATH became (by --policy, if given)")
