"""Routing, permutation and weighted sum give the oracle's bits, write nothing else, and can be replayed."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from nvgemm import Array, ArrayView, moe, reference
from nvgemm.choice.problem import sfa_stride, sfa_strides
from nvgemm.moe import assignment, rows
from nvgemm.runtime import driver
from nvgemm.runtime.dtypes import host_dtype, itemsize

pytestmark = pytest.mark.gpu

LAYOUTS = {
    "offsets": {},
    "contiguous": {"layout": "contiguous", "alignment": 128},
    "contiguous 32": {"layout": "contiguous", "alignment": 32},
    "masked": {"layout": "masked", "max_m": 37},  # overflows where experts have more
}
SIZES = [(0, 4, 8), (1, 1, 1), (1, 8, 256), (77, 3, 1), (127, 5, 8), (513, 32, 256), (333, 7, 1024), (4096, 8, 256)]
GUARD, POISON = 256, 0xAB  # bytes before and after; what untouched ones hold


class Guarded:
    """Poisoned device memory for one array, with guard bands around it."""

    def __init__(self, shape, dtype, strides=None):
        self.size = itemsize(dtype) * (int(np.prod(shape)) if strides is None else self._span(shape, strides))
        self.memory = Array.from_numpy(np.full(self.size + 2 * GUARD, POISON, np.uint8))
        self.view = ArrayView(self.memory.ptr + GUARD, shape, strides, dtype)

    @staticmethod
    def _span(shape, strides):
        if 0 in shape:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))

    def to_numpy(self):
        """The array; AssertionError where a band has changed."""
        memory = self.memory.to_numpy()
        bands = memory[:GUARD], memory[GUARD + self.size :]
        assert all((band == POISON).all() for band in bands)
        dtype = np.dtype(host_dtype(self.view.dtype))
        strides = tuple(dtype.itemsize * stride for stride in self.view.strides)
        return np.ndarray(self.view.shape, dtype, memory, GUARD, strides).copy()


@pytest.fixture
def made(monkeypatch):
    """Results are allocated in poisoned, guarded memory, and appended to this list."""
    found = []

    def empty(like, view, shape, dtype, stream):
        found.append(Guarded(tuple(shape), dtype))
        return found[-1].view

    def empty_strided(shape, dtype, *, strides, **_):
        found.append(Guarded(shape, dtype, strides))
        return found[-1].view

    monkeypatch.setattr(assignment, "empty", empty)
    monkeypatch.setattr(rows, "empty", empty)
    monkeypatch.setattr(
        rows, "empty_scales", lambda _, __, shape, ___: empty_strided(shape, "float32", strides=sfa_strides(shape))
    )
    return found


def random_ids(rng, tokens, top_k, num_experts, dtype=np.int32):
    """Expert ids, a few of them on either side of what there is."""
    return rng.integers(-1, num_experts + 1, (tokens, top_k)).astype(dtype)


def same_routing(got, expected):
    for array, field in zip(got, ("layout", "token_of_row", "row_of_slot"), strict=True):
        np.testing.assert_array_equal(array.to_numpy(), getattr(expected, field), err_msg=field)


def to_host(routing):
    return [array.to_numpy() for array in routing[:3]]


@pytest.mark.parametrize("choice", LAYOUTS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_routing_of_the_oracle(size, choice, made, rng):
    dtype = np.int64 if size[1] % 2 else np.int32
    ids = random_ids(rng, *size, dtype)
    got = moe.route(Array.from_numpy(ids), size[2], **LAYOUTS[choice])
    expected = reference.route(ids, size[2], **LAYOUTS[choice])
    same_routing(made, expected)
    assert got[3:] == expected[3:]


@pytest.mark.parametrize("choice", LAYOUTS)
@pytest.mark.parametrize("num_experts", [1, 8, 256, 1024])
def test_all_tokens_to_one_expert(num_experts, choice, made):
    ids = np.full((1500, 4), num_experts - 1, np.int32)
    moe.route(Array.from_numpy(ids), num_experts, **LAYOUTS[choice])
    same_routing(made, reference.route(ids, num_experts, **LAYOUTS[choice]))


def test_ids_that_only_64_bits_tell_apart(made):
    ids = np.array([[3, 2**32 + 3, -(2**63), 2**63 - 1, -1, 0]], np.int64)
    moe.route(Array.from_numpy(ids), 4)
    same_routing(made, reference.route(ids, 4))
    assert made[0].to_numpy().tolist() == [0, 1, 1, 1, 2]


@pytest.mark.parametrize(("num_experts", "choice"), [(8, "contiguous"), (256, "offsets"), (1024, "masked")])
def test_many_slots(num_experts, choice, made, rng):
    ids = random_ids(rng, 1 << 19, 8, num_experts)
    moe.route(Array.from_numpy(ids), num_experts, **LAYOUTS[choice])
    same_routing(made, reference.route(ids, num_experts, **LAYOUTS[choice]))


def test_routing_repeats(rng):
    ids = Array.from_numpy(random_ids(rng, 4096, 8, 256))
    first = to_host(moe.route(ids, 256))
    for _ in range(20):
        for left, right in zip(to_host(moe.route(ids, 256)), first, strict=True):
            np.testing.assert_array_equal(left, right)


def routed(rng, choice, tokens=301, top_k=4, num_experts=6):
    """Routing on the device and on the host; in the masked one an expert has too many slots."""
    ids = random_ids(rng, tokens, top_k, num_experts)
    on_device = moe.route(Array.from_numpy(ids), num_experts, **LAYOUTS[choice])
    return on_device, reference.route(ids, num_experts, **LAYOUTS[choice])


def same_rows(got, expected, routing):
    """Rows with a token are the oracle's; the others were not touched."""
    taken = (routing.token_of_row >= 0).reshape(expected.shape[:-1])
    found = got.to_numpy()
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found[taken].view(np.uint8), expected[taken].view(np.uint8))
    assert (np.ascontiguousarray(found[~taken]).view(np.uint8) == POISON).all()


