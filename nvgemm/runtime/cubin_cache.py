"""The cubin store: get and put over the cache folder, a read-only bundle folder, and memory as the last resort.

An entry is the folder ``<name>.<key>.nvrtc-<compiler>`` with ``kernel.cubin``, ``kernel.raw.cubin``, the sources, and
``meta.json``. Its digests find torn and foreign entries; against a hostile writer only the 0700 folder protects.
Whatever is wrong with an entry's cubins or its record, `get` answers None and `put` replaces it. Its sources are for
people, and not read.
"""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nvgemm import settings
from nvgemm.errors import CacheWarning
from nvgemm.runtime.entry import Entry, digest, publish, read, stored
from nvgemm.runtime.sources import PACKAGE

_memory: dict[tuple[Path | None, str], Entry] = {}
_warned: set[Path | None] = set()


def get(name: str, key: str, compiler: str | None) -> Entry | None:
    """Look up one kernel in memory, the cache folder and the bundle folder.

    Parameters
    ----------
    name, key : str
        Kernel's name, and the digest over everything but the compiler that decides its bytes.
    compiler : str or None
        NVRTC version preferred. With None, or with ``settings.compile == "never"``, any compiler's entry will do.
    """
    if compiler is not None and (entry := _find(f"{name}.{key}.nvrtc-{compiler}")) is not None:
        return entry
    if compiler is not None and settings.compile != "never":
        return None
    candidates = (_find(folder) for folder in _of_any_compiler(f"{name}.{key}.nvrtc-"))
    return next((entry for entry in candidates if entry is not None), None)


def put(name: str, key: str, compiler: str, files: Mapping[str, bytes], meta: Mapping[str, Any]) -> Entry:
    """Publish one kernel and return it as stored; a good entry that another process put first is kept and returned.

    Where nothing can be written the entry stays in this process's memory, with one `CacheWarning`.
    """
    folder, root = f"{name}.{key}.nvrtc-{compiler}", directory()
    record = {**meta, "entry": folder, "sha256": {file: digest(content) for file, content in files.items()}}
    try:
        if root is None:
            raise OSError("no home folder is known")
        return publish(root, folder, files, record)
    except OSError as error:
        _warn_once(root, error)
        return _memory.setdefault((root, folder), stored(None, files, record))


def directory() -> Path | None:
    """Folder that new entries go to, whether or not it exists yet; None when only memory is left."""
    if settings.cache_dir is not None:
        return Path(settings.cache_dir).expanduser()
    checkout = PACKAGE.parent / "cache"
    if (checkout / "README.md").is_file() and os.access(checkout, os.W_OK | os.X_OK):
        return checkout
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "nvgemm"
    except RuntimeError:  # pathlib's word for a user without a home folder
        return None


def _find(folder: str) -> Entry | None:
    if _memory and (entry := _memory.get((directory(), folder))) is not None:
        return entry
    entries = (read(root / folder) for root in _roots())
    return next((entry for entry in entries if entry is not None), None)


def _roots() -> Iterator[Path]:
    if (root := directory()) is not None:
        yield root
    if settings.bundle_dir is not None:
        yield Path(settings.bundle_dir).expanduser()


def _of_any_compiler(prefix: str) -> list[str]:
    """Folders with this prefix, newest compiler first: the choice must not depend on the file system's order."""
    names = {folder for _, folder in _memory if folder.startswith(prefix)}
    for root in _roots():
        names.update(os.path.basename(path) for path in glob.glob(glob.escape(str(root / prefix)) + "*"))
    return sorted(names, key=lambda name: _version(name.removeprefix(prefix)), reverse=True)


def _version(text: str) -> tuple[tuple[int, ...], str]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal()), text


def _warn_once(root: Path | None, error: OSError) -> None:
    if root not in _warned:
        _warned.add(root)
        text = f"cubin cache {root or ''} cannot be written ({error}); kernels stay in this process's memory only"
        warnings.warn(f"{text}; set NVGEMM_CACHE_DIR to a folder of your own", CacheWarning, stacklevel=3)
