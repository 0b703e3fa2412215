"""The ``nvgemm`` command: info, explain, compile, sass, demo."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nvgemm import __version__, settings

if TYPE_CHECKING:
    from nvgemm.runtime.build import Cubin

FILE_POLICY = "s2e2"  # for a cubin of which nothing is known; our own kernels have theirs by their blocks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 an error told in a sentence, 2 wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `nvgemm sass … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        if settings.debug:
            raise
        print(f"nvgemm {options.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nvgemm", description="FP8 matrix products for NVIDIA Hopper.")
    parser.add_argument("--version", action="version", version=f"nvgemm {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")

    info = commands.add_parser("info", help="versions, devices, cache and settings")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=_info)

    explain = commands.add_parser("explain", help="what the choice of a kernel weighs for a product; needs no GPU")
    explain.add_argument("shape", nargs=3, type=int, metavar=("M", "N", "K"), help="D [M, N] = A [M, K] · B [N, K]ᵀ")
    explain.add_argument("--json", action="store_true", help="as JSON")
    explain.set_defaults(run=_explain)

    build = commands.add_parser("compile", help="compile, patch and verify a kernel; needs no GPU")
    _add_shape(build, required=True)
    build.add_argument("--policy", help="policy for the control bits (default: NVGEMM_SASS)")
    build.add_argument("--emit", type=Path, metavar="DIR", help="also write sources and cubins to this folder")
    build.set_defaults(run=_compile)

    sass = commands.add_parser("sass", help="control words of a kernel before and after its policy")
    source = sass.add_mutually_exclusive_group(required=True)
    source.add_argument("path", nargs="?", type=Path, help="a cubin file or the folder of a cache entry")
    _add_shape(source)
    sass.add_argument("--policy", help=f"policy to apply (default: the kernel's own, {FILE_POLICY} for a file)")
    sass.add_argument("--full", action="store_true", help="also the runs with the control words of an earlier one")
    sass.add_argument("--json", action="store_true", help="as JSON")
    sass.set_defaults(run=_sass)

    demo = commands.add_parser("demo", help="a transformer layer's products, with errors and times")
    demo.set_defaults(run=_demo)
    return parser


def _add_shape(parser: argparse._ActionsContainer, required: bool = False) -> None:
    shape_help = "a dense product: D [M, N] = A [M, K] · B [N, K]ᵀ"
    parser.add_argument("--dense", nargs=3, type=int, metavar=("M", "N", "K"), required=required, help=shape_help)


def _info(options: argparse.Namespace) -> None:
    from nvgemm import info

    facts = info.collect()
    print(json.dumps(facts, indent=2) if options.json else info.as_text(facts))


def _explain(options: argparse.Namespace) -> None:
    from nvgemm import explain

    facts = explain.weigh(*options.shape)
    print(json.dumps(facts, indent=2) if options.json else explain.as_text(facts))


def _compile(options: argparse.Namespace) -> None:
    from nvgemm.gemm import build_dense

    cubin = build_dense(*options.dense, policy=options.policy)
    if options.emit is not None:
        emit(cubin, options.emit)
    print(options.emit or cubin.path or f"{cubin.symbol}: {len(cubin.image)} bytes, in memory only")


def emit(cubin: Cubin, folder: Path) -> None:
    """Write a kernel as a folder that compiles by itself, with the cubin that nvgemm made of it beside the sources."""
    files = {**cubin.files, "kernel.cubin": cubin.image, "kernel.raw.cubin": cubin.raw}
    for name, content in {**files, "meta.json": json.dumps(cubin.meta, indent=2).encode()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _sass(options: argparse.Namespace) -> None:
    from nvgemm.sass import report

    raw, patched, policy = _before_and_after(options)
    if options.json:
        print(json.dumps(report.as_json(raw, patched, policy), indent=2))
    else:
        print(report.as_text(raw, patched, policy, full=options.full))


def _before_and_after(options: argparse.Namespace) -> tuple[bytes, bytes, str]:
    from nvgemm.sass.policy import apply

    if options.dense is not None:
        from nvgemm.gemm import build_dense

        cubin = build_dense(*options.dense, policy=options.policy)
        return cubin.raw, cubin.image, cubin.meta["policy"]
    if options.path.is_dir() and options.policy is None:
        policy = json.loads((options.path / "meta.json").read_bytes())["policy"]
        return (options.path / "kernel.raw.cubin").read_bytes(), (options.path / "kernel.cubin").read_bytes(), policy
    raw = (options.path / "kernel.raw.cubin" if options.path.is_dir() else options.path).read_bytes()
    policy = options.policy or FILE_POLICY
    return raw, apply(raw, policy), policy


def _demo(options: argparse.Namespace) -> None:
    from nvgemm import demo

    demo.run()
