"""`build`: a kernel and its constants to a patched cubin, from the cache or from the compiler. Needs no GPU."""

from __future__ import annotations

import hashlib
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvgemm import settings
from nvgemm.errors import CompileError, SassError, SassWarning
from nvgemm.runtime import cubin_cache, nvrtc
from nvgemm.runtime.entry import Entry
from nvgemm.runtime.specialize import Source, specialize
from nvgemm.sass import PATCHER_VERSION


@dataclass(frozen=True, slots=True)
class Cubin:
    """A kernel ready to load.

    Attributes
    ----------
    image, raw : bytes
        The cubin with the policy's control bits, and as the compiler made it.
    symbol : str
        The kernel's ``extern "C"`` name.
    path : Path or None
        Folder of its cache entry; None when it is kept in memory only.
    meta : dict
        ``compiler``, ``policy``, ``changed_words``, ``refusal`` (why the policy is not applied, or None),
        ``registers``, ``spilled_bytes``, ``stack_bytes``, ``complaints``, ``log``, ``constants``, and the ``seconds``
        of compiling and patching.
    files : dict
        Every source text by include name, as compiled.
    is_new : bool
        This very build compiled it; it was not in the cache.
    """

    image: bytes
    raw: bytes
    symbol: str
    path: Path | None
    meta: dict[str, Any]
    files: dict[str, bytes]
    is_new: bool = field(default=False, compare=False)


def build(kernel: str, constants: Mapping[str, int], policy: str = "asis", compiler: str | None = None) -> Cubin:
    """Specialise ``kernels_cu/<kernel>.cu`` with `constants`, and compile, patch and verify it unless it is cached.

    `compiler` is a version of NVRTC, where the settings name none; default: the newest.

    Raises
    ------
    CompileError
        NVRTC refuses the source, or nothing is cached and ``settings.compile`` is ``never``.
    ValueError
        `policy` is no policy's name.
    """
    source = specialize(kernel, constants)
    key = _key(source, policy)
    entry = cubin_cache.get(kernel, key, _preferred_compiler(compiler))
    is_new = entry is None
    if entry is None:
        from nvgemm.sass.policy import parse  # a hit needs no patcher, which takes 9 ms to import

        parse(policy)
        if settings.compile == "never":
            raise CompileError(f"{kernel}: no cubin is cached for {dict(constants)}, and NVGEMM_COMPILE is 'never'")
        entry = _compile(source, key, dict(constants), policy, compiler)
    return _cubin(source, entry, is_new)


def is_cached(kernel: str, constants: Mapping[str, int], policy: str, compiler: str | None) -> bool:
    """Whether `build` would find it."""
    key = _key(specialize(kernel, constants), policy)
    return cubin_cache.get(kernel, key, _preferred_compiler(compiler)) is not None


def applied_policy(meta: Mapping[str, Any]) -> str:
    """Policy of the image of an entry, by its `meta`: ``asis`` where the one that was asked for is refused."""
    return "asis" if meta["refusal"] else meta["policy"]


def _preferred_compiler(wanted: str | None) -> str | None:
    """Whose entry is looked for; None, anybody's, where this process cannot or may not compile."""
    if settings.compile == "never":
        return wanted
    try:
        return nvrtc.version(wanted)
    except CompileError:  # told by _compile, where nothing is cached
        return None


def _key(source: Source, policy: str) -> str:
    texts = (part for file in source.files.items() for part in file)
    parts = "\0".join((*texts, *nvrtc.OPTIONS, policy, str(PATCHER_VERSION)))
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def _compile(source: Source, key: str, constants: dict[str, int], policy: str, wanted: str | None) -> Entry:
    start = time.perf_counter()
    compiler = nvrtc.compiler(wanted)
    compiled = compiler.compile(source)
    image, changed, refusal = _patch(compiled.cubin, policy)
    meta = {
        "kernel": source.kernel,
        "constants": constants,
        "compiler": compiler.version,
        "policy": policy,
        "changed_words": changed,
        "refusal": refusal,
        **nvrtc.resources(compiled.log),
        "log": compiled.log,
        "seconds": round(time.perf_counter() - start, 4),
    }
    _tell(meta, source, compiler.options)
    files = {**_texts(source), "kernel.cubin": image, "kernel.raw.cubin": compiled.cubin}
    return cubin_cache.put(source.kernel, key, compiler.version, files, meta)


def _tell(meta: Mapping[str, Any], source: Source, options: Sequence[str]) -> None:
    """What `settings.debug` asks for, on stderr."""
    if settings.debug:
        constants = " ".join(f"{name}={value}" for name, value in meta["constants"].items())
        what = f"compiled {source.kernel} with NVRTC {meta['compiler']} in {meta['seconds']:.2f} s"
        patched = f"policy {meta['policy']}: {meta['changed_words']} control words changed"
        print(f"nvgemm: {what}; {patched}\n  {constants}", file=sys.stderr)
    if settings.debug > 1:
        print(f"  {' '.join(options)}\n{meta['log']}", file=sys.stderr)


def _patch(raw: bytes, policy: str) -> tuple[bytes, int, str | None]:
    """The patched image and how many control words differ; or the raw one, and why the verifier refuses the patch."""
    from nvgemm.sass.policy import apply
    from nvgemm.sass.verify import verify

    image = apply(raw, policy)
    try:
        return image, verify(raw, image, policy).changed, None
    except SassError as error:
        return raw, 0, f"rule {error.rule}: {error}"


def _texts(source: Source) -> dict[str, bytes]:
    """The sources as an entry holds them."""
    return {"kernel.cu": source.text.encode(), **{name: text.encode() for name, text in source.headers.items()}}


def _cubin(source: Source, entry: Entry, is_new: bool) -> Cubin:
    if refusal := entry.meta.get("refusal"):
        text = f"{source.kernel}: policy {entry.meta.get('policy')} is not applied, {refusal}"
        warnings.warn(text, SassWarning, stacklevel=3)
    image, raw = entry.cubins["kernel.cubin"], entry.cubins["kernel.raw.cubin"]
    return Cubin(image, raw, source.kernel, entry.path, entry.meta, _texts(source), is_new)
