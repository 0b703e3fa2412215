"""``nvgemm bench``: the table as it grows; with ``--json`` that goes to stderr, and the results to stdout."""

from __future__ import annotations

import argparse
import json
import sys

from nvgemm.bench import compare, table
from nvgemm.bench.results import Record
from nvgemm.bench.run import Bench


def run(options: argparse.Namespace) -> None:
    """Measure, and print what has been measured also when the run is interrupted."""
    old = compare.load(options.compare) if options.compare else None
    bench = Bench(
        options.suite, options.mode, options.shape, options.contenders, rounds=options.rounds, seconds=options.seconds
    )
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
            print(json.dumps(results, indent=1, ensure_ascii=False), flush=True)
    for line in table.foot(results):
        tell(line)
    for line in compare.as_lines(old, results) if old else ():
        tell(line)
