"""``nvgemm demo``: a transformer layer's products on data with outliers; without a Hopper GPU, all but the launch."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import nvgemm
from nvgemm.bench.layer import PRODUCTS, Product, activations, per_tensor_product, token_errors, weights
from nvgemm.bench.timing import median_seconds
from nvgemm.errors import CudaError, UnsupportedDeviceError
from nvgemm.runtime import driver, nvrtc

if TYPE_CHECKING:
    import numpy as np

    from nvgemm.runtime.build import Cubin

SAMPLE = 64  # tokens whose FP64 product is computed, the one with massive activations among them
EXCERPT = 24  # lines of the patch that are shown

Facts = dict[str, Any]

_CUBIN = """\
  compiled       in {seconds:.2f} s by NVRTC {compiler}, {registers} registers
  control words  {changed_words} changed by policy {policy}, verified
  cubin          {path}"""


def machine() -> Facts:
    """What the job runs on: the first GPU, or why there is none, and the library that its arrays come from."""
    try:
        device = driver.require_hopper(0)
    except (CudaError, UnsupportedDeviceError) as error:
        return {"device": None, "why": str(error)}
    version = ".".join(map(str, driver.driver_version()))
    own = {"device": device.name, "num_sms": device.num_sms, "driver_cuda": version}
    return {**own, "nvrtc": nvrtc.compiler().version, "framework": "CuPy" if _cupy() else "nvgemm"}


def products(machine: Facts) -> Iterator[Facts]:
    """The layer's products one by one: sizes, errors by the scales used, time, and the kernel. Seeds are fixed."""
    import numpy as np

    rng = np.random.default_rng(0)
    if machine["device"]:
        for product in PRODUCTS:
            yield _on_gpu(product, rng)
        return
    for product in PRODUCTS:
        cubin = _build(product)
        yield {**_sizes(product), "cubin": _facts_of(cubin)}
    x, w = activations(rng, SAMPLE, 7168), weights(rng, 512, 7168)
    how = "the tensor core's limited accumulation emulated"
    oracle = Product("numerics, in the oracle", SAMPLE, 512, 7168)
    yield {**_sizes(oracle), "patch": _excerpt(cubin), "errors": _errors(_emulate(x, w), x, w), "how": how}


def machine_text(machine: Facts) -> str:
    """Lines for the terminal."""
    if machine["device"] is None:
        return (
            f"No Hopper GPU here: {machine['why']}.\nThe same kernels are built for sm_90a, patched and verified "
            "instead,\nand the numerics run in the NumPy oracle.\n"
        )
    return (
        "{device}, {num_sms} SMs, driver for CUDA {driver_cuda}, NVRTC {nvrtc}\n"
        "Operands and results: {framework} arrays. Times: median of 50 launches, L2 warm.\n".format(**machine)
    )


def product_text(facts: Facts) -> str:
    """Lines for the terminal: whatever of a product is known."""
    lines = ["{name}: M={m}, N={n}, K={k}".format(**facts)]
    if "patch" in facts:
        title = "The patch of the last one, from its beginning; all of it: nvgemm sass show with the folder above"
        lines = [title, *(f"  {line}" for line in facts["patch"]), "", *lines]
    if "microseconds" in facts:
        speed = "{microseconds:.1f} µs, {tflops:.0f} TFLOP/s, {gigabytes:.0f} GB/s".format(**facts)
        lines.append(f"  time           {speed}")
    if "errors" in facts:
        lines += _error_lines(facts)
    if "cubin" in facts:
        lines.append(_CUBIN.format(**facts["cubin"]))
    return "\n".join([*lines, ""])


def _on_gpu(product: Product, rng: np.random.Generator) -> Facts:
    x, w = activations(rng, product.m, product.k), weights(rng, product.n, product.k)
    a = nvgemm.per_token_cast_to_fp8(_to_device(x))
    b = nvgemm.per_block_cast_to_fp8(_to_device(w))
    d = nvgemm.fp8_gemm_nt(a, b, stream=0)
    seconds = median_seconds(nvgemm.plan(a, b, d, stream=0))
    speed = {"tflops": product.flop / seconds * 1e-12, "gigabytes": product.bytes / seconds * 1e-9}
    errors = _errors(_to_host(d)[:SAMPLE], x[:SAMPLE], w)
    cubin = _facts_of(_build(product))
    return {**_sizes(product), "microseconds": seconds * 1e6, **speed, "errors": errors, "cubin": cubin}


def _sizes(product: Product) -> Facts:
    return {"name": product.name, "m": product.m, "n": product.n, "k": product.k}


def _errors(d: np.ndarray[Any, Any], x: np.ndarray[Any, Any], w: np.ndarray[Any, Any]) -> Facts:
    """Error of each token relative to its norm, median and worst, by the scales used."""
    results = {"1×128, 128×128": d, "one a matrix": per_tensor_product(x, w)}
    errors = {scales: token_errors(result, x, w) for scales, result in results.items()}
    return {scales: {"median": median, "worst": worst} for scales, (median, worst) in errors.items()}


def _error_lines(facts: Facts) -> Iterator[str]:
    remarks = {"1×128, 128×128": f" ({facts['how']})" if "how" in facts else "", "one a matrix": " (summed in FP64)"}
    yield f"  error against FP64, {SAMPLE} tokens, by the scales used:"
    for scales, error in facts["errors"].items():
        shares = "{median:6.2%} of a token's norm in the median, {worst:.2%} at worst".format(**error)
        yield f"    {scales:<15}{shares}{remarks[scales]}"


def _facts_of(cubin: Cubin) -> Facts:
    names = ("seconds", "compiler", "registers", "changed_words", "policy")
    return {**{name: cubin.meta[name] for name in names}, "path": str(cubin.path or "in memory only")}


def _excerpt(cubin: Cubin) -> list[str]:
    from nvgemm.runtime.build import applied_policy
    from nvgemm.sass.report import terminal
    from nvgemm.sass.report.facts import facts

    return terminal.show(facts(cubin.raw, cubin.image, applied_policy(cubin.meta))).splitlines()[:EXCERPT]


def _emulate(x: np.ndarray[Any, Any], w: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from nvgemm import reference

    a, b = reference.per_token_cast_to_fp8(x), reference.per_block_cast_to_fp8(w)
    return reference.round_to_bf16(reference.promoted_gemm(*a, *b))


def _build(product: Product) -> Cubin:
    from nvgemm.ahead import build_dense

    return build_dense(product.m, product.n, product.k)


def _cupy() -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError:
        return None


def _to_device(x: np.ndarray[Any, Any]) -> Any:
    cupy = _cupy()
    return cupy.asarray(x) if cupy else nvgemm.Array.from_numpy(x)


def _to_host(d: Any) -> np.ndarray[Any, Any]:
    from nvgemm import reference

    return reference.decode_bf16(d.get() if _cupy() else d.to_numpy())
