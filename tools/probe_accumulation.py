"""Which parameters of the accumulation model agree with the tensor core of this GPU."""

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "gpu")]

from unpromoted import unpromoted  # noqa: E402

from nvgemm import reference  # noqa: E402


def operands(kind: str, rows: int, k: int, rng: np.random.Generator) -> list[np.ndarray]:
    if kind == "codes":
        finite = np.array([code for code in range(256) if code & 0x7F != 0x7F], np.uint8)
        return [rng.choice(finite, (rows, k)) for _ in range(2)]
    return [reference.per_token_cast_to_fp8(rng.standard_normal((rows, k), np.float32)).data for _ in range(2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=128, help="of A and of B, a multiple of 64")
    parser.add_argument(
        "-k", type=int, nargs="+", default=[32, 128, 4096], help="smaller than 128 is padded with zeros"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{'data':>8} {'K':>6} {'k_group':>8} {'fraction_bits':>14} {'result_bits':>12} {'identical':>10}")
    for kind, k in product(("normal", "codes"), options.k):
        a, b = operands(kind, options.rows, k, np.random.default_rng(options.seed))
        padding = ((0, 0), (0, -k % 128))
        got = unpromoted(np.pad(a, padding), np.pad(b, padding)).view(np.uint32)
        for k_group, fraction_bits, result_bits in product((16, 32, 64), (12, 13, 14), (13, 14, 23)):
            parameters = {"k_group": k_group, "fraction_bits": fraction_bits, "result_bits": result_bits}
            expected = reference.tensor_core_accumulate(a, b, **parameters).view(np.uint32)
            identical = (got == expected).mean()
            print(f"{kind:>8} {k:6} {k_group:8} {fraction_bits:14} {result_bits:12} {identical:10.4%}", flush=True)


if __name__ == "__main__":
    main()
