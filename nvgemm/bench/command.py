"""``nvgemm bench``: the table as it grows; with ``--json`` that goes to stderr, and the results to stdout."""

from __future__ import annotations

import argparse
import shlex
import sys

from nvgemm.bench import compare, table
from nvgemm.bench.results import Record
from nvgemm.bench.run import Bench
from nvgemm.bench.suites import parse
from nvgemm.commands import as_json


def run(options: argparse.Namespace) -> None:
    """Measure, and print what has been measured also when the run is interrupted."""
    shapes = [parse(options.suite, words) for words in options.shape or ()]
    old = compare.load(options.compare, options.suite, options.mode) if options.compare else None
    sizes = {"rounds": options.rounds, "seconds": options.seconds}
    bench = Bench(options.suite, options.mode, shapes, options.contenders, command=_command(), **sizes)
    stream = sys.stderr if options.json else sys.stdout

    def tell(line: str) -> None:
        print(line, file=stream, flush=True)

    def tell_shape(shape: Record) -> None:
        tell(table.line(bench.results, shape))

    for line in table.head(bench.results):
        tell(line)
    try:
        bench.run(tell_shape)
    finally:
        results = bench.finish()
        if options.json:
            print(as_json(results), flush=True)
    for line in table.foot(results):
        tell(line)
    for line in compare.as_lines(old, results) if old else ():
        tell(line)


def _command() -> str:
    """What repeats the run; ``tools/bench.py`` and ``python -m nvgemm bench`` are the same command."""
    arguments = sys.argv[1:]
    return shlex.join(["nvgemm", "bench", *(arguments[1:] if arguments[:1] == ["bench"] else arguments)])
