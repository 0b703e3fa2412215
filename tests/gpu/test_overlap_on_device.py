"""Products that begin before the kernel before them has ended wait for it: whatever it still writes or reads."""

from __future__ import annotations

from ctypes import c_uint32, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from grouped_products import GuardedRows, arrange, grouped
from products import POISON, Product, bits_of, exact, same_bits

import nvgemm
from nvgemm import Array, reference
from nvgemm.runtime import driver, nvrtc
from nvgemm.runtime.build import Cubin
from nvgemm.runtime.kernel import Arguments, Kernel, load
from nvgemm.runtime.specialize import Source

pytestmark = pytest.mark.gpu

SOURCE = Path(__file__).with_name("late_copy.cu")
LATE = 2000  # µs: longer than the host takes from one launch to the next
SHAPES = [
    (16, 576, 7168),  # a cluster divides K
    (64, 24576, 1536),  # consumers divide K, and a CTA has several tiles
    (256, 4096, 7168),  # one consumer, two multiplications under way
    (2048, 24576, 256),  # a CTA has several tiles, and a tile fewer k-blocks than there are stages
    (300, 520, 1040),
    (1, 8, 16),
]
EARLY = {"pdl": {"pdl": True}, "static weights": {"pdl": True, "weights_static": True}}


@cache
def kernel() -> Kernel:
    cubin = nvrtc.compiler().compile(Source("late_copy", {"late_copy.cu": SOURCE.read_text()})).cubin
    return load(Cubin(cubin, cubin, "late_copy", None, {"compiler": nvrtc.compiler().version}, {}), 0)


@pytest.fixture
def stream():
    with driver.context(0):
        handle = driver.check(driver.cuda().cuStreamCreate(1))
        yield int(handle)
        driver.check(driver.cuda().cuStreamDestroy(handle))


