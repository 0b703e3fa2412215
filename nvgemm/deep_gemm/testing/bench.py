"""Device time of a call with torch: by events, or of the kernels that the profiler sees."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any

Launch = Callable[[], object]

_L2_BYTES = 256 << 20  # more than any L2
_CHILL_BYTES = 8_000_000_000  # as many as DeepGEMM writes between two calls, so that figures compare
_NAMES_THERE = {"fp8_gemm": "sm90_fp8_gemm_1d2d_impl"}  # kernel here: what DeepGEMM calls its own


def bench(fn: Launch, num_warmups: int = 5, num_tests: int = 10, high_precision: bool = False) -> float:
    """Average seconds of `fn` on the device, the launches back to back after the L2 was flushed once.

    `high_precision` puts a long kernel before them, so that the host is ahead.
    """
    import torch

    torch.cuda.synchronize()
    _write(torch, _L2_BYTES)
    for _ in range(num_warmups):
        fn()
    if high_precision:
        x = torch.randn((8192, 8192), device="cuda")
        x @ x
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(num_tests):
        fn()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3 / num_tests


def bench_kineto(
    fn: Launch,
    kernel_names: str | tuple[str, ...],
    num_tests: int = 30,
    suppress_kineto_output: bool = False,
    trace_path: str | None = None,
    flush_l2: bool = True,
    with_multiple_kernels: bool = False,
    barrier: Launch | None = None,
) -> float | tuple[float, ...]:
    """Average seconds of the kernels that `fn` launches, as torch's profiler sees them.

    Parameters
    ----------
    kernel_names : str or tuple of str
        Parts of the kernels' names. nvgemm's product goes by its own, ``fp8_gemm``, and by that of DeepGEMM's,
        ``sm90_fp8_gemm_1d2d_impl``.
    flush_l2 : bool
        Write 8 GB before each call.
    with_multiple_kernels : bool
        A part may stand for several kernels, which are averaged over.
    barrier : callable, optional
        Called before each call of `fn`, behind 2·10⁷ cycles of waiting on the device.

    Returns
    -------
    float or tuple of float
        One for each name; 0 where no kernel has it.
    """
    names = (kernel_names,) if isinstance(kernel_names, str) else kernel_names
    fn()
    with suppress_stdout_stderr() if suppress_kineto_output else nullcontext():
        profiler = _profile(fn, num_tests, flush_l2, barrier)
        if trace_path is not None:
            profiler.export_chrome_trace(trace_path)
    kernels = {event.key: (event.count, _microseconds(event)) for event in profiler.key_averages()}
    times = tuple(_average(kernels, name, with_multiple_kernels) for name in names)
    return times[0] if isinstance(kernel_names, str) else times


@contextmanager
def suppress_stdout_stderr() -> Iterator[None]:
    """Send what the process prints, libraries included, to nowhere."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with open(os.devnull, "w") as nowhere:
        for descriptor in saved:
            os.dup2(nowhere.fileno(), descriptor)
        try:
            with redirect_stdout(nowhere), redirect_stderr(nowhere):
                yield
        finally:
            for descriptor, original in saved.items():
                os.dup2(original, descriptor)
                os.close(original)


def _profile(fn: Launch, num_tests: int, flush_l2: bool, barrier: Launch | None) -> Any:
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(num_tests):
            if flush_l2:
                _write(torch, _CHILL_BYTES)
            if barrier is not None:
                torch.cuda._sleep(20_000_000)
                barrier()
            fn()
        torch.cuda.synchronize()
    return profiler


def _write(torch: Any, nbytes: int) -> None:
    torch.empty(nbytes // 4, dtype=torch.int32, device="cuda").zero_()


def _microseconds(event: Any) -> float:
    name = "device_time_total" if hasattr(event, "device_time_total") else "cuda_time_total"  # torch before 2.5
    return float(getattr(event, name))


def _average(kernels: dict[str, tuple[int, float]], name: str, several: bool) -> float:
    found = [key for key in kernels if name in key or name in _NAMES_THERE.get(key, "")]
    if len(found) > 1 and not several:
        raise ValueError(f"kernel_names: {name!r} stands for several kernels, {found}; pass with_multiple_kernels=True")
    count = sum(kernels[key][0] for key in found)
    return sum(kernels[key][1] for key in found) * 1e-6 / count if count else 0.0
