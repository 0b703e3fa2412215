"""Run kernels in given configurations in a process of their own, which a watchdog can end.

Reads from standard input one JSON object a line: ``config`` (the fields of GemmConfig), ``policy``, ``m``, ``num_sms``.
Prints a line ``start`` with the configuration before each launch, and ``done`` after its result has been found right.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from products import Guarded, Product, exact, same_bits

from nvgemm import reference
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.problem import Grouping
from nvgemm.runtime import driver, specialize
from nvgemm.runtime.arrays import view
from nvgemm.runtime.gemm_kernel import GemmKernel
from nvgemm.runtime.making import making

ROOT = Path(__file__).resolve().parents[2]
MOST_COLUMNS = 1024  # of D that are compared where B is large


def job(config: GemmConfig, m: int, *, policy: str = "tuned", num_sms: int = 132) -> str:
    """One line of input. Fewer `num_sms` than tiles: each CTA computes several, as a large product's do."""
    return json.dumps({"config": config._asdict(), "policy": policy, "m": m, "num_sms": num_sms})


def configuration(fields: dict[str, int]) -> GemmConfig:
    """A configuration from its fields as JSON has them."""
    return GemmConfig(**fields | {"grouping": Grouping(fields["grouping"])})  # type: ignore[arg-type]


def launch_all(
    jobs: list[str], *, timeout: float, command: tuple[str, ...] = (), script: str = __file__, **environment: str
) -> str:
    """Run `jobs` by a script like this one in a process; AssertionError where it fails or hangs. Returns its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with TemporaryFile("w+") as given, TemporaryFile("w+") as written:
        given.write("\n".join(jobs))
        given.seek(0)
        process = subprocess.Popen(
            [*command, sys.executable, script], cwd=ROOT, env=environment, start_new_session=True,
            stdin=given, stdout=written, stderr=subprocess.STDOUT,
        )  # fmt: skip
        ending = _ending(process, timeout)
        written.seek(0)
        output = written.read()
    assert ending == "exit code 0", f"{ending}; its last lines:\n" + "\n".join(output.splitlines()[-25:])
    assert output.count("\ndone") == len(jobs), output
    return output


def _ending(process: subprocess.Popen[bytes], timeout: float) -> str:
    try:
        return f"exit code {process.wait(timeout)}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the children of a sanitizer
        with contextlib.suppress(subprocess.TimeoutExpired):  # the driver may take its time over a kernel that hangs
            process.wait(20)
        return f"no end after {timeout} s"


@lru_cache(maxsize=2)
def _product(m: int, n: int, k: int) -> tuple[Product, np.ndarray, np.ndarray]:
    """Operands, the columns of D to compare, and their bits."""
    rng = np.random.default_rng([m, n, k])
    product = exact(rng, m, n, k)
    columns = np.arange(n) if n * k < 1 << 24 else np.sort(rng.choice(n, min(n, MOST_COLUMNS), replace=False))
    a = reference.dequantise(product.a, product.sfa, (1, 128))
    scales = np.repeat(product.sfb[columns // 128], 128, axis=1)[:, :k]
    b = reference.decode_e4m3(product.b[columns]).astype(np.float64) * scales
    return product, columns, reference.encode_bf16(a @ b.T + 0.0)


def _run(config: GemmConfig, policy: str, m: int, num_sms: int) -> None:
    device = driver.require_hopper(0)
    kernel = GemmKernel(config, making(policy, config), device._replace(num_sms=min(num_sms, device.num_sms)))
    product, columns, expected = _product(m, config.shape_n, config.shape_k)
    (a, sfa), (b, sfb) = product.pairs()
    d = Guarded(m, config.shape_n)
    kernel.bind(view(a, "a"), sfa, view(b, "b"), sfb, d.view)(0)
    same_bits(d.bits()[:, columns], expected)


def begin() -> None:
    """What a process does before it reads: its kernels may be copies with a mistake in them."""
    if folder := os.environ.get("NVGEMM_TEST_KERNELS"):
        specialize.kernels_dir = lambda: Path(folder)
    print("", flush=True)


def _main() -> None:
    begin()
    for line in sys.stdin:
        fields = json.loads(line)
        config = configuration(fields.pop("config"))
        print(f"start {config} {fields}", flush=True)
        _run(config, **fields)
        print("done", flush=True)


if __name__ == "__main__":
    _main()
