"""What ``nvgemm sass`` looks at: a kernel that is built, the folder of a cache entry, or a file of whatever content."""

from __future__ import annotations

import argparse
import json
import stat
from pathlib import Path
from typing import NamedTuple

from nvgemm.commands import built

FILE_POLICY = "s2e2"  # for a cubin of which nothing is known; our own kernels have theirs by their blocks
_MOST_BYTES = 1 << 30
_NO_ENTRY = OSError, ValueError, KeyError, TypeError, RecursionError  # what reading one may raise


class Pair(NamedTuple):
    """A cubin before and after a policy, and what it is."""

    raw: bytes
    patched: bytes
    policy: str
    title: str


def source(options: argparse.Namespace) -> Pair:
    """What a subcommand was given.

    Raises
    ------
    ValueError, OSError
        A path is neither a cache entry nor a file, or cannot be read.
    SassError
        A file is no cubin.
    """
    from nvgemm.runtime.build import applied_policy
    from nvgemm.sass.policy import apply

    if options.path is None:
        cubin = built(options)
        sizes = " ".join(map(str, options.dense or options.grouped))
        title = f"{'dense' if options.dense else 'grouped'} {sizes}"
        return Pair(cubin.raw, cubin.image, applied_policy(cubin.meta), title)
    if options.path.is_dir() and options.policy is None:
        return _entry(options.path)
    raw = image(options.path, "kernel.raw.cubin")
    policy = FILE_POLICY if options.policy is None else options.policy
    return Pair(raw, apply(raw, policy), policy, str(options.path))


def image(path: Path, name: str = "kernel.cubin") -> bytes:
    """A file, or `name` of a cache entry."""
    file = path / name if path.is_dir() else path
    status = file.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
        raise ValueError(f"{file}: expected a regular file of at most {_MOST_BYTES >> 20} MiB")
    return file.read_bytes()


def is_part(file: Path, path: Path) -> bool:
    """Whether `file` is there, and is what `path` names, by whatever name, or lies in the folder that it names."""
    return file.exists() and path.exists() and (path.samefile(file) or path.samefile(file.resolve().parent))


def _entry(path: Path) -> Pair:
    from nvgemm.runtime.build import applied_policy
    from nvgemm.sass.policy import parse

    try:
        policy = applied_policy(json.loads(image(path, "meta.json")))
        parse(policy)
        return Pair(image(path, "kernel.raw.cubin"), image(path), policy, path.name)
    except _NO_ENTRY as error:
        raise ValueError(f"{path}: no cache entry of nvgemm ({type(error).__name__}: {error})") from error
