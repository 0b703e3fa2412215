"""What the measurements are computed from: the profiler's events, the clock probe, NVML, processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from nvgemm.bench import clock, cold, first_call, nvml, sustained
from nvgemm.bench.cold import Times

CUDA, CPU = "cuda", "cpu"
TORCH = SimpleNamespace(autograd=SimpleNamespace(DeviceType=SimpleNamespace(CUDA=CUDA)))
FILL, REDUCE, MEMSET = "elementwise<FillFunctor<unsigned char>>", "reduce_kernel<512>", "Memset (Device)"
FLUSH = [(FILL, 90.0), (MEMSET, 1.0), (REDUCE, 100.0)]


def events(*named: tuple[str, float]) -> list[SimpleNamespace]:
    """Events on the device one after the other, as the profiler gives them in any order."""
    places = enumerate(named)
    made = [
        SimpleNamespace(device_type=CUDA, name=name, device_time=us, time_range=SimpleNamespace(start=i))
        for i, (name, us) in places
    ]
    launch = SimpleNamespace(device_type=CPU, name="cudaLaunchKernel", device_time=7.0)
    return [launch, *reversed(made)]


def test_a_slot_is_what_lies_between_a_flush_and_the_probe():
    taken = [*FLUSH, ("transpose", 2.0), ("gemm", 10.0), (clock.KERNEL, 20.0), *FLUSH, ("gemm", 11.0)]
    assert cold._slots(TORCH, events(("warm_up", 5.0), *taken)) == [12.0, 11.0]
    own_fill = [*FLUSH, (FILL, 3.0), ("gemm", 10.0), (clock.KERNEL, 20.0)]
    assert cold._slots(TORCH, events(*own_fill)) == [13.0]
    assert cold._slots(TORCH, events(*FLUSH, (clock.KERNEL, 20.0), *FLUSH, ("gemm", 9.0))) == [0.0, 9.0]
    assert cold._slots(TORCH, events(*FLUSH, ("reduce_kernel<128>", 4.0))) == [4.0]  # split-K of a contender


def test_a_contender_without_a_kernel_is_named():
    with pytest.raises(RuntimeError, match="idle: the profiler shows no kernel in 2 of 3 launches"):
        cold._times("idle", [(0.0, 1900.0), (10.0, 1900.0), (0.0, 1900.0)])
    assert cold._times("busy", [(10.0, 1900.0), (12.0, 1800.0), (11.0, 1850.0)]).us == 11.0


def test_times_of_samples():
    times = Times.of([4.0, 1.0, 3.0, 2.0, 5.0], [1900.0, 1980.0, 1700.0], watts=500.0)
    assert (times.us, times.mhz, times.watts) == (3.0, 1900.0, 500.0)
    assert times.spread == pytest.approx(1 / 3)
    assert times.joules == pytest.approx(1.5e-3)


class Probed:
    """The probe's results as in device memory, and the kernel that fills them in."""

    def __init__(self, *measurements: tuple[int, int]) -> None:
        self.left, self.memory = list(measurements), list[int]()
        stream = SimpleNamespace(cuda_stream=5)
        cuda = SimpleNamespace(current_device=lambda: 0, current_stream=lambda: stream)
        self.torch = SimpleNamespace(cuda=cuda, int64="int64", zeros=self.zeros)

    def zeros(self, size: int, dtype: str, device: str) -> SimpleNamespace:
        self.memory = [0] * size
        return SimpleNamespace(data_ptr=lambda: 4096, tolist=lambda: list(self.memory))

    def launch(self, grid: int, block: int, arguments: object, stream: int) -> None:
        assert (grid, block, stream) == (1, 1, 5)
        index = self.memory[0]
        self.memory[1 + 2 * index : 3 + 2 * index] = self.left.pop(0)
        self.memory[0] += 1


def test_the_clock_is_clocks_by_nanoseconds(monkeypatch):
    probed = Probed((39600, 20000), (34680, 20400))
    monkeypatch.setattr(clock, "_kernel", lambda device: probed)
    probe = clock.ClockProbe(probed.torch, 2)
    assert probe.megahertz() == []
    probe()
    assert probe.megahertz() == [1980.0]
    probe()
    assert probe.megahertz() == [1980.0, 1700.0]
    with pytest.raises(RuntimeError, match="the clock probe holds 2 measurements"):
        probe()
    probed.memory[0] = 1
    with pytest.raises(RuntimeError, match="1 clocks were measured, 2 asked for"):
        probe.megahertz()


def test_the_probe_is_loaded_once_a_device(monkeypatch):
    loaded: list[int] = []
    monkeypatch.setattr(clock, "build", lambda kernel, constants: kernel)
    monkeypatch.setattr(clock, "load", lambda cubin, device: loaded.append(device) or object())
    clock._kernel.cache_clear()
    probed = Probed()
    first, second = clock.ClockProbe(probed.torch, 1), clock.ClockProbe(probed.torch, 1)
    clock._kernel.cache_clear()
    assert loaded == [0]
    assert first._kernel is second._kernel
    assert first._results is not second._results


