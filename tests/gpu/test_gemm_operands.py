"""Whatever layout, library or pointer the operands come as, the bits are the same, and nothing else is written."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from products import Guarded, Product, bits_of, build_all, configs, exact, same_bits

import nvgemm
from nvgemm import Array, ArrayView, PerformanceWarning
from nvgemm.choice.problem import ceil_div

pytestmark = pytest.mark.gpu

SHAPE = (133, 392, 656)
SHAPES = [SHAPE, (1, 392, 656), (1, 136, 128), (37, 136, 128), (4, 24, 48), (133, 392, 0)]


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build_all(configs(SHAPES))


@pytest.fixture
def product(rng) -> Product:
    return exact(rng, *SHAPE)


@pytest.mark.parametrize("sfb", ["k", "n"])
@pytest.mark.parametrize("sfa", ["mn", "unpadded", "k"])
@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
def test_layouts_of_scales(shape, sfa, sfb, rng):
    product, d = exact(rng, *shape), Guarded(*shape[:2])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nvgemm.fp8_gemm_nt(*product.pairs(sfa, sfb), d.view)
    same_bits(d.bits(), product.bits())
    assert all(warning.category is PerformanceWarning for warning in caught)
    if sfa == "mn" or shape == SHAPE:
        assert bool(caught) == (sfa != "mn")


def test_the_warning_names_the_way_out(product):
    with pytest.warns(PerformanceWarning, match=r"a scales: .*nvgemm\.get_mn_major_tma_aligned_tensor"):
        nvgemm.fp8_gemm_nt(*product.pairs("k"))


def strided(product: Product, host: np.ndarray, pitch: int, rows: int, left: int) -> ArrayView:
    """`host` inside a larger buffer of NaN codes."""
    buffer = np.full((host.shape[0] + 2 * rows, pitch), 0x7F, np.uint8)
    buffer[rows : rows + host.shape[0], left : left + host.shape[1]] = host
    return ArrayView(product.put(buffer).ptr + rows * pitch + left, host.shape, (pitch, 1))


@pytest.mark.parametrize(("pitch_a", "pitch_b", "right"), [(672, 688, 24), (1024, 1200, 0), (5040, 656, 1000)])
def test_slices_of_larger_buffers(pitch_a, pitch_b, right, product):
    left_a, left_b = ((pitch - SHAPE[2]) // 32 * 16 for pitch in (pitch_a, pitch_b))
    a = strided(product, product.a, pitch_a, 2, left_a), product.scales_a()
    b = strided(product, product.b, pitch_b, 1, left_b), product.right()[1]
    d = Guarded(*SHAPE[:2], rows=5, left=16, right=right)
    nvgemm.fp8_gemm_nt(a, b, d.view)
    same_bits(d.bits(), product.bits())


def test_slices_of_scales(product):
    m, _, _ = SHAPE
    buffer = np.full((product.sfa.shape[1] + 2, 200), np.nan, np.float32)
    buffer[1:-1, 12 : 12 + m] = product.sfa.T
    sfa = ArrayView(product.put(buffer).ptr + 4 * (200 + 12), product.sfa.shape, (1, 200), "float32")
    wide = np.full((product.sfb.shape[0], 3 * product.sfb.shape[1]), np.nan, np.float32)
    wide[:, ::3] = product.sfb
    sfb = ArrayView(product.put(wide).ptr, product.sfb.shape, (wide.shape[1], 3), "float32")
    d = nvgemm.fp8_gemm_nt((product.put(product.a), sfa), (product.put(product.b), sfb))
    same_bits(bits_of(d), product.bits())


def test_raw_pointers(product):
    (a, sfa), (b, sfb) = product.pairs()
    d = Guarded(*SHAPE[:2])
    views = (ArrayView(a.ptr, a.shape), sfa), (ArrayView(b.ptr, b.shape), sfb)
    assert nvgemm.fp8_gemm_nt(*views, d.view, stream=0) is d.view
    same_bits(d.bits(), product.bits())
    made = nvgemm.fp8_gemm_nt(*views, stream=0)
    assert isinstance(made, Array)
    same_bits(bits_of(made), product.bits())


@pytest.mark.parametrize("dtype", ["uint8", "float8_e4m3fn"])
def test_an_array_gives_an_array(dtype, product):
    (a, sfa), (b, sfb) = product.pairs()
    d = nvgemm.fp8_gemm_nt((a.view(dtype), sfa), (b.view(dtype), sfb))
    assert (type(d), d.shape, d.dtype) == (Array, SHAPE[:2], "bfloat16")
    same_bits(bits_of(d), product.bits())


@pytest.mark.parametrize("tagged", [False, True])
def test_cupy_gives_cupy(tagged, product):
    cupy = pytest.importorskip("cupy")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with cupy.cuda.Stream(non_blocking=True) as stream:
        a, sfa, b, sfb = (cupy.asarray(x) for x in product.operands())
        if tagged:
            a, b = (x.view(ml_dtypes.float8_e4m3fn) for x in (a, b))
        sfa = nvgemm.get_mn_major_tma_aligned_tensor(sfa)
        d = nvgemm.fp8_gemm_nt((a, sfa), (b, sfb))
        assert (type(d), d.shape, d.dtype) == (cupy.ndarray, SHAPE[:2], ml_dtypes.bfloat16)
        same_bits(cupy.asnumpy(d.view(cupy.uint16)), product.bits())
        wide = cupy.full((SHAPE[0], 512), 0x7FC1, cupy.uint16)
        inside = wide[:, 64 : 64 + SHAPE[1]]
        assert nvgemm.fp8_gemm_nt((a, sfa), (b, sfb), inside) is inside
        expected = np.full(wide.shape, 0x7FC1, np.uint16)
        expected[:, 64 : 64 + SHAPE[1]] = product.bits()
        same_bits(cupy.asnumpy(wide), expected)
        stream.synchronize()


def test_cupys_quantisers_to_cupys_product(rng):
    cupy = pytest.importorskip("cupy")
    x, w = (rng.standard_normal((rows, 1024), np.float32) for rows in (77, 264))
    a, b = nvgemm.per_token_cast_to_fp8(cupy.asarray(x)), nvgemm.per_block_cast_to_fp8(cupy.asarray(w))
    d = cupy.asnumpy(nvgemm.fp8_gemm_nt(a, b).view(cupy.uint16))
    host = nvgemm.reference.per_token_cast_to_fp8(x), nvgemm.reference.per_block_cast_to_fp8(w)
    ref, sums = Product(*host[0], *host[1]).fp64()
    nvgemm.testing.assert_close(nvgemm.reference.decode_bf16(d), ref, sums, blocks=8)


def test_torch_gives_torch(product):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    a, b = (torch.from_numpy(x).cuda().view(torch.float8_e4m3fn) for x in (product.a, product.b))
    sfa, sfb = (torch.from_numpy(x).cuda() for x in (product.sfa, product.sfb))
    sfa = nvgemm.get_mn_major_tma_aligned_tensor(sfa)
    for stream in (torch.cuda.current_stream(), torch.cuda.Stream()):
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            d = nvgemm.fp8_gemm_nt((a, sfa), (b, sfb))
            assert (d.dtype, tuple(d.shape)) == (torch.bfloat16, SHAPE[:2])
            same_bits(d.view(torch.int16).cpu().numpy().view(np.uint16), product.bits())


@pytest.mark.parametrize("shape", [(0, 392, 656), (133, 0, 656), (133, 392, 0), (0, 0, 0), (1, 8, 0)], ids=str)
def test_empty(shape, rng):
    m, n, k = shape
    product, d = exact(rng, m, n, k), Guarded(m, n)
    assert product.sfb.shape == (ceil_div(n, 128), ceil_div(k, 128))
    assert nvgemm.fp8_gemm_nt(*product.pairs(), d.view) is d.view
    assert not d.bits().any()
    made = nvgemm.fp8_gemm_nt(*product.pairs())
    assert made.shape == (m, n)
    assert not bits_of(made).any()
    assert nvgemm.plan(*product.pairs(), d.view)() is d.view
