"""``nvgemm demo``: a transformer layer's products on data with outliers; without a Hopper GPU, all but the launch."""

from __future__ import annotations

import importlib
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


def run() -> None:
    """Run the job and print what came of it."""
    try:
        device = driver.require_hopper(0)
    except (CudaError, UnsupportedDeviceError) as error:
        print(f"No Hopper GPU here: {error}.\nThe same kernels are built for sm_90a, patched and verified instead,")
        print("and the numerics run in the NumPy oracle.\n")
        return _without_gpu()
    version = ".".join(map(str, driver.driver_version()))
    print(f"{device.name}, {device.num_sms} SMs, driver for CUDA {version}, NVRTC {nvrtc.compiler().version}")
    _on_gpu(device)


def _on_gpu(device: driver.Device) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    print(f"Operands and results: {_framework()} arrays. Times: median of 50 launches, L2 warm.\n")
    for product in PRODUCTS:
        x, w = activations(rng, product.m, product.k), weights(rng, product.n, product.k)
        a = nvgemm.per_token_cast_to_fp8(_to_device(x))
        b = nvgemm.per_block_cast_to_fp8(_to_device(w))
        d = nvgemm.fp8_gemm_nt(a, b, stream=0)
        plan = nvgemm.plan(a, b, d, stream=0)
        seconds = median_seconds(plan)
        _print_product(product)
        rate = f"{product.flop / seconds * 1e-12:.0f} TFLOP/s, {product.bytes / seconds * 1e-9:.0f} GB/s"
        print(f"  time           {seconds * 1e6:.1f} µs, {rate}")
        _print_errors(_to_host(d)[:SAMPLE], x[:SAMPLE], w, "")
        _print_cubin(_build(product, device.num_sms))


def _without_gpu() -> None:
    import numpy as np

    for product in PRODUCTS:
        _print_product(product)
        cubin = _build(product, 132)
        _print_cubin(cubin)
    _print_patch(cubin)
    rng = np.random.default_rng(0)
    x, w = activations(rng, SAMPLE, 7168), weights(rng, 512, 7168)
    _print_product(Product("numerics, in the oracle", SAMPLE, 512, 7168))
    _print_errors(_emulate(x, w), x, w, " (the tensor core's limited accumulation emulated)")


def _emulate(x: np.ndarray[Any, Any], w: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from nvgemm import reference

    a, b = reference.per_token_cast_to_fp8(x), reference.per_block_cast_to_fp8(w)
    return reference.round_to_bf16(reference.promoted_gemm(*a, *b))


def _build(product: Product, num_sms: int) -> Cubin:
    from nvgemm.gemm import build_dense

    return build_dense(product.m, product.n, product.k, num_sms=num_sms)


def _framework() -> str:
    return "CuPy" if _cupy() else "nvgemm"


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


def _print_product(product: Product) -> None:
    print(f"{product.name}: M={product.m}, N={product.n}, K={product.k}")


def _print_errors(d: np.ndarray[Any, Any], x: np.ndarray[Any, Any], w: np.ndarray[Any, Any], how: str) -> None:
    rows = [("1×128, 128×128", d, how), ("one a matrix", per_tensor_product(x, w), " (summed in FP64)")]
    print(f"  error against FP64, {len(x)} tokens, by the scales used:")
    for scales, result, remark in rows:
        median, worst = token_errors(result, x, w)
        print(f"    {scales:<15}{median:6.2%} of a token's norm in the median, {worst:.2%} at worst{remark}")


def _print_cubin(cubin: Cubin) -> None:
    meta = cubin.meta
    print(f"  compiled       in {meta['seconds']:.2f} s by NVRTC {meta['compiler']}, {meta['registers']} registers")
    print(f"  control words  {meta['changed_words']} changed by policy {meta['policy']}, verified")
    print(f"  cubin          {cubin.path or 'in memory only'}\n")


def _print_patch(cubin: Cubin) -> None:
    from nvgemm.sass import report

    lines = report.as_text(cubin.raw, cubin.image, cubin.meta["policy"]).splitlines()
    print("The patch of the last one, from its beginning; all of it: nvgemm sass with the folder above")
    print("\n".join(f"  {line}" for line in lines[:EXCERPT]), end="\n\n")
