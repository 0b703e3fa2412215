"""Hardware counters of nvgemm's kernels and their peers': ``python tools/counters.py [SHAPE …]``; needs ncu.

A shape is MxNxK, or groups such as g4:8192x4096x7168.
"""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.bench import libraries, peers
from nvgemm.bench.contender import Contender
from nvgemm.bench.workload import Workload

SHAPES = (
    "512x4096x7168",
    "1024x32768x512",
    "2048x7168x2048",
    "2048x7168x16384",
    "2048x24576x1536",
    "4096x2112x7168",
    "4096x4096x7168",
    "4096x7168x2048",
    "8192x576x7168",
    "8192x7168x16384",
    "g4:8192x4096x7168",
    "g8:4096x7168x2048",
    "g6:1024x7168x3072:max4096:jit",
    "g32:20x4096x4096:max4096:jit",
)
KERNELS = ("nvgemm", "deepgemm", "cublaslt_tensor", "read_floor")  # of which a suite has two or three
COLUMNS = {  # heading: metric, what it is divided by, digits
    "µs": ("gpu__time_duration.sum", 1e3, 1),
    "clocks, 1000": ("sm__cycles_active.avg", 1e3, 1),
    "MHz": ("gpc__cycles_elapsed.avg.per_second", 1e6, 0),
    "tensor, %": ("sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active", 1, 1),
    "issue, %": ("smsp__issue_active.avg.pct_of_peak_sustained_active", 1, 0),
    "L2, MB": ("lts__t_bytes.sum", 1e6, 0),
    "DRAM, MB": ("dram__bytes_read.sum", 1e6, 0),
}
UNITS = ("ns", "cycle", "hz", "%", "%", "byte", "byte")  # of these metrics, as the divisors take for granted
METRICS = ",".join(metric for metric, *_ in COLUMNS.values())
NCU = ("ncu", "--profile-from-start", "off", "--clock-control", "none", "--cache-control", "all")
AS_CSV = ("--csv", "--page", "raw", "--print-units", "base")


def launch(shapes: list[str]) -> None:
    """Under ncu: each kernel twice as usual, and once with the counters on."""
    torch = libraries.torch()
    for workload in map(named, shapes):
        operands = workload.operands(torch)
        for contender in counted(workload):
            run = contender.launcher(operands)
            run()
            run()
            torch.cuda.synchronize()
            torch.cuda.profiler.start()
            run()
            torch.cuda.synchronize()
            torch.cuda.profiler.stop()


def named(shape: str) -> Workload:
    """What is called so: groups are masked where each has a place of its own (:max4096), else contiguous."""
    shape = shape.replace("×", "x")
    if not shape.startswith("g"):
        return Workload.parse("dense", shape.split("x"))
    return Workload.parse("masked" if ":max" in shape else "contiguous", [shape])


def counted(workload: Workload) -> list[Contender]:
    """Whose kernels are counted."""
    return [contender for contender in peers.LINE_UPS[workload.suite] if contender.name in KERNELS]


def table(shapes: list[str]) -> None:
    """Run ncu on this script, and print what it counted.

    Raises
    ------
    RuntimeError
        ncu is absent or failed, has other units, or a library launched more kernels than one for a product.
    """
    if shutil.which(NCU[0]) is None:
        raise RuntimeError("ncu (Nsight Compute) is not on PATH")
    command = (*NCU, *AS_CSV, "--metrics", METRICS, sys.executable, __file__, "--launch", *shapes)
    done = subprocess.run(command, capture_output=True, text=True)
    head, units, *rows = list(csv.reader(line for line in done.stdout.splitlines() if line.startswith('"'))) or [[], []]
    launched = [(workload, contender.name) for workload in map(named, shapes) for contender in counted(workload)]
    ours = [row[head.index("Kernel Name")] == "fp8_gemm" for row in rows]
    if ours != [name == "nvgemm" for _, name in launched]:
        raise RuntimeError(f"{len(launched)} launches, {len(rows)} kernels in ncu's table: {done.stderr[-1000:]}")
    if tuple(units[head.index(metric)] for metric, *_ in COLUMNS.values()) != UNITS:
        raise RuntimeError(f"ncu has other units than {UNITS}: {units}")
    print(f"| product | kernel | {' | '.join(COLUMNS)} |\n| --- | --- |{' --- |' * len(COLUMNS)}")
    for (workload, name), row in zip(launched, rows, strict=True):
        values = (
            f"{float(row[head.index(metric)].replace(',', '')) / unit:.{digits}f}"
            for metric, unit, digits in COLUMNS.values()
        )
        product = workload.name.replace("x", "×") if workload.suite == "dense" else workload.name
        print(f"| {product} | {name} | {' | '.join(values)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--launch"]:
        launch(sys.argv[2:])
    else:
        table(sys.argv[1:] or list(SHAPES))
