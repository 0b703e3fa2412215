"""One entry of the cubin store: a folder read with its digests checked, and published by a rename."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

META = "meta.json"
CUBINS = {"kernel.cubin", "kernel.raw.cubin"}
LOCK = ".lock"
TEMPORARY = ".tmp-"
STALE_AFTER = 3600  # seconds: far longer than any writer takes
OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}  # what rename(2) says of a place that is taken


class Entry(NamedTuple):
    """One stored kernel: its folder (None when only in memory), its cubins by name, and the builder's record."""

    path: Path | None
    cubins: dict[str, bytes]
    meta: dict[str, Any]


def digest(content: bytes) -> str:
    """SHA-256 of a file's content, as ``meta.json`` holds it."""
    return hashlib.sha256(content).hexdigest()


def read(path: Path) -> Entry | None:
    """The entry at `path`, or None when it is absent, incomplete, altered, or another's.

    The sources beside the cubins are for people: whoever asks for an entry has them, for the key is made of them.
    """
    try:
        meta = json.loads((path / META).read_bytes())
        digests = dict(meta["sha256"])
        if meta["entry"] != path.name or not digests.keys() >= CUBINS or not all(map(_is_inside, digests)):
            return None
        cubins = {file: (path / file).read_bytes() for file in sorted(CUBINS)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # whatever a damaged meta.json can lead to
        return None
    intact = all(digest(content) == digests[file] for file, content in cubins.items())
    return Entry(path, cubins, meta) if intact else None


def publish(root: Path, folder: str, files: Mapping[str, bytes], meta: Mapping[str, Any]) -> Entry:
    """Write an entry beside its place and move it there. Raises OSError where that cannot be done."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(root)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=root))  # 0700, and on the same file system as its place
    try:
        for file, content in {**files, META: json.dumps(meta, indent=2, sort_keys=True).encode()}.items():
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            (temporary / file).write_bytes(content)
        return _settle(temporary, root / folder) or stored(root / folder, files, meta)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def stored(path: Path | None, files: Mapping[str, bytes], meta: Mapping[str, Any]) -> Entry:
    """The entry that `files` make."""
    return Entry(path, {file: content for file, content in files.items() if file in CUBINS}, dict(meta))


def _is_inside(file: str) -> bool:
    return not file.startswith("/") and ".." not in file.split("/")


def _settle(temporary: Path, place: Path) -> Entry | None:
    """Move `temporary` to `place`; where a good entry is there already, leave and return that one."""
    if _moved(temporary, place):
        return None
    if (entry := read(place)) is not None:
        return entry
    with _exclusive(place.parent):  # what occupies the place is then still the same when it is cleared
        while not _moved(temporary, place):
            if (entry := read(place)) is not None:
                return entry
            _discard(place)
    return None


def _moved(temporary: Path, place: Path) -> bool:
    try:
        os.rename(temporary, place)
    except OSError as error:
        if error.errno not in OCCUPIED:
            raise
        return False
    return True


@contextlib.contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go of the lock also when its holder is killed."""
    with open(root / LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _discard(place: Path) -> None:
    """Move a bad entry away first: its files must not vanish one by one under a reader."""
    aside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=place.parent))
    try:
        os.rename(place, aside / place.name)
    except FileNotFoundError:
        pass  # somebody cleared the cache
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what writers that were killed left behind."""
    for path in root.glob(f"{TEMPORARY}*"):
        try:
            if time.time() - path.stat().st_mtime > STALE_AFTER:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:
            continue  # its writer has just finished
