"""The one rule by which a call finds its stream."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from nvgemm.runtime import streams
from nvgemm.runtime.array_view import ArrayView, make


def owned(owner: str, stream: int | None = None, device: int = 0) -> ArrayView:
    return make(4096, (16, 16), (16, 1), "uint8", device, False, owner, stream)


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Current streams of a CuPy and a torch that are not there; on device 1 they are 100 higher."""
    now = {"cupy": 0, "torch": 0}
    cupy = SimpleNamespace(get_current_stream=lambda device: SimpleNamespace(ptr=now["cupy"] + 100 * device))
    torch = SimpleNamespace(current_stream=lambda device: SimpleNamespace(cuda_stream=now["torch"] + 100 * device))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cupy))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=torch))
    return now


class Protocol:
    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, 0x77


class Newer:
    def __cuda_stream__(self) -> tuple[int, int]:
        return 1, 0x77


@pytest.mark.parametrize(
    ("given", "handle"),
    [
        (0, 0),
        (1, 0),  # CU_STREAM_LEGACY
        (2, 2),  # CU_STREAM_PER_THREAD
        (0x5000, 0x5000),
        (Protocol(), 0x77),
        (SimpleNamespace(ptr=0x88), 0x88),
        (SimpleNamespace(ptr=0), 0),
        (SimpleNamespace(cuda_stream=0x99), 0x99),
        (SimpleNamespace(cuda_stream=0), 0),
    ],
)
def test_explicit(current: dict[str, int], given: Any, handle: int) -> None:
    current["cupy"] = 0x10
    assert streams.resolve(given, [owned("cupy"), owned("torch"), None], ()) == handle


def test_stream_of_cuda_bindings() -> None:
    driver = pytest.importorskip("cuda.bindings.driver")
    assert streams.handle(driver.CUstream(0x5000)) == 0x5000


@pytest.mark.parametrize("given", ["0", 1.0, True, object()])
def test_not_a_stream(given: Any) -> None:
    with pytest.raises(TypeError, match=r"stream: expected a handle \(int\) or an object with __cuda_stream__"):
        streams.handle(given)


def test_negative_and_unknown_version() -> None:
    with pytest.raises(ValueError, match=r"stream: a handle is not negative, got -1"):
        streams.handle(-1)
    with pytest.raises(TypeError, match=r"stream: version 1 of __cuda_stream__"):
        streams.handle(Newer())


@pytest.mark.parametrize("owner", ["cupy", "torch"])
def test_current_stream_of_the_owner(current: dict[str, int], owner: str) -> None:
    current[owner] = 0x10
    assert streams.resolve(None, [owned(owner), owned(owner), None], ()) == 0x10
    assert streams.resolve(None, [owned(owner, device=1)], ()) == 0x10 + 100


def test_stream_that_came_with_the_array() -> None:
    assert streams.resolve(None, [owned("other", 0x20), owned("other", 0x20), owned("view")], ()) == 0x20
    assert streams.resolve(None, [owned("nvgemm", 0), owned("other")], ()) == 0
    assert streams.resolve(None, [owned("view"), owned("view")], ()) == 0
    assert streams.resolve(None, [owned("view"), owned("nvgemm", 0x30)], ()) == 0x30


def test_two_frameworks_on_one_stream(current: dict[str, int]) -> None:
    current["cupy"] = current["torch"] = 0x10
    mixed = [owned("cupy"), owned("torch"), owned("nvgemm", 0x10), owned("view")]
    assert streams.resolve(None, mixed, ()) == 0x10


@pytest.mark.parametrize(
    "second", [owned("torch"), owned("nvgemm", 0x30), owned("other", 0)], ids=lambda view: view.owner
)
def test_two_frameworks_on_different_streams(current: dict[str, int], second: ArrayView) -> None:
    current["cupy"] = 0x10
    with pytest.raises(ValueError, match=r"stream: operands .* different streams \(.*on 0x10.*pass stream="):
        streams.resolve(None, [owned("cupy"), owned("cupy"), second, None], ())
    assert streams.resolve(0, [owned("cupy"), second], ()) == 0


def test_arrays_of_our_own_on_different_streams() -> None:
    with pytest.raises(ValueError, match=r"\(builtins.list on 0x0, builtins.dict on 0x30\)"):
        streams.resolve(None, [owned("nvgemm", 0), owned("nvgemm", 0x30)], ([], {}))


@pytest.mark.parametrize("owner", ["cupy", "torch"])
@pytest.mark.parametrize("device", [0, 1])
def test_a_known_call_asks_again(current: dict[str, int], owner: str, device: int) -> None:
    now = streams.current([owned(owner, device=device)] * 5)
    for stream in (0x10, 0x20, 0, 0x10):
        current[owner] = stream
        assert now() == stream + 100 * device


def test_a_known_call_looks_its_library_up_once(current: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [streams.current([owned(owner)] * 5) for owner in ("cupy", "torch")]
    for owner in ("cupy", "torch"):
        monkeypatch.delitem(sys.modules, owner)
    current["cupy"], current["torch"] = 0x10, 0x20
    assert [now() for now in calls] == [0x10, 0x20]


def test_a_known_call_of_two_owners_asks_and_compares_again(current: dict[str, int]) -> None:
    frameworks = streams.current([owned("cupy"), owned("cupy"), owned("torch")])
    with_own = streams.current([owned("view"), owned("torch"), owned("nvgemm", 0x10)])
    for stream in (0x20, 0x30):
        current["cupy"] = current["torch"] = stream
        assert frameworks() == stream
        with pytest.raises(
            ValueError, match=rf"different streams \(.*torch array on {stream:#x}, nvgemm array on 0x10"
        ):
            with_own()
    current["torch"] = 0x10
    assert with_own() == 0x10
    with pytest.raises(ValueError, match=r"cupy array on 0x30, torch array on 0x10\); pass stream="):
        frameworks()


def test_a_known_call_without_a_framework() -> None:
    assert streams.current([owned("view"), owned("nvgemm", 0x30), owned("other", 0x30)])() == 0x30
    assert streams.current([owned("view")] * 5)() == 0