def late_copy(source, target, nbytes: int, stream: int) -> None:
    with driver.context(0):
        arguments = Arguments(c_void_p(source.ptr), c_void_p(target.ptr), c_uint32(nbytes // 16), c_uint32(LATE))
        kernel().launch(1, 256, arguments, stream)


def padded(host: np.ndarray) -> np.ndarray:
    """Its bytes, with as many more as make whole 16."""
    flat = np.ascontiguousarray(host).view(np.uint8).ravel()
    return np.concatenate([flat, np.zeros(-flat.size % 16, np.uint8)])


class Late:
    """Operands of which some hold other data until a copy that comes late; `place` is where the product finds them."""

    def __init__(self, product: Product, names: tuple[str, ...], rng: np.random.Generator) -> None:
        self._copies, self.places, self.views = [], {}, {}
        hosts = {"a": product.a, "sfa": padded_scales(product.sfa), "b": product.b, "sfb": product.sfb}
        for name, host in hosts.items():
            right = padded(host)
            place = Array.from_numpy(rng.permutation(right) if name in names else right)
            if name in names:
                self._copies.append((Array.from_numpy(right), place, right.size))
            shape, strides, dtype = layout(name, product)
            self.views[name] = nvgemm.ArrayView(place.ptr, shape, strides, dtype)
            self.places[name] = place

    def copy(self, stream: int) -> None:
        for source, place, nbytes in self._copies:
            late_copy(source, place, nbytes, stream)

    def spoil(self, stream: int) -> None:
        """Other data again."""
        with driver.context(0):
            for _, place, nbytes in self._copies:
                driver.check(driver.cuda().cuMemsetD8Async(place.ptr, 0, nbytes, stream))

    def pairs(self):
        return (self.views["a"], self.views["sfa"]), (self.views["b"], self.views["sfb"])


def padded_scales(sfa: np.ndarray) -> np.ndarray:
    """As the kernel reads them: [ceil(K/128), M], M padded to a multiple of 4."""
    return np.pad(sfa.T, ((0, 0), (0, -sfa.shape[0] % 4)))


def layout(name: str, product: Product):
    if name == "sfa":
        m, blocks = product.sfa.shape
        return (m, blocks), (1, -(-m // 4) * 4), "float32"
    host = getattr(product, name)
    return host.shape, None, "float32" if name == "sfb" else "float8_e4m3fn"


def agrees(d: Array, product: Product) -> None:
    """Bit for bit; of a large D in the first and last columns."""
    n = product.shape[1]
    columns = np.arange(n) if n < 5000 else np.r_[:256, n - 256 : n]
    blocks = product.sfb[columns // 128]
    a = reference.dequantise(product.a, product.sfa, (1, 128))
    b = reference.decode_e4m3(product.b[columns]).astype(np.float64) * np.repeat(blocks, 128, axis=1)[:, : a.shape[1]]
    same_bits(bits_of(d)[:, columns], reference.encode_bf16(a @ b.T + 0.0))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("late", ["a", "sfa", "b", "sfb"])
def test_what_the_kernel_before_writes_is_read_after_it(shape, late, rng, stream):
    product = exact(rng, *shape)
    operands, d = Late(product, (late,), rng), Array.empty(shape[:2], "bfloat16")
    plan = nvgemm.plan(*operands.pairs(), d, stream=stream, pdl=True)
    operands.copy(stream)
    plan()
    driver.check(driver.cuda().cuStreamSynchronize(stream))
    agrees(d, product)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("late", ["a", "sfa"])
def test_static_weights_are_not_waited_for_and_the_rest_is(shape, late, rng, stream):
    product = exact(rng, *shape)
    operands, d = Late(product, (late,), rng), Array.empty(shape[:2], "bfloat16")
    plan = nvgemm.plan(*operands.pairs(), d, stream=stream, **EARLY["static weights"])
    operands.copy(stream)
    plan()
    driver.check(driver.cuda().cuStreamSynchronize(stream))
    agrees(d, product)


def test_weights_that_are_not_static_are_read_too_early(rng, stream):
    """The promise is used, and so the launch is early: nothing else here would show that it is."""
    product = exact(rng, 1, 8, 128)
    operands, d = Late(product, ("b",), rng), Array.empty((1, 8), "bfloat16")
    before = operands.places["b"].to_numpy()[:1024].reshape(8, 128)
    plan = nvgemm.plan(*operands.pairs(), d, stream=stream, **EARLY["static weights"])
    operands.copy(stream)
    plan()
    driver.check(driver.cuda().cuStreamSynchronize(stream))
    same_bits(bits_of(d), Product(product.a, product.sfa, before, product.sfb).bits())


@pytest.mark.parametrize("kind", EARLY)
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_what_the_kernel_before_reads_is_written_after_it(shape, kind, rng, stream):
    m, n, _ = shape
    product = exact(rng, *shape)
    d = Array.from_numpy(np.full((m, n), POISON, np.uint16)).view("bfloat16")
    kept = Array.from_numpy(np.zeros((m, n), np.uint16))
    plan = nvgemm.plan(*product.pairs(), d, stream=stream, **EARLY[kind])
    late_copy(d, kept, m * n * 2, stream)
    plan()
    driver.check(driver.cuda().cuStreamSynchronize(stream))
    assert (kept.to_numpy() == POISON).all()
    agrees(d, product)


@pytest.mark.parametrize("kind", EARLY)
def test_one_after_another(kind, rng, stream):
    """Eight products, again and again, each launched to begin before the one before has ended."""
    product = exact(rng, 64, 2112, 2112)
    a, b = product.pairs()
    d = [Array.empty((64, 2112), "bfloat16") for _ in range(8)]
    plans = [nvgemm.plan(a, b, out, stream=stream, **EARLY[kind]) for out in d]
    for _ in range(20):
        for plan in plans:
            plan()
    driver.check(driver.cuda().cuStreamSynchronize(stream))
    for out in d:
        same_bits(bits_of(out), product.bits())


@pytest.mark.parametrize("kind", EARLY)
def test_in_a_graph(kind, rng, stream):
    shape = SHAPES[0]
    product = exact(rng, *shape)
    operands, d = Late(product, ("a",), rng), Array.empty(shape[:2], "bfloat16")
    plan, cuda = nvgemm.plan(*operands.pairs(), d, stream=stream, **EARLY[kind]), driver.cuda()
    kernel()  # nothing is loaded in a capture
    with driver.context(0):
        driver.check(cuda.cuStreamBeginCapture(stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        operands.copy(stream)
        plan()
        graph = driver.check(cuda.cuStreamEndCapture(stream))
        executable = driver.check(cuda.cuGraphInstantiate(graph, 0))
        for _ in range(3):
            operands.spoil(stream)
            driver.check(cuda.cuGraphLaunch(executable, stream))
            driver.check(cuda.cuStreamSynchronize(stream))
            agrees(d, product)


@pytest.mark.parametrize("name", ["contiguous-128", "psum-64", "offsets", "masked"])
def test_groups_whose_layout_comes_late(name, rng, stream):
    counts = (70, 0, 129, 3, 40)
    arrangement = arrange(name, counts)
    product = grouped(exact, rng, arrangement, len(counts), 520, 400)
    d, left, right = GuardedRows(arrangement.rows.shape, 520), product.left(), product.right()
    told = padded(arrangement.indices)
    source, place = Array.from_numpy(told), Array.from_numpy(told)
    layout = nvgemm.ArrayView(place.ptr, arrangement.indices.shape, None, "int32")
    arrangement.call(left, right, d.view, layout, stream=stream, pdl=True)  # builds, loads, and is remembered
    driver.check(driver.cuda().cuStreamSynchronize(stream))
    d.refill()
    with driver.context(0):
        driver.check(driver.cuda().cuMemsetD8Async(place.ptr, 0, told.size, stream))
    late_copy(source, place, told.size, stream)
    arrangement.call(left, right, d.view, layout, stream=stream, pdl=True)
    driver.check(driver.cuda().cuStreamSynchronize(stream))
    same_bits(d.bits(), product.expected(arrangement.rows))
