"""What is prepared once launches again at once: calls with operands that passed every check before, and plans."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from nvgemm import PerformanceWarning, gemm, prepared, product, quantize, remembered
from nvgemm.choice.heuristic import select_config
from nvgemm.choice.pointers import NAMES
from nvgemm.choice.problem import Problem
from nvgemm.runtime import arrays, driver, memory, sm_limit
from nvgemm.runtime.array_view import ArrayView

M, N, K = 64, 576, 2048
A = ArrayView(1 << 20, (M, K)), ArrayView(2 << 20, (M, 16), (1, 64), "float32")
K_MAJOR = A[0], ArrayView(2 << 20, (M, 16), None, "float32")
B = ArrayView(3 << 20, (N, K)), ArrayView(5 << 20, (5, 16), None, "float32")


def result(ptr: int) -> ArrayView:
    return ArrayView(ptr, (M, N), None, "bfloat16")


class Kernel:
    """Stands for the loaded kernel: notes what is bound and launched."""

    def __init__(self) -> None:
        self.device, self.config = SimpleNamespace(ordinal=0), select_config(Problem(M, N, K, True))
        self.bound: list[int] = []
        self.launched: list[tuple[int, int]] = []

    def bind(self, a, sfa, b, sfb, d):
        self.bound.append(d.ptr)
        return lambda stream: self.launched.append((d.ptr, stream))


class NoContext:
    def __init__(self, ordinal: int) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def kernel(monkeypatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(driver, "context", NoContext)
    monkeypatch.setattr(driver, "require_hopper", lambda ordinal: None)
    monkeypatch.setattr(product, "ready_kernel", lambda problem, device, stream, num_sms: made)
    monkeypatch.setattr(gemm, "_known", {})
    monkeypatch.setattr(gemm, "_objects", remembered.Objects())
    return made


def test_the_second_call_binds_nothing(kernel):
    d = result(6 << 20)
    assert [gemm.fp8_gemm_nt(A, B, d, stream=7), gemm.fp8_gemm_nt(A, B, d, stream=8)] == [d, d]
    assert (kernel.bound, kernel.launched) == ([d.ptr], [(d.ptr, 7), (d.ptr, 8)])


def test_another_pointer_is_another_call(kernel):
    for ptr in (6 << 20, 7 << 20, 6 << 20):
        gemm.fp8_gemm_nt(A, B, result(ptr))
    assert [ptr for ptr, _ in kernel.launched] == [6 << 20, 7 << 20, 6 << 20]


def test_another_number_of_sms_is_another_call(kernel, monkeypatch):
    monkeypatch.setattr(sm_limit, "within", lambda ordinal, num_sms: None)
    d = result(6 << 20)
    for num_sms in (None, 8, 9, 8, None):
        gemm.fp8_gemm_nt(A, B, d, num_sms=num_sms)
    assert len(kernel.bound) == 3
    monkeypatch.setattr(sm_limit, "limit", 9)
    gemm.fp8_gemm_nt(A, B, d)
    assert (len(kernel.bound), len(kernel.launched)) == (3, 6)


@pytest.mark.parametrize(
    ("num_sms", "error"), [(0, ValueError), (True, ValueError), (1.0, TypeError), ([1], TypeError)]
)
def test_no_number_of_sms_is_refused_also_by_a_known_call(kernel, monkeypatch, num_sms, error):
    monkeypatch.setattr(sm_limit, "within", lambda ordinal, num_sms: None)
    d = result(6 << 20)
    for _ in range(2):
        with pytest.raises(error, match="num_sms: expected"):
            gemm.fp8_gemm_nt(A, B, d, num_sms=num_sms)
        with pytest.raises(error, match="num_sms: expected"):
            prepared.plan(A, B, d, num_sms=num_sms)
        gemm.fp8_gemm_nt(A, B, d, num_sms=1)
    assert len(kernel.launched) == 2


@pytest.mark.parametrize("recipe", [5, "abc", (1, 128), (1.0, 128, 128), [[1], 128, 128]])
def test_no_recipe_at_all_is_refused(kernel, recipe):
    with pytest.raises(TypeError, match=r"recipe: expected three ints, such as \(1, 128, 128\), got"):
        gemm.fp8_gemm_nt(A, B, result(6 << 20), recipe=recipe)
    assert not kernel.launched


def test_a_cupy_array_is_known_by_all_that_its_view_reads():
    cupy = pytest.importorskip("cupy")

    def array(ptr=1 << 20, shape=(64, 16), dtype="float32", strides=(64, 4), device=0):
        memory = cupy.cuda.UnownedMemory(ptr, 1 << 16, None, device)  # named, so not asked for
        return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0), strides)

    others = [
        array(2 << 20),
        array(shape=(32, 16)),
        array(dtype="int32"),
        array(strides=(4, 256)),
        array(strides=(128, 4)),
    ]

    def fingerprint(*some):
        """Of these, and of as many equal arrays as make five operands."""
        x, sfa, y, sfb, d = (*some, *(array(3 << 20) for _ in range(5 - len(some))))
        return arrays.fingerprint((x, sfa), (y, sfb), d)

    for place in range(5):
        before = [array(3 << 20) for _ in range(place)]
        seen = [fingerprint(*before, x) for x in (array(), *others)]
        assert len(set(seen)) == len({arrays.view(x, "a") for x in (array(), *others)}) == 1 + len(others)
        assert fingerprint(*before, array()) == seen[0]
        assert fingerprint(*before, A[0]) is None
    assert fingerprint(array(device=1)) != fingerprint(array())
    pair = array(), array()
    assert arrays.fingerprint(pair, pair, None) is not None
    assert arrays.fingerprint(list(pair), pair, None) == arrays.fingerprint(pair, pair, None)
    for a, b in ((pair[0], pair), (pair, 5), ((*pair, *pair), pair), ((array(), None), pair)):
        assert arrays.fingerprint(a, b, None) is None


@pytest.mark.parametrize("others", ["cupy", "proxies"])
def test_what_only_looks_like_a_cupy_array_is_known_by_its_view(monkeypatch, others):
    cupy = pytest.importorskip("cupy")
    monkeypatch.setattr(driver, "pointer_device", lambda ptr: 0)

    class Proxy:
        data, shape, strides, dtype = SimpleNamespace(ptr=1 << 20, device_id=0), (64, 16), (64, 4), "float32"

        def __init__(self, stream: int) -> None:
            self.__cuda_array_interface__ = dict(
                shape=(64, 16), typestr="<f4", data=(1 << 20, False), stream=stream, version=3
            )

    for stream in (5, 7):
        memory = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(1 << 20, 1 << 16, None, 0), 0)
        rest = [Proxy(1) if others == "proxies" else cupy.ndarray((64, 16), "float32", memory) for _ in range(4)]
        operands = (Proxy(stream), *rest)
        assert arrays.fingerprint(operands[:2], operands[2:4], operands[4]) is None
        assert arrays.views(operands, NAMES)[0].stream == stream


def test_a_host_array_is_refused_by_name():
    with pytest.raises(TypeError, match=r"a: host array .*from_numpy"):
        gemm.fp8_gemm_nt((np.zeros((M, K), ml_dtypes.float8_e4m3fn), A[1]), B, result(6 << 20))


def test_an_allocated_result_is_never_written_again(kernel, monkeypatch):
    made = iter([result(8 << 20), result(9 << 20)])
    monkeypatch.setattr(memory, "empty", lambda *_: next(made))
    results = [gemm.fp8_gemm_nt(A, B).ptr, gemm.fp8_gemm_nt(A, B).ptr]
    assert results == [8 << 20, 9 << 20] == [ptr for ptr, _ in kernel.launched]


def test_an_allocated_result_of_cupy_is_checked_and_bound_once_for_each_pointer(kernel, monkeypatch):
    cupy = pytest.importorskip("cupy")

    def array(ptr, shape, dtype="uint8", strides=None):
        memory = cupy.cuda.UnownedMemory(ptr, 1 << 30, None, 0)
        return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0), strides)

    a = array(1 << 30, (M, K)), array(2 << 30, (M, 16), "float32", (4, 256))
    b = array(3 << 30, (N, K)), array(4 << 30, (5, 16), "float32")
    pool, streams, checked = iter([5, 6, 5, 6, 7]), iter([11, 12, 13, 14]), []
    admit = gemm.admit
    monkeypatch.setattr(gemm, "admit", lambda *given: checked.append(given) or admit(*given))
    asked = []

    def empty(like, view, shape, dtype, stream):
        asked.append((view.device, shape, dtype, stream))
        return array(next(pool) << 30, shape, "uint16")

    monkeypatch.setattr(memory, "empty", empty)
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda device: SimpleNamespace(ptr=next(streams)))
    results = [gemm.fp8_gemm_nt(a, b), gemm.fp8_gemm_nt(a, b), gemm.fp8_gemm_nt(a, b), gemm.fp8_gemm_nt(a, b)]
    results.append(gemm.fp8_gemm_nt(a, b, stream=99))
    pointers = [x << 30 for x in (5, 6, 5, 6, 7)]
    assert [d.data.ptr for d in results] == pointers
    assert kernel.launched == list(zip(pointers, (11, 12, 13, 14, 99), strict=True))
    assert len(checked) == 1
    assert asked == [(0, (M, N), "bfloat16", 11), *((0, (M, N), "uint16", stream) for stream in (12, 13, 14, 99))]
    assert kernel.bound == [x << 30 for x in (5, 6, 5, 7)]  # the first call's is bound once more: it is kept elsewhere


def test_launches_on_allocated_results_are_kept_for_a_few_pointers(kernel, monkeypatch):
    monkeypatch.setattr(remembered, "_MOST_POINTERS", 2)
    monkeypatch.setattr(memory, "empty", lambda *_: SimpleNamespace(data=SimpleNamespace(ptr=next(pool))))
    monkeypatch.setitem(arrays._doors, SimpleNamespace, lambda x, name: result(x.data.ptr))
    pointers = [5, 6, 5, 7, 5]
    pool = iter(pointers)
    launch = remembered.allocating(product.Prepared((*A, *B, result(5)), kernel))
    for _ in pointers:
        launch(3)
    assert kernel.launched == [(ptr, 3) for ptr in pointers]
    assert kernel.bound == [5, 6, 7, 5]


def test_a_refused_call_is_refused_again(kernel):
    for _ in range(2):
        with pytest.raises(ValueError, match="overlaps a"):
            gemm.fp8_gemm_nt(A, B, result(A[0].ptr))
    assert not kernel.launched


def test_no_recipe_is_the_default_recipe(kernel):
    for recipe in (None, [1, 128, 128], (1, 128, 128)):
        gemm.fp8_gemm_nt(A, B, result(6 << 20), recipe=recipe)
    assert len(kernel.launched) == 3


def test_a_plan_outlives_a_rebinding_that_fails(kernel, monkeypatch):
    d = result(6 << 20)
    plan = prepared.plan(A, B, d, stream=7)

    def refuse(*_: object) -> None:
        raise RuntimeError("the transpose would have to be loaded")

    monkeypatch.setattr(quantize, "transpose", refuse)
    calls = lambda: plan(a=K_MAJOR), lambda: prepared.plan(K_MAJOR, B, d), lambda: gemm.fp8_gemm_nt(K_MAJOR, B, d)
    for call in calls:
        with (
            pytest.warns(PerformanceWarning, match="a scales") as warned,
            pytest.raises(RuntimeError, match="transpose"),
        ):
            call()
        assert warned[0].filename == __file__
    assert plan() is d
    assert kernel.launched == [(d.ptr, 7)]


def test_scales_are_transposed_in_each_launch(kernel, monkeypatch):
    d, transposed, scratch = result(6 << 20), [], []

    def allocate(device: int, stream: int, size: int) -> int:
        scratch.append((stream, size))
        return 8 << 20

    monkeypatch.setattr(quantize, "transpose", lambda sfa, stream: transposed.append)
    monkeypatch.setattr(memory, "scratch", allocate)
    with pytest.warns(PerformanceWarning, match="a scales"):
        plan = prepared.plan(K_MAJOR, B, d, stream=7)
    with pytest.warns(PerformanceWarning, match="a scales"):
        results = [plan(), gemm.fp8_gemm_nt(K_MAJOR, B, d, stream=8), gemm.fp8_gemm_nt(K_MAJOR, B, d, stream=9), plan()]
    assert results == [d] * 4
    assert (transposed, scratch) == ([8 << 20] * 4, [(stream, 4 * M * 16) for stream in (7, 8, 9, 7)])
    assert kernel.launched == [(d.ptr, stream) for stream in (7, 8, 9, 7)]
    assert plan.workspace_bytes == 4 * M * 16


class Arrays:
    """CuPy arrays of one product, and how many of its calls were looked up by their fingerprints."""

    def __init__(self, cupy, monkeypatch) -> None:
        self.cupy, self.by_fields = cupy, 0
        self.a = self.array(1, (M, K), "uint8"), self.array(2, (M, 16), "float32", (4, 4 * M))
        self.b = self.array(3, (N, K), "uint8"), self.array(5, (5, 16), "float32")
        self.d = self.array(6, (M, N), "uint16")
        monkeypatch.setattr(gemm, "fingerprint", self._fingerprint)

    def array(self, megabyte, shape, dtype, strides=None):
        memory = self.cupy.cuda.UnownedMemory(megabyte << 20, 1 << 20, None, 0)
        return self.cupy.ndarray(shape, dtype, self.cupy.cuda.MemoryPointer(memory, 0), strides)

    def call(self, d="d", **said):
        d = self.d if isinstance(d, str) else d
        assert gemm.fp8_gemm_nt(self.a, self.b, d, stream=7, **said) is d
        return self.by_fields

    def _fingerprint(self, *pairs):
        self.by_fields += 1
        return arrays.fingerprint(*pairs)


@pytest.fixture
def cupy_arrays(kernel, monkeypatch) -> Arrays:
    return Arrays(pytest.importorskip("cupy"), monkeypatch)


def test_a_third_call_with_the_same_arrays_reads_nothing_of_them(kernel, cupy_arrays):
    assert [cupy_arrays.call() for _ in range(6)] == [1, 2, 3, 3, 3, 3]
    assert (len(kernel.bound), kernel.launched) == (1, [(6 << 20, 7)] * 6)


def test_what_else_is_said_makes_it_another_call(kernel, cupy_arrays, monkeypatch):
    monkeypatch.setattr(sm_limit, "within", lambda ordinal, num_sms: None)
    for said in ({}, {"num_sms": 8}, {"pdl": True}, {"pdl": True, "weights_static": True}):
        before = cupy_arrays.by_fields
        assert [cupy_arrays.call(**said) - before for _ in range(5)] == [1, 2, 3, 3, 3]
    assert len(kernel.bound) == 4


@pytest.mark.parametrize("place", ["a", "a scales", "b", "b scales", "d"])
def test_calls_of_an_array_that_dies_are_forgotten(cupy_arrays, place):
    for _ in range(4):
        cupy_arrays.call()
    assert len(gemm._objects._living) == 1
    if place == "d":
        cupy_arrays.d = cupy_arrays.array(9, (M, N), "uint16")
    else:
        pair = list(getattr(cupy_arrays, place[0]))
        old = pair["scales" in place]
        pair["scales" in place] = cupy_arrays.array(9, old.shape, old.dtype, old.strides)
        del old
        setattr(cupy_arrays, place[0], pair)
    assert not gemm._objects._living


def test_an_array_in_the_place_of_another_is_not_taken_for_it(kernel, cupy_arrays):
    """CPython gives a new object the address of one that has just died."""
    for _ in range(4):
        cupy_arrays.call()
    for megabyte in range(10, 40):
        cupy_arrays.d = None
        cupy_arrays.d = cupy_arrays.array(megabyte, (M, N), "uint16")
        cupy_arrays.call()
        assert kernel.launched[-1] == (megabyte << 20, 7)


def test_an_array_whose_shape_was_set_is_read_again(kernel, cupy_arrays):
    for _ in range(4):
        cupy_arrays.call()
    cupy_arrays.d.shape = (N, M)
    with pytest.raises(ValueError, match=r"d: expected shape \(64, 576\)"):
        cupy_arrays.call()
    cupy_arrays.d.shape = (M, N)
    cupy_arrays.a[0].shape = (M, 2, K // 2)
    with pytest.raises(ValueError, match=r"a: expected a matrix \[M, K\], got 3 dimensions"):
        cupy_arrays.call()
    cupy_arrays.a[0].shape = (M, K)
    before = len(kernel.launched)
    cupy_arrays.call()
    assert len(kernel.launched) == before + 1


def test_calls_with_new_arrays_are_not_kept(cupy_arrays, monkeypatch):
    """Whichever is new in each call, though a pool gives it the same memory again: keeping one would cost 2 µs."""
    kept, calls = [], 2 * remembered._SELDOM + 2
    monkeypatch.setattr(remembered, "_Living", lambda *fields: kept.append(fields))
    for _ in range(calls):
        cupy_arrays.call(d=cupy_arrays.array(6, (M, N), "uint16"))
    for _ in range(calls):
        cupy_arrays.a = cupy_arrays.array(1, (M, K), "uint8"), cupy_arrays.a[1]
        cupy_arrays.call()
    assert not kept
    for _ in range(remembered._SELDOM + 1):
        cupy_arrays.call()
    assert kept


def test_whether_arrays_come_again_is_looked_at_seldom(cupy_arrays, monkeypatch):
    looked = []
    monkeypatch.setattr(
        remembered, "weakref", SimpleNamespace(ref=lambda *given: looked.append(given) or weakref.ref(*given))
    )
    for _ in range(1 + 2 * 16):  # the first is remembered elsewhere
        cupy_arrays.call(d=cupy_arrays.array(6, (M, N), "uint16"))
    assert len(looked) == 2 * 2 * 5


def test_new_activations_are_not_kept_where_results_are_allocated(cupy_arrays, monkeypatch):
    monkeypatch.setattr(memory, "empty", lambda *_: cupy_arrays.array(6, (M, N), "uint16"))
    for _ in range(2 * remembered._SELDOM + 2):
        cupy_arrays.a = cupy_arrays.array(1, (M, K), "uint8"), cupy_arrays.a[1]
        gemm.fp8_gemm_nt(cupy_arrays.a, cupy_arrays.b, stream=7)
    assert not gemm._objects._living
    for _ in range(remembered._SELDOM + 1):
        gemm.fp8_gemm_nt(cupy_arrays.a, cupy_arrays.b, stream=7)
    assert len(gemm._objects._living) == 1


def test_layers_in_turn_are_each_kept(cupy_arrays):
    results = [cupy_arrays.array(megabyte, (M, N), "uint16") for megabyte in (6, 7, 8)]
    for _ in range(3):
        for d in results:
            cupy_arrays.call(d=d)
    before = cupy_arrays.by_fields
    for d in results:
        cupy_arrays.call(d=d)
    assert cupy_arrays.by_fields == before


def test_no_more_calls_are_kept_than_some(cupy_arrays, monkeypatch):
    monkeypatch.setattr(remembered, "_MOST_CALLS", 2)
    results = [cupy_arrays.array(megabyte, (M, N), "uint16") for megabyte in range(6, 12)]
    for d in results:
        for _ in range(3):
            cupy_arrays.call(d=d)
    assert len(gemm._objects._living) <= 2
