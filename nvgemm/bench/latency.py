"""Host time of calls, and by part: bursts of 64 with the device idle at the start, so that the queue never fills."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import nvgemm
from nvgemm.bench import first_call, libraries
from nvgemm.choice import checks
from nvgemm.choice.heuristic import likeliest
from nvgemm.choice.pointers import NAMES
from nvgemm.remembered import Known, Objects
from nvgemm.runtime import arrays, driver, streams
from nvgemm.runtime.array_view import ArrayView
from nvgemm.runtime.device_model import model
from nvgemm.runtime.gemm_kernel import load_gemm_kernel

BURST, CALLS = 64, 2048
SHAPE = (64, 576, 2048)  # small, so that the device keeps up

Parts = Mapping[str, Callable[[], object]]


def collect() -> dict[str, Any]:
    """Medians in µs of calls from CuPy arrays and of their parts, and the first calls in ms."""
    device = driver.require_hopper(0)
    cupy = libraries.cupy()
    synchronize, stream = cupy.cuda.runtime.deviceSynchronize, cupy.cuda.Stream(non_blocking=True)
    with stream:
        calls, known, new = _cases(cupy, stream.ptr)
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": device.name,
            "calls": _medians(calls, synchronize),
            "parts of a call with known operands": _medians(known, synchronize),
            "parts of a call with new operands": _medians(new, synchronize),
            "first calls": first_call.collect(),
        }


def as_text(facts: Mapping[str, Any]) -> str:
    """The medians as aligned lines."""
    lines = [f"{facts['device']}, {facts['date']}; µs of host time, median of {CALLS} calls in bursts of {BURST}"]
    for title, times in facts.items():
        if isinstance(times, dict):
            unit = "ms" if title == "first calls" else "µs"
            lines += [f"{title}:", *(f"  {name:<52}{value:>8.2f} {unit}" for name, value in times.items())]
    return "\n".join(lines)


def median_microseconds(call: Callable[[], object], synchronize: Callable[[], object]) -> float:
    """Median host time of `call` in µs, over 2,048 calls in bursts of 64."""
    samples = []
    for _ in range(CALLS // BURST):
        synchronize()
        for _ in range(BURST):
            start = time.perf_counter_ns()
            call()
            samples.append(time.perf_counter_ns() - start)
    return statistics.median(samples) * 1e-3


def _medians(cases: Parts, synchronize: Callable[[], object]) -> dict[str, float]:
    return {name: median_microseconds(case, synchronize) for name, case in cases.items()}


def _cases(cupy: Any, stream: int) -> tuple[Parts, Parts, Parts]:
    m, n, k = SHAPE
    a = nvgemm.per_token_cast_to_fp8(cupy.random.standard_normal((m, k), dtype="float32"))
    b = nvgemm.per_block_cast_to_fp8(cupy.random.standard_normal((n, k), dtype="float32"))
    d = nvgemm.fp8_gemm_nt(a, b)
    return _calls(a, b, d), _known(a, b, d, stream), _new((*a, *b, d))


def _calls(a: Any, b: Any, d: Any) -> Parts:
    def slices() -> Any:
        """Operand objects that no call has seen, as they come out of the layers of a model."""
        return (a.data[:], a.scales[:]), (b.data[:], b.scales[:]), d[:]

    return {
        "fp8_gemm_nt(a, b, d)": lambda: nvgemm.fp8_gemm_nt(a, b, d),
        "fp8_gemm_nt(a, b, d, stream=0), the legacy stream": lambda: nvgemm.fp8_gemm_nt(a, b, d, stream=0),
        "fp8_gemm_nt(a, b, d), fresh operand objects": lambda: nvgemm.fp8_gemm_nt(*slices()),
        "  of that, making the objects": slices,
        "fp8_gemm_nt(a, b), result allocated": lambda: nvgemm.fp8_gemm_nt(a, b),
        "plan()": nvgemm.plan(a, b, d),
        "clock read twice, in each figure": lambda: None,
    }


def _known(a: Any, b: Any, d: Any, stream: int) -> Parts:
    """What a call does whose operands have been seen; `cuLaunchKernelEx` is the bare launch."""
    seen = arrays.fingerprint(a, b, d)
    table = {seen: None}
    prepared = nvgemm.plan(a, b, d)._prepared
    current = streams.current(prepared.operands)
    bound, bare = _launches(prepared, stream)
    known, objects = Known(bound, current), Objects()
    for _ in range(2):
        objects.keep(a, b, d, (), known)
    return {
        "look-up by the arrays": lambda: objects.find(a, b, d, ()),
        "fingerprint, of arrays that no call has seen": lambda: arrays.fingerprint(a, b, d),
        "look-up by that": lambda: table.get(seen),
        "stream": current,
        "launch": lambda: bound(stream),
        "cuLaunchKernelEx alone": bare,
    }


def _launches(prepared: Any, stream: int) -> tuple[Callable[[int], None], Callable[[], object]]:
    """A launch as calls make it, and the driver's function alone, with everything converted beforehand."""
    kernel, m = prepared.kernel, prepared.operands[4].shape[0]
    grid, threads = kernel.config.grid(m, kernel.device.num_sms), kernel.config.num_threads
    arguments = kernel._pack(*prepared.operands)
    config = kernel.kernel._configure({}, grid, threads, stream)
    function, launch = kernel.kernel._function, driver.cuda().cuLaunchKernelEx
    return prepared.bound, lambda: launch(config, function, arguments.address, 0)


def _new(objects: tuple[Any, ...]) -> Parts:
    """The steps of the straight line, none of them remembered, for a kernel that is loaded."""

    def views() -> list[ArrayView]:
        return [arrays.view(x, name) for x, name in zip(objects, NAMES, strict=True)]

    a, sfa, b, sfb, d = views()
    problem = checks.dense(a, sfa, b, sfb, d, recipe=checks.RECIPE_1D2D)
    device = driver.device(a.device)
    kernel = load_gemm_kernel(problem, device.ordinal, nvgemm.settings.sass, None)
    return {
        "view": views,
        "check": lambda: checks.dense(a, sfa, b, sfb, d, recipe=checks.RECIPE_1D2D),
        "select": lambda: likeliest.__wrapped__(problem, model(device)),
        "maps": lambda: kernel._bind(a, sfa, b, sfb, d),
    }
