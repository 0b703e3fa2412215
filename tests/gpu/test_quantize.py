"""The quantising kernels give the oracle's bits for every dtype, alignment and ragged shape, and write nothing else."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import nvgemm
from nvgemm import Array, ArrayView, reference
from nvgemm.choice.problem import sfa_stride
from nvgemm.runtime import driver

pytestmark = pytest.mark.gpu

CASTS = {
    "per_token": (nvgemm.per_token_cast_to_fp8, reference.per_token_cast_to_fp8),
    "per_block": (nvgemm.per_block_cast_to_fp8, reference.per_block_cast_to_fp8),
}
DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
SHAPES = [(1, 16), (1, 7168), (3, 144), (127, 128), (130, 272), (256, 1024), (300, 2000), (1025, 400)]


@pytest.fixture(params=CASTS)
def cast(request):
    return CASTS[request.param]


def values(rng, shape, dtype):
    return (rng.standard_normal(shape) * np.exp2(rng.integers(-12, 6, (shape[0], 1)))).astype(dtype)


def same(got, expected):
    data, scales = (x.to_numpy() for x in got)
    np.testing.assert_array_equal(data.view(np.uint8), expected.data)
    np.testing.assert_array_equal(scales.view(np.uint32), expected.scales.view(np.uint32))


@pytest.mark.parametrize("use_ue8m0", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits_of_the_oracle(shape, dtype, use_ue8m0, cast, rng):
    x = values(rng, shape, dtype)
    same(cast[0](Array.from_numpy(x), use_ue8m0=use_ue8m0), cast[1](x, use_ue8m0=use_ue8m0))


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 8])
@pytest.mark.parametrize("pitch", [272, 273, 274, 276, 300])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_slices_of_a_larger_buffer(dtype, pitch, offset, cast, rng):
    m, k = 37, 256
    buffer = values(rng, (m + 1, pitch), dtype)
    device = Array.from_numpy(buffer)
    x = ArrayView(device.ptr + offset * buffer.itemsize, (m, k), (pitch, 1), device.dtype)
    same(cast[0](x), cast[1](buffer.reshape(-1)[offset:][: m * pitch].reshape(m, pitch)[:, :k]))


def test_nan_infinity_zero_and_the_largest(cast, rng):
    x = rng.standard_normal((256, 512)).astype(np.float32)
    x[3, 5] = np.nan
    x[70, 130] = np.inf
    x[71, 131] = -np.inf
    x[9, 256:384] = np.nan
    x[128:, 384:] = 0
    x[200, 7] = np.finfo(np.float32).max
    x[201, 8] = np.finfo(np.float32).smallest_subnormal
    x[202, 9] = -0.0
    same(cast[0](Array.from_numpy(x)), cast[1](x))


@pytest.mark.parametrize("shape", [(0, 256), (5, 0), (0, 0)])
def test_empty(shape, cast):
    got, expected = cast[0](Array.empty(shape, "float32")), cast[1](np.zeros(shape, np.float32))
    assert (got.data.shape, got.scales.shape) == (expected.data.shape, expected.scales.shape)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 37])
def test_scales_are_mn_major_with_zeros_between(m, rng, monkeypatch):
    k_blocks, stride, guard = 3, sfa_stride(m), 64
    poisoned = Array.from_numpy(np.full(k_blocks * stride + guard, np.nan, np.float32))
    view = ArrayView(poisoned.ptr, (m, k_blocks), (1, stride), "float32")
    monkeypatch.setattr("nvgemm.quantize.cast.empty_scales", lambda *_: view)
    x = rng.standard_normal((m, k_blocks * 128)).astype(np.float32)
    nvgemm.per_token_cast_to_fp8(Array.from_numpy(x))
    check_padded(poisoned.to_numpy(), reference.per_token_cast_to_fp8(x).scales, stride)


def check_padded(buffer, scales, stride):
    """`scales` lie in `buffer` MN-major, zeros pad their columns, and after the last scale nothing is written."""
    m, k_blocks = scales.shape
    last = (k_blocks - 1) * stride + m
    expected = np.zeros((k_blocks, stride), np.float32)
    expected[:, :m] = scales.T
    np.testing.assert_array_equal(buffer[:last], expected.reshape(-1)[:last])
    assert np.isnan(buffer[last:]).all()


def test_data_rows_are_written_exactly(rng, monkeypatch):
    poisoned = Array.from_numpy(np.full(37 * 144 + 256, 0x55, np.uint8))
    view = ArrayView(poisoned.ptr, (37, 144), None, "uint8")
    x = rng.standard_normal((37, 144)).astype(np.float32)
    monkeypatch.setattr("nvgemm.quantize.cast.empty", lambda *_: view)
    nvgemm.per_token_cast_to_fp8(Array.from_numpy(x))
    buffer = poisoned.to_numpy()
    np.testing.assert_array_equal(buffer[: x.size].reshape(x.shape), reference.per_token_cast_to_fp8(x).data)
    assert (buffer[x.size :] == 0x55).all()


@pytest.mark.parametrize("layout", ["k_major", "mn_major_unpadded", "k_major_strided", "misaligned"])
@pytest.mark.parametrize(("m", "k_blocks"), [(1, 5), (3, 1), (33, 31), (33, 56), (129, 33), (1001, 2)])
def test_transpose_scales(m, k_blocks, layout, rng):
    from nvgemm.quantize import transpose

    pitch, offset = {"k_major_strided": (k_blocks + 3, 0), "misaligned": (k_blocks, 1)}.get(layout, (k_blocks, 0))
    strides = (1, m) if layout == "mn_major_unpadded" else (pitch, 1)
    buffer = rng.standard_normal(offset + m * pitch).astype(np.float32)
    device = Array.from_numpy(buffer)
    expected = np.lib.stride_tricks.as_strided(buffer[offset:], (m, k_blocks), [4 * stride for stride in strides])
    source = ArrayView(device.ptr + 4 * offset, (m, k_blocks), strides, "float32")
    stride = sfa_stride(m)
    target = Array.from_numpy(np.full(k_blocks * stride + 64, np.nan, np.float32))
    transpose(source, 0)(target.ptr)
    check_padded(target.to_numpy(), expected, stride)
    result = nvgemm.get_mn_major_tma_aligned_tensor(source)
    if result is not source:
        np.testing.assert_array_equal(result.to_numpy(), expected)


def test_scales_that_lie_right_are_returned_as_they_are(rng):
    a = nvgemm.per_token_cast_to_fp8(Array.from_numpy(rng.standard_normal((37, 256)).astype(np.float32)))
    assert nvgemm.get_mn_major_tma_aligned_tensor(a.scales) is a.scales
    assert nvgemm.transform_sf_into_required_layout(a.scales, 37, 256, is_sfa=True) is a.scales
    b = nvgemm.per_block_cast_to_fp8(Array.from_numpy(rng.standard_normal((130, 256)).astype(np.float32)))
    assert nvgemm.transform_sf_into_required_layout(b.scales, 130, 256) is b.scales


def test_dequantize_copies_to_the_host(cast, rng):
    x = rng.standard_normal((130, 272)).astype(np.float32)
    got, expected = cast[0](Array.from_numpy(x)), cast[1](x)
    np.testing.assert_array_equal(got.dequantize(), expected.dequantize())


def test_cupy_in_cupy_out(cast, rng):
    cupy = pytest.importorskip("cupy")
    x = rng.standard_normal((130, 272)).astype(np.float32)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        got = cast[0](cupy.asarray(x))
        stream.synchronize()
    expected = cast[1](x)
    assert got.data.dtype == ml_dtypes.float8_e4m3fn
    np.testing.assert_array_equal(cupy.asnumpy(got.data.view(np.uint8)), expected.data)
    np.testing.assert_array_equal(cupy.asnumpy(got.scales), expected.scales)


def test_capture_refuses_a_kernel_that_is_not_loaded(rng, monkeypatch):
    from nvgemm.quantize.launch import Launch

    x = Array.from_numpy(rng.standard_normal((4, 128)).astype(np.float32))
    monkeypatch.setattr(Launch, "_loaded", {})
    cuda = driver.cuda()
    with driver.context(0):
        stream = driver.check(cuda.cuStreamCreate(1))
        driver.check(cuda.cuStreamBeginCapture(stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED))
        try:
            with pytest.raises(RuntimeError, match="per_token_cast would have to be loaded; call it once before"):
                nvgemm.per_token_cast_to_fp8(x, stream=int(stream))
        finally:
            driver.check(cuda.cuStreamEndCapture(stream))
            driver.check(cuda.cuStreamDestroy(stream))