@pytest.mark.parametrize("choice", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.uint8], ids=lambda x: x.__name__)
@pytest.mark.parametrize("columns", [16, 2064, 7168])
def test_rows_of_the_oracle(columns, dtype, choice, made, rng):
    routing, expected = routed(rng, choice)
    x = rng.integers(0, 256, (301, columns * np.dtype(dtype).itemsize), np.uint8).view(dtype)
    moe.permute(Array.from_numpy(x), routing)
    same_rows(made[-1], reference.permute(x, expected), expected)


@pytest.mark.parametrize("choice", LAYOUTS)
@pytest.mark.parametrize("is_k_major", [False, True])
@pytest.mark.parametrize("columns", [16, 272, 1152, 7168])
def test_quantised_rows_of_the_oracle(columns, is_k_major, choice, made, rng):
    routing, expected = routed(rng, choice)
    data = rng.integers(0, 256, (301, columns), np.uint8)
    scales = rng.standard_normal((301, -(-columns // 128))).astype(np.float32)
    device_scales = Array.from_numpy(scales)
    if not is_k_major:
        padded = np.zeros((scales.shape[1], sfa_stride(301)), np.float32)
        padded[:, :301] = scales.T
        device_scales = Array.from_numpy(padded)
    view = ArrayView(device_scales.ptr, scales.shape, None if is_k_major else (1, sfa_stride(301)), "float32")
    result = moe.permute((Array.from_numpy(data), view), routing)
    wanted = reference.permute((data, scales), expected)
    same_rows(made[-2], wanted.data, expected)
    same_rows(made[-1], wanted.scales, expected)
    k_blocks, pitch = scales.shape[1], sfa_stride(expected.max_m or expected.rows)
    assert result.scales.strides == ((1, pitch) if expected.max_m is None else (k_blocks * pitch, 1, pitch))


def test_slices_of_wider_rows(made, rng):
    routing, expected = routed(rng, "offsets")
    buffer = rng.integers(0, 256, (301, 320), np.uint8)
    device = Array.from_numpy(buffer)
    moe.permute(ArrayView(device.ptr + 32, (301, 272), (320, 1), "uint8"), routing)
    same_rows(made[-1], reference.permute(buffer[:, 32:304], expected), expected)


@pytest.mark.parametrize("choice", LAYOUTS)
@pytest.mark.parametrize("columns", [8, 264, 7168])
@pytest.mark.parametrize("top_k", [1, 8, 32])
def test_sums_of_the_oracle(top_k, columns, choice, rng):
    routing, expected = routed(rng, choice, tokens=65, top_k=top_k)
    shape = (expected.rows,) if expected.max_m is None else (6, expected.max_m)
    d = reference.encode_bf16(rng.standard_normal((*shape, columns)) * np.exp2(rng.integers(-9, 9, (*shape, 1))))
    d.reshape(-1, columns)[expected.token_of_row < 0] = 0x7FC0  # NaN: nobody's rows must reach no token
    weights = rng.standard_normal((65, top_k)).astype(np.float32)
    weights[expected.row_of_slot < 0] = np.nan  # nor the weights of dropped slots
    out = Guarded((65, columns), "bfloat16")
    got = moe.combine(Array.from_numpy(d).view("bfloat16"), routing, Array.from_numpy(weights), out=out.view)
    assert got is out.view
    np.testing.assert_array_equal(out.to_numpy().view(np.uint16), reference.combine(d, expected, weights))


def test_special_values_and_wider_rows(rng):
    ids = np.array([[0, 1], [1, 0], [2, -1], [-1, -1]], np.int32)
    routing, expected = moe.route(Array.from_numpy(ids), 3), reference.route(ids, 3)
    d = reference.encode_bf16(rng.standard_normal((8, 16)))
    d[0, :4] = 0x7F80, 0xFF80, 0x7FC1, 0x8000  # infinities, a NaN, a negative zero
    weights = np.array([[2, 0.5], [3.3e38, 1], [1e-45, 7], [1, 1]], np.float32)
    out = Array.from_numpy(np.full((4, 24), 7, np.uint16))
    target = ArrayView(out.ptr, (4, 16), (24, 1), "bfloat16")
    moe.combine(Array.from_numpy(d).view("bfloat16"), routing, Array.from_numpy(weights), out=target)
    found = out.to_numpy()
    np.testing.assert_array_equal(found[:, :16], reference.combine(d, expected, weights))
    assert (found[:, 16:] == 7).all()
    assert not found[3, :16].any()


@pytest.mark.parametrize("choice", LAYOUTS)
def test_no_tokens(choice):
    routing = moe.route(Array.empty((0, 2), "int32"), 4, **LAYOUTS[choice])
    expected = reference.route(np.zeros((0, 2), np.int32), 4, **LAYOUTS[choice])
    for left, right in zip(to_host(routing), expected[:3], strict=True):
        np.testing.assert_array_equal(left, right)
    x = moe.permute((Array.empty((0, 256), "uint8"), Array.empty((0, 2))), routing)
    assert x.data.shape == reference.permute((np.zeros((0, 256), np.uint8), np.zeros((0, 2))), expected).data.shape
    d = Array.empty(x.data.shape, "bfloat16")
    assert moe.combine(d, routing, Array.empty((0, 2))).shape == (0, 256)


def test_cupy_in_cupy_out(rng):
    cupy = pytest.importorskip("cupy")
    ids, x = rng.integers(0, 8, (130, 4)), rng.integers(0, 256, (130, 272), np.uint8)
    scales, weights = rng.random((130, 3)).astype(np.float32), rng.random((130, 4)).astype(np.float32)
    for options in ({}, {"layout": "masked", "max_m": 130}):
        expected = reference.route(ids, 8, **options)
        d = reference.encode_bf16(reference.permute(x, expected).astype(np.float32))
        with cupy.cuda.Stream(non_blocking=True) as stream:
            routing = moe.route(cupy.asarray(ids), 8, **options)
            data, factors = moe.permute((cupy.asarray(x), cupy.asarray(scales)), routing)
            out = moe.combine(cupy.asarray(d), routing, cupy.asarray(weights))
            stream.synchronize()
        np.testing.assert_array_equal(cupy.asnumpy(routing.row_of_slot), expected.row_of_slot)
        taken = (expected.token_of_row >= 0).reshape(data.shape[:-1])
        wanted = reference.permute((x, scales), expected)
        np.testing.assert_array_equal(cupy.asnumpy(data)[taken], wanted.data[taken])
        np.testing.assert_array_equal(cupy.asnumpy(factors)[taken], wanted.scales[taken])
        assert out.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(cupy.asnumpy(out.view(cupy.uint16)), reference.combine(d, expected, weights))


def test_replay_takes_new_ids_rows_and_weights(monkeypatch, rng):
    """All three in one graph, with results allocated before: a capture allocates nothing."""
    old, new = (rng.integers(-1, 256, (2048, 8)).astype(np.int32) for _ in range(2))
    xs = [reference.encode_bf16(rng.standard_normal((2048, 128))) for _ in range(2)]
    weights = [rng.random((2048, 8)).astype(np.float32) for _ in range(2)]
    cuda, results = driver.cuda(), []

    def empty(like, view, shape, dtype, stream):
        results.append(Array.empty(shape, dtype, stream=stream))
        return results[-1]

    for module in (assignment, rows):
        monkeypatch.setattr(module, "empty", empty)
    with driver.context(0):
        stream = int(driver.check(cuda.cuStreamCreate(1)))
        inputs = [Array.from_numpy(x, stream) for x in (old, xs[0], weights[0])]
        inputs[1] = inputs[1].view("bfloat16")
        out = Array.empty((2048, 128), "bfloat16", stream=stream)

        def layer():
            routing = moe.route(inputs[0], 256, stream=stream)
            moe.combine(moe.permute(inputs[1], routing, stream=stream), routing, inputs[2], out=out, stream=stream)

        layer()  # loads the kernels and makes the scratch memory
        kept = iter(list(results))
        for module in (assignment, rows):
            monkeypatch.setattr(module, "empty", lambda *_: next(kept))
        driver.check(cuda.cuStreamBeginCapture(stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        layer()
        graph = driver.check(cuda.cuStreamEndCapture(stream))
        launch = driver.check(cuda.cuGraphInstantiate(graph, 0))
        for device, host in zip(inputs, (new, xs[1], weights[1]), strict=True):
            driver.check(cuda.cuMemcpyHtoDAsync(device.ptr, host.ctypes.data, host.nbytes, stream))
        driver.check(cuda.cuGraphLaunch(launch, stream))
        found = out.to_numpy().view(np.uint16)
    routing = reference.route(new, 256)
    np.testing.assert_array_equal(found, reference.combine(reference.permute(xs[1], routing), routing, weights[1]))


def test_capture_refuses_to_allocate(rng):
    cupy = pytest.importorskip("cupy")
    ids = cupy.asarray(random_ids(rng, 16, 2, 4))
    with cupy.cuda.Stream(non_blocking=True) as stream:
        moe.route(ids, 4)
        stream.begin_capture()
        try:
            with pytest.raises(RuntimeError, match="would have to be allocated"):
                moe.route(ids, 4)
        finally:
            stream.end_capture()
