"""Code written for DeepGEMM and torch runs unchanged: its names after `install`, on streams and in graphs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from products import build_all, configs

import nvgemm.deep_gemm
from nvgemm import gemm, reference
from nvgemm.runtime import driver, gemm_kernel

pytestmark = pytest.mark.gpu

SHAPES = [(1, 2112, 7168), (128, 576, 7168), (64, 32768, 512), (1000, 7168, 2048), (4096, 4096, 7168)]
RAGGED = [(7, 8, 16), (129, 1544, 7152), (301, 264, 272), (66, 520, 640), (33, 200, 128)]
SHAPE = (301, 1544, 2064)
MAX_DIFF, MAX_DIFF_TO_BF16 = 1e-5, 1e-3  # the second: of two quantised operands, the limit of DeepGEMM's own tests


@pytest.fixture(scope="module")
def torch() -> Any:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    build_all(configs([*SHAPES, *RAGGED, SHAPE]))
    torch.manual_seed(20)
    return torch


@pytest.fixture(scope="module")
def deep_gemm(torch) -> Iterator[Any]:
    """What ``import deep_gemm`` gives after `install`; a DeepGEMM that was imported before comes back at the end."""
    saved = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "deep_gemm"}
    nvgemm.deep_gemm.install()
    import deep_gemm

    yield deep_gemm
    for name in [name for name in sys.modules if name.split(".")[0] == "deep_gemm"]:
        del sys.modules[name]
    sys.modules.update(saved)


def operands(torch, m: int, n: int, k: int) -> tuple[Any, Any, Any, Any, Any]:
    """BF16 x and w, both quantised by DeepGEMM's names, and D full of NaN."""
    from deep_gemm.utils import per_block_cast_to_fp8, per_token_cast_to_fp8

    x, w = (torch.randn((rows, k), device="cuda", dtype=torch.bfloat16) for rows in (m, n))
    d = torch.full((m, n), float("nan"), device="cuda", dtype=torch.bfloat16)
    return x, w, per_token_cast_to_fp8(x, use_ue8m0=False), per_block_cast_to_fp8(w, use_ue8m0=False), d


def dequantised(pair: tuple[Any, Any], rows: int) -> Any:
    """FP64 values of E4M3 data whose scales are for `rows` × 128 elements."""
    data, scales = pair
    spread = scales.repeat_interleave(rows, 0).repeat_interleave(128, 1)[: data.shape[0], : data.shape[1]]
    return data.double() * spread.double()


def check(d: Any, a: tuple[Any, Any], b: tuple[Any, Any]) -> None:
    from deep_gemm.testing import calc_diff

    assert calc_diff(d, dequantised(a, 1) @ dequantised(b, 128).T) < MAX_DIFF


@pytest.mark.parametrize("laid_out", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [*SHAPES, *RAGGED])
def test_dense(deep_gemm, torch, m, n, k, laid_out, recwarn):
    from deep_gemm.testing import calc_diff, count_bytes

    x, w, a, b, d = operands(torch, m, n, k)
    if laid_out:
        a = a[0], deep_gemm.get_mn_major_tma_aligned_tensor(a[1])
    assert deep_gemm.fp8_gemm_nt(a, b, d, c=None, disable_ue8m0_cast=True, recipe=None) is None
    check(d, a, b)
    if (m, n, k) in SHAPES:
        assert calc_diff(d, x @ w.T) < MAX_DIFF_TO_BF16
    assert count_bytes(a, b, d) == m * k + n * k + 2 * m * n + 4 * (a[1].numel() + b[1].numel())
    assert not [each for each in recwarn if issubclass(each.category, nvgemm.PerformanceWarning)]


def test_transposed_operands(deep_gemm, torch):
    """Aliases give the bits of NT, where K is contiguous in memory; where it is not, they refuse."""
    _, _, a, b, d = operands(torch, *SHAPE)
    deep_gemm.fp8_gemm_nt(a, b, d)
    turned_a, turned_b = (a[0].T, a[1].T), (b[0].T, b[1].T)
    for name, left, right in (("nn", a, turned_b), ("tn", turned_a, turned_b), ("tt", turned_a, b)):
        for kind in ("fp8", "fp8_fp4"):
            again = torch.empty_like(d)
            getattr(deep_gemm, f"{kind}_gemm_{name}")(left, right, again)
            deep_gemm.testing.assert_bitwise_equal(again, d, name)
    with pytest.raises(ValueError, match="b: K must be contiguous"):
        deep_gemm.fp8_gemm_nn(a, (turned_b[0].contiguous(), turned_b[1]), d)


