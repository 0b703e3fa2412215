"""The ``nvgemm`` command: its arguments and exit codes. What the subcommands do stands in `commands`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nvgemm import __version__, commands, sass_commands, settings

INTERRUPTED = 130  # as shells say it of SIGINT

_CONTENTS = """\
look
  info       versions, devices, cache and settings
  explain    what the choice of a kernel weighs for a product; needs no GPU
  sass       a kernel's machine code: control words before and after a policy, counts, differences; needs no GPU

build
  compile    compile, patch and verify a kernel; needs no GPU

run
  demo       a transformer layer's products, with errors and times
  bench      kernel times of a suite of shapes, beside other libraries
  latency    host time of calls, by part
  tune       the fastest configuration of products, found by measurement and kept in a table

`nvgemm COMMAND --help` tells the options of one. Each takes --json.
Exit codes: 0 done, 1 an error told in a sentence, 2 wrong usage, 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code, as ``nvgemm --help`` lists them."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a stream that has no × or µ is written to all the same
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `nvgemm sass show … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print(f"nvgemm {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (OSError, RuntimeError, ValueError, TypeError, ImportError) as error:
        if settings.debug:
            raise
        from nvgemm.sass.elf import printable

        print(printable(f"nvgemm {options.command}: {error}", besides="\n"), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nvgemm",
        usage="nvgemm [--version] COMMAND [options]",
        description="FP8 matrix products for NVIDIA Hopper.",
        epilog=_CONTENTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nvgemm {__version__}")
    commands_of = parser.add_subparsers(dest="command", metavar="COMMAND", help=argparse.SUPPRESS)

    def add(name: str, run: Callable[[argparse.Namespace], None] | None = None) -> argparse.ArgumentParser:
        line = next(line for line in _CONTENTS.splitlines() if line.startswith(f"  {name} "))
        command = commands_of.add_parser(name, prog=f"nvgemm {name}", description=line.split(maxsplit=1)[1])
        if run is not None:
            command.add_argument("--json", action="store_true", help="as JSON")
            command.set_defaults(run=run)
        return command

    add("info", commands.info)
    explain = add("explain", commands.explain)
    for size in "mnk":  # argparse cannot print the help of a positional argument with three names
        explain.add_argument(size, type=int, metavar=size.upper(), help="of D [M, N] = A [M, K] · B [N, K]ᵀ")
    _add_num_sms(explain)
    sass_commands.add_to(add("sass"), _add_kernel)
    _add_compile(add("compile", commands.compile))
    add("demo", commands.demo)
    _add_bench(add("bench", commands.bench))
    add("latency", commands.latency)
    _add_tune(add("tune", commands.tune))
    return parser


def _add_kernel(source: argparse._ActionsContainer, parser: argparse.ArgumentParser) -> None:
    """Ways to name a kernel to be built: one of `source`, and what else of `parser` it depends on."""
    dense_help = "a dense product: D [M, N] = A [M, K] · B [N, K]ᵀ"
    source.add_argument("--dense", nargs=3, type=int, metavar=("M", "N", "K"), help=dense_help)
    grouped_help = "products of G groups; LAYOUT: contiguous, psum, offsets (A [M, K]), masked, batched (A [G, M, K])"
    source.add_argument("--grouped", nargs=5, metavar=("LAYOUT", "G", "M", "N", "K"), help=grouped_help)
    expected_help = "rows that a group is expected to have (default: M / G, or M where each group has its own)"
    parser.add_argument("--expected-m", type=_count, metavar="ROWS", help=expected_help)
    _add_num_sms(parser)


def _add_num_sms(parser: argparse.ArgumentParser) -> None:
    sms_help = "SMs that the product is given (default: all of the first GPU, or of an H100)"
    parser.add_argument("--num-sms", type=int, metavar="COUNT", help=sms_help)


def _add_compile(parser: argparse.ArgumentParser) -> None:
    _add_kernel(parser.add_mutually_exclusive_group(required=True), parser)
    parser.add_argument("--policy", help="policy for the control bits (default: NVGEMM_SASS)")
    parser.add_argument("--pdl", action="store_true", help="the kernel of calls with pdl=True")
    parser.add_argument("--weights-static", action="store_true", help="of those with weights_static=True, too")
    parser.add_argument("--emit", type=Path, metavar="DIR", help="also write sources and cubins to this folder")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    from nvgemm.bench.suites import MODES, SUITES

    parser.add_argument("--suite", choices=SUITES, default="dense", help="shapes to measure (default: dense)")
    parser.add_argument("--mode", choices=MODES, default="cold", help="L2 flushed, or seconds of load (default: cold)")
    shape_help = "instead of the suite's: M N K, or of groups such as g6:20x4096x2048:max4096:jit"
    parser.add_argument("--shape", nargs="+", action="append", help=f"{shape_help}; may be given several times")
    contenders_help = "only these beside nvgemm (default: all that are installed)"
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help=contenders_help)
    parser.add_argument("--rounds", type=_count, default=30, help="cold: launches of each (default: 30)")
    parser.add_argument("--seconds", type=_seconds, default=2.0, help="sustained: time for each (default: 2)")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="also tell what has moved since this run")


def _add_tune(parser: argparse.ArgumentParser) -> None:
    from nvgemm.bench.suites import TUNED_SUITES

    shape_help = "M N K, or groups such as g8:4096x7168x2048; may be given several times"
    parser.add_argument("--shape", nargs="+", action="append", metavar="SIZE", help=shape_help)
    parser.add_argument("--shapes", type=Path, metavar="FILE", help="a file with M, N and K, or groups, in each line")
    suite_help = f"what the shapes are of; alone: all of this suite of nvgemm bench: {', '.join(TUNED_SUITES)}"
    parser.add_argument("--suite", nargs="?", const="dense", choices=TUNED_SUITES, metavar="NAME", help=suite_help)
    candidates_help = "of least predicted time that are timed (default: 32)"
    parser.add_argument("--candidates", type=_count, default=32, metavar="COUNT", help=candidates_help)
    parser.add_argument("--rounds", type=_count, default=30, help="launches of each of the fastest (default: 30)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the table (default: tuned.json in the cache folder)")
    parser.add_argument("--sass", action="store_true", help="also search policies of the control bits, each product's")
    parser.add_argument("--again", action="store_true", help="also products that the table has")


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return value


def _seconds(text: str) -> float:
    if not 0 < (value := float(text)) < 3600:
        raise argparse.ArgumentTypeError(f"expected more than 0 and less than an hour, got {text}")
    return value
