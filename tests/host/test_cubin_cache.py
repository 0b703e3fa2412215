"""The cubin store answers with whole entries of the right identity, or with None; it never fails a build."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import stat
import time
import warnings
from pathlib import Path

import pytest

from nvgemm import settings
from nvgemm.errors import CacheWarning
from nvgemm.runtime import cubin_cache, entry

CUBINS = {"kernel.cubin": b"\x7fELF" * 1000, "kernel.raw.cubin": b"raw"}
FILES = {**CUBINS, "ptx/wgmma.cuh": b"// text"}


@pytest.fixture(autouse=True)
def fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubin_cache, "_memory", {})
    monkeypatch.setattr(cubin_cache, "_warned", set())


def put(key: str = "k1", compiler: str = "13.0", **files: bytes) -> entry.Entry:
    return cubin_cache.put("gemm", key, compiler, {**FILES, **files}, {"policy": "s2e2"})


def get(key: str = "k1", compiler: str | None = "13.0") -> entry.Entry | None:
    return cubin_cache.get("gemm", key, compiler)


def test_what_is_put_is_found(cache_dir: Path) -> None:
    assert get() is None
    stored = put()
    assert stored == get()
    assert stored.path == cache_dir / "gemm.k1.nvrtc-13.0"
    assert stored.cubins == CUBINS
    assert (stored.path / "ptx/wgmma.cuh").read_bytes() == FILES["ptx/wgmma.cuh"]
    assert stored.meta["policy"] == "s2e2"
    assert get(key="k2") is None
    assert get(compiler="12.8") is None


def test_sources_are_for_people_only(cache_dir: Path) -> None:
    stored = put()
    (stored.path / "ptx/wgmma.cuh").unlink()
    assert get() == stored


def test_folders_are_private_and_nothing_temporary_stays(cache_dir: Path) -> None:
    path = put().path
    assert stat.S_IMODE(cache_dir.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o700
    assert os.listdir(cache_dir) == [path.name]


def test_first_publisher_wins(cache_dir: Path) -> None:
    put()
    assert put(**{"kernel.cubin": b"other"}).cubins == CUBINS


def truncate(path: Path) -> None:
    (path / "kernel.cubin").write_bytes(FILES["kernel.cubin"][:100])


def flip_a_bit(path: Path) -> None:
    (path / "kernel.cubin").write_bytes(b"\x7eELF" + FILES["kernel.cubin"][4:])


def remove_a_file(path: Path) -> None:
    (path / "kernel.raw.cubin").unlink()


def remove_meta(path: Path) -> None:
    (path / "meta.json").unlink()


def tear_meta(path: Path) -> None:
    (path / "meta.json").write_bytes((path / "meta.json").read_bytes()[:40])


def empty_meta(path: Path) -> None:
    (path / "meta.json").write_bytes(b"")


def binary_meta(path: Path) -> None:
    (path / "meta.json").write_bytes(bytes(range(256)))


def rewrite(path: Path, **changes: object) -> None:
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, **changes}))


def other_identity(path: Path) -> None:
    rewrite(path, entry="gemm.k2.nvrtc-13.0")


def no_digests(path: Path) -> None:
    rewrite(path, sha256={})


def digests_of_a_wrong_type(path: Path) -> None:
    rewrite(path, sha256=["kernel.cubin"])


def meta_is_a_list(path: Path) -> None:
    (path / "meta.json").write_text("[1, 2]")


def file_outside(path: Path) -> None:
    outside = path.parent / "outside"
    outside.write_bytes(b"x")
    digests = json.loads((path / "meta.json").read_text())["sha256"]
    rewrite(path, sha256={**digests, "../outside": entry.digest(b"x")})


def plain_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"not a folder")


def no_digest_of_the_raw_cubin(path: Path) -> None:
    digests = json.loads((path / "meta.json").read_text())["sha256"]
    rewrite(path, sha256={file: value for file, value in digests.items() if file != "kernel.raw.cubin"})


DAMAGE = [truncate, flip_a_bit, remove_a_file, remove_meta, tear_meta, empty_meta, binary_meta, other_identity]
DAMAGE += [no_digests, no_digest_of_the_raw_cubin, digests_of_a_wrong_type, meta_is_a_list, file_outside, plain_file]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__)
def test_damaged_entry_is_a_miss_and_is_replaced(cache_dir: Path, damage) -> None:
    damage(put().path)
    assert get() is None
    assert put().cubins == CUBINS
    assert get().cubins == CUBINS
    assert not list(cache_dir.glob(".tmp-*"))


def test_renamed_folder_is_foreign(cache_dir: Path) -> None:
    put().path.rename(cache_dir / "gemm.k9.nvrtc-13.0")
    assert get(key="k9") is None


def test_any_compiler_prefers_the_newest(cache_dir: Path) -> None:
    for compiler in ("12.8", "13.10", "13.2"):
        put(compiler=compiler)
    assert get(compiler=None).path.name.endswith("13.10")
    truncate(cache_dir / "gemm.k1.nvrtc-13.10")
    assert get(compiler=None).path.name.endswith("13.2")


def test_never_takes_another_compilers_entry(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(compiler="12.8")
    assert get() is None
    monkeypatch.setattr(settings, "compile", "never")
    assert get().path.name.endswith("12.8")
    put()
    assert get().path.name.endswith("13.0")


def test_bundle_is_the_second_level(cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put()
    bundle = cache_dir.rename(tmp_path / "bundle")
    assert get() is None
    monkeypatch.setattr(settings, "bundle_dir", str(bundle))
    assert get().path == bundle / "gemm.k1.nvrtc-13.0"
    assert get(compiler=None).path.parent == bundle
    assert put(key="k2").path.parent == cache_dir
    truncate(bundle / "gemm.k1.nvrtc-13.0")
    assert get() is None


def test_unwritable_cache_keeps_kernels_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(settings, "cache_dir", str(tmp_path / "file" / "cache"))
    with pytest.warns(CacheWarning, match="NVGEMM_CACHE_DIR") as caught:
        stored = put()
    assert len(caught) == 1
    assert stored.path is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        put(key="k2")
    assert get() is stored
    assert get(compiler=None) is stored
    monkeypatch.setattr(settings, "cache_dir", str(tmp_path / "cache"))
    assert get() is None


def test_folder_without_write_permission(cache_dir: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    cache_dir.mkdir(mode=0o500)
    with pytest.warns(CacheWarning):
        assert put().path is None


def test_disk_full_while_writing(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(CacheWarning, match="No space left"):
        assert put().path is None
    assert os.listdir(cache_dir) == []
    assert get().cubins == CUBINS


def test_leftovers_of_killed_writers_are_swept(cache_dir: Path) -> None:
    old, young = cache_dir / ".tmp-old", cache_dir / ".tmp-young"
    old.mkdir(parents=True)
    young.mkdir()
    os.utime(old, (time.time() - 2 * entry.STALE_AFTER,) * 2)
    put()
    assert not old.exists()
    assert young.exists()


def test_directory_without_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(cubin_cache, "PACKAGE", tmp_path / "site" / "nvgemm")
    assert cubin_cache.directory() == tmp_path / "xdg" / "nvgemm"
    (tmp_path / "site" / "cache").mkdir(parents=True)
    assert cubin_cache.directory() == tmp_path / "xdg" / "nvgemm"
    (tmp_path / "site" / "cache" / "README.md").write_text("the checkout's store")
    assert cubin_cache.directory() == tmp_path / "site" / "cache"
    monkeypatch.setenv("HOME", "/home/of/user")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/invalid")
    monkeypatch.setattr(cubin_cache, "PACKAGE", tmp_path / "nvgemm")
    assert cubin_cache.directory() == Path("/home/of/user/.cache/nvgemm")


def race(folder: str, rounds: int, barrier) -> None:
    settings.cache_dir = folder
    warnings.simplefilter("error")
    for number in range(rounds):
        barrier.wait(timeout=20)
        key = f"r{number}"
        assert put(key=key).cubins == CUBINS
        assert get(key=key).cubins == CUBINS


@pytest.mark.parametrize("start", ["empty", "torn"])
def test_processes_race_for_the_same_entries(cache_dir: Path, start: str) -> None:
    rounds, processes = 10, 4
    if start == "torn":
        for number in range(rounds):
            truncate(put(key=f"r{number}").path)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(processes)
    workers = [context.Process(target=race, args=(str(cache_dir), rounds, barrier)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0] * processes
    left = set(os.listdir(cache_dir)) - {entry.LOCK}
    assert left == {f"gemm.r{number}.nvrtc-13.0" for number in range(rounds)}