def test_rotated_operands_do_not_fit_the_l2():
    for size in (1 << 14, 1 << 20, 40 << 20, 1 << 30):
        sets = sustained.sets_of(size)
        assert sets >= 2
        assert sets * size >= sustained.ROTATED_BYTES


@pytest.mark.parametrize("seconds", [1e-3, 0.5, 1800.0])
@pytest.mark.parametrize("slow", [1, 8])
def test_the_probe_holds_a_turn_also_when_chunks_are_short(monkeypatch, seconds, slow):
    """The first launches take `slow` times as long as the later ones; time passes only as the launches say."""
    now, launched, probes = [100.0], [0], list[int]()

    def launch(torch: object, graph: object, replays: int) -> float:
        launched[0] += 1
        took = replays * (slow if launched[0] <= 3 else 1) * 1e-4
        now[0] += took
        return took

    class Probe:
        def __init__(self, torch: object, capacity: int) -> None:
            self.capacity = capacity

        def __call__(self) -> None:
            probes.append(1)

        def megahertz(self) -> list[float]:
            assert len(probes) <= self.capacity
            return [1900.0] * len(probes)

    monkeypatch.setattr(sustained, "_seconds", launch)
    monkeypatch.setattr(sustained, "ClockProbe", Probe)
    monkeypatch.setattr(sustained.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(sustained.nvml, "joules", lambda: nvml.Answer(700.0 * now[0], None))
    samples, mhz, watts = sustained._turn(object(), object(), 4, seconds)
    assert len(samples) == len(mhz) >= sustained.FEWEST
    assert samples[-1] == pytest.approx(25.0)
    assert watts == pytest.approx(700.0)


def test_nvml_gives_a_value_or_a_reason(monkeypatch):
    library = ModuleType("pynvml")
    opened: list[str] = []
    library.nvmlInit = lambda: opened.append("nvml")
    library.nvmlSystemGetDriverVersion = lambda: "580.1"
    library.nvmlDeviceGetHandleByUUID = lambda uuid: opened.append(uuid) or uuid
    library.nvmlDeviceGetTotalEnergyConsumption = lambda handle: {"GPU-abc": 5000}[handle]
    properties = SimpleNamespace(uuid="abc")
    cuda = SimpleNamespace(current_device=lambda: 1, get_device_properties=lambda device: properties)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "pynvml", library)
    forget_nvml()
    assert [nvml.driver_version(), nvml.joules(), nvml.joules()] == [("580.1", None), (5.0, None), (5.0, None)]
    assert opened == ["nvml", "GPU-abc"]

    def unsupported(handle: str) -> int:
        raise OSError("Not Supported")

    library.nvmlDeviceGetTotalEnergyConsumption = unsupported
    assert nvml.joules() == (None, "OSError: Not Supported")
    assert sustained._energy() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    forget_nvml()
    value, why = nvml.driver_version()
    assert value is None
    assert why.startswith("ModuleNotFoundError: ")
    forget_nvml()


def forget_nvml() -> None:
    nvml._library.cache_clear()
    nvml._card.cache_clear()


def test_a_first_call_is_timed_in_a_process_that_has_no_nvgemm(tmp_path, monkeypatch):
    facts = "{'modules': sorted(sys.modules), 'path': sys.path, 'settings': dict(os.environ)}"
    (tmp_path / "cupy.py").write_text(f"import json, os, sys\nprint(json.dumps({facts}))\nsys.exit()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NVGEMM_COMPILE", "never")
    monkeypatch.setenv("NVGEMM_BUNDLE_DIR", "elsewhere")
    folder = str(tmp_path / "folder")
    child = first_call._in_process("process", folder)
    assert not {"nvgemm", "numpy"} & set(child["modules"])
    assert str(Path(first_call.__file__).parent) not in child["path"]  # `import table` would find ours
    expected = {"NVGEMM_CACHE_DIR": folder, "NVGEMM_BUNDLE_DIR": "", "NVGEMM_COMPILE": "auto"}
    assert expected.items() <= child["settings"].items()


def test_contenders_alternate_under_one_load(monkeypatch):
    """A clock that falls all the while is no contender's alone."""
    now, turns = [0.0], []

    def replay(torch, graph, replays):
        speed = 1 / (1 + now[0])
        turns.append(graph)
        took = replays * {"fast": 1e-4, "slow": 2e-4}[graph] / speed
        now[0] += took
        return took

    monkeypatch.setattr(sustained, "_graph", lambda torch, launches: launches[0])
    monkeypatch.setattr(sustained, "_seconds", replay)
    monkeypatch.setattr(sustained.time, "perf_counter", lambda: now[0])
    times = sustained.beside(object(), {"a": ["fast"] * 2, "b": ["slow"] * 2, "a again": ["fast"] * 2}, rounds=40)
    assert times["a"].us / times["a again"].us == pytest.approx(1, abs=0.03)
    assert times["b"].us / times["a"].us == pytest.approx(2, rel=0.03)
    assert len(turns) >= 3 * 40 + 9