def test_a_program_for_version_1(deep_gemm, torch):
    from deep_gemm import calc_diff, ceil_div, get_col_major_tma_aligned_tensor

    m, n, k = SHAPE
    _, _, a, b, out = operands(torch, m, n, k)
    scales = get_col_major_tma_aligned_tensor(a[1])
    assert (tuple(scales.shape), scales.stride()) == ((m, ceil_div(k, 128)), (1, ceil_div(m, 4) * 4))
    assert get_col_major_tma_aligned_tensor(scales) is scales
    deep_gemm.gemm_fp8_fp8_bf16_nt((a[0], scales), b, out)
    check(out, a, b)
    assert calc_diff(out, out) == 0


def test_rows_of_a_larger_result(deep_gemm, torch):
    _, _, a, b, d = operands(torch, *SHAPE)
    m, n, _ = SHAPE
    wide = torch.full((m + 2, n + 24), 3.0, device="cuda", dtype=torch.bfloat16)
    deep_gemm.fp8_gemm_nt(a, b, wide[1:-1, 8:-16])
    deep_gemm.fp8_gemm_nt(a, b, d)
    expected = torch.full_like(wide, 3.0)
    expected[1:-1, 8:-16] = d
    deep_gemm.testing.assert_bitwise_equal(wide, expected)


@pytest.mark.parametrize("laid_out", [False, True])
def test_the_current_stream_orders_the_call(deep_gemm, torch, laid_out):
    """Inputs arrive late on a side stream; a launch on any other stream would multiply zeros."""
    _, _, a, b, d = operands(torch, *SHAPE)
    if laid_out:
        a = a[0], deep_gemm.get_mn_major_tma_aligned_tensor(a[1])
    deep_gemm.fp8_gemm_nt(a, b, d)
    late, again = torch.zeros_like(a[0].view(torch.uint8)), torch.empty_like(d)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()) as _:
        torch.cuda._sleep(50_000_000)
        late.copy_(a[0].view(torch.uint8))
        deep_gemm.fp8_gemm_nt((late.view(torch.float8_e4m3fn), a[1]), b, again)
    torch.cuda.synchronize()
    deep_gemm.testing.assert_bitwise_equal(again, d)


@pytest.mark.parametrize("laid_out", [False, True])
def test_graph(deep_gemm, torch, laid_out):
    """A capture allocates nothing of ours, also where the scales are transposed: torch's pool of the graph does."""
    _, _, a, b, d = operands(torch, *SHAPE)
    if laid_out:
        a = a[0], deep_gemm.get_mn_major_tma_aligned_tensor(a[1])
    deep_gemm.fp8_gemm_nt(a, b, d)
    again, graph = torch.empty_like(d), torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        deep_gemm.fp8_gemm_nt(a, b, again)
    for factor in (1.0, 2.0):
        again.fill_(float("nan"))
        a[1].mul_(factor)
        graph.replay()
        deep_gemm.testing.assert_bitwise_equal(again, d * factor)


def num_recorded(torch, call: Callable[[], object]) -> int:
    """Nodes of the graph that a capture of `call` gives; the capture must still be good when `call` is done."""
    cuda, stream = driver.cuda(), torch.cuda.Stream()
    mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    with torch.cuda.stream(stream):
        driver.check(cuda.cuStreamBeginCapture(stream.cuda_stream, mode), "cuStreamBeginCapture")
        try:
            call()
        finally:
            graph = driver.check(cuda.cuStreamEndCapture(stream.cuda_stream), "cuStreamEndCapture")
    nodes = driver.check(cuda.cuGraphGetNodes(graph))[1]
    driver.check(cuda.cuGraphDestroy(graph))
    return int(nodes)


def test_a_capture_of_a_refused_call_records_nothing(deep_gemm, torch, monkeypatch):
    """Scales that would be transposed first: their kernel is loaded, so only the product's own refusal stops it."""
    _, _, a, b, d = operands(torch, *SHAPE)
    laid_out = a[0], deep_gemm.get_mn_major_tma_aligned_tensor(a[1])
    deep_gemm.fp8_gemm_nt(a, b, d)
    torch.cuda.synchronize()
    assert num_recorded(torch, lambda: deep_gemm.fp8_gemm_nt(laid_out, b, d)) == 1

    def refused(error: type[Exception], rule: str) -> None:
        with pytest.raises(error, match=rule):
            deep_gemm.fp8_gemm_nt(a, b, d)

    deep_gemm.set_num_sms(deep_gemm.get_num_sms() + 1)
    try:
        assert num_recorded(torch, lambda: refused(ValueError, r"num_sms: \d+ is more than")) == 0
    finally:
        deep_gemm.set_num_sms(0)
    for module, name in ((gemm_kernel, "_kernels"), (gemm_kernel, "_modules"), (gemm, "_known")):
        monkeypatch.setattr(module, name, {})
    assert num_recorded(torch, lambda: refused(RuntimeError, "capturing a graph, and its kernel would have to be")) == 0
    deep_gemm.fp8_gemm_nt(a, b, d)
    check(d, a, b)


def test_empty_sizes(deep_gemm, torch):
    for m, n, k in ((0, 128, 256), (5, 0, 256)):
        _, _, a, b, d = operands(torch, m, n, k)
        deep_gemm.fp8_gemm_nt(a, b, d)
    _, _, a, b, d = operands(torch, 5, 16, 0)
    deep_gemm.fp8_gemm_nt(a, b, d)
    assert not d.any()


def most_ctas(call: Callable[[], object], trace: Path) -> int:
    """CTAs of the product's largest launch in `call`, from the profiler's record."""
    from deep_gemm.testing import bench_kineto

    bench_kineto(call, "fp8_gemm", num_tests=3, flush_l2=False, trace_path=str(trace))
    events = json.loads(trace.read_text())["traceEvents"]
    grids = [each["args"]["grid"] for each in events if each.get("cat") == "kernel" and each["name"] == "fp8_gemm"]
    assert len(grids) == 3
    return max(x * y * z for x, y, z in grids)


@pytest.mark.parametrize("laid_out", [False, True])
def test_fewer_sms(deep_gemm, torch, laid_out, tmp_path):
    every, few = deep_gemm.get_num_sms(), 7
    _, _, a, b, d = operands(torch, *SHAPE)
    if laid_out:
        a = a[0], deep_gemm.get_mn_major_tma_aligned_tensor(a[1])

    def call() -> None:
        deep_gemm.fp8_gemm_nt(a, b, d)

    deep_gemm.set_num_sms(few)
    try:
        assert deep_gemm.get_num_sms() == few
        assert few // 2 < most_ctas(call, tmp_path / "few.json") <= few
        check(d, a, b)
    finally:
        deep_gemm.set_num_sms(0)
    assert deep_gemm.get_num_sms() == every
    assert most_ctas(call, tmp_path / "every.json") > few
    check(d, a, b)


@pytest.mark.parametrize("use_ue8m0", [False, True])
def test_casts_on_the_device(deep_gemm, torch, use_ue8m0):
    """Scales to the last bit but one, since torch divides by 448 as it likes; codes follow from them exactly."""
    x = torch.randn((130, 272), device="cuda") * 10
    host = x.cpu().numpy()
    for name, rows in (("per_token", 1), ("per_block", 128)):
        data, scales = getattr(deep_gemm.utils, f"{name}_cast_to_fp8")(x, use_ue8m0)
        expected = getattr(reference, f"{name}_cast_to_fp8")(host, use_ue8m0=use_ue8m0).scales
        np.testing.assert_allclose(scales.cpu().numpy(), expected, rtol=2e-7)
        assert data.is_contiguous()
        assert scales.is_contiguous()
        spread = scales.cpu().numpy().repeat(rows, 0).repeat(128, 1)[:130, :272]
        codes = reference.encode_e4m3(host * (np.float32(1) / spread))
        np.testing.assert_array_equal(data.view(torch.uint8).cpu().numpy(), codes)


def test_timers_find_the_kernel(deep_gemm, torch):
    from deep_gemm.testing import bench, bench_kineto, get_arch_major

    assert get_arch_major() == 9
    _, _, a, b, d = operands(torch, *SHAPE)

    def launch() -> None:
        deep_gemm.fp8_gemm_nt(a, b, d)

    by_name, by_part, absent = bench_kineto(
        launch, ("fp8_gemm", "gemm_", "nvjet"), num_tests=5, flush_l2=False, suppress_kineto_output=True
    )
    assert 1e-6 < by_name < 1e-3
    assert (by_part, absent) == (by_name, 0)
    assert 1e-6 < bench(launch) < 1e-1
