"""NVRTC: CUDA source to an sm_90a cubin, in this process and without a GPU or a toolkit.

The library is called through ctypes, because a second NVRTC can be loaded beside the first (`NVGEMM_NVRTC`).
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any, NamedTuple

from nvgemm import settings
from nvgemm.errors import CompileError
from nvgemm.runtime import nvrtc_library
from nvgemm.runtime.specialize import Source

ARCHITECTURE = "sm_90a"
OPTIONS = (
    f"--gpu-architecture={ARCHITECTURE}",
    "--std=c++20",
    "--ptxas-options=--verbose",
)


class Compiled(NamedTuple):
    """A cubin as the compiler made it, with what ptxas said."""

    cubin: bytes
    log: str


class Nvrtc:
    """One loaded libnvrtc."""

    def __init__(self, path: str) -> None:
        self.path = path
        for builtins in nvrtc_library.builtins_of(path):
            ctypes.CDLL(str(builtins))  # NVRTC opens it by its name alone, which only finds what is loaded or installed
        self._library = ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, source: Source) -> Compiled:
        """Compile `source` for sm_90a; CompileError with the log and the numbered lines that it names."""
        names, texts = _c_strings(source.headers.keys()), _c_strings(source.headers.values())
        program = ctypes.c_void_p()
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program), source.text.encode(), f"{source.kernel}.cu".encode(), len(names), texts, names
            )
        )
        try:
            status = self._library.nvrtcCompileProgram(program, len(self.options), _c_strings(self.options))
            log = self._get(program, "ProgramLog").rstrip(b"\0").decode()
            if status:
                raise CompileError(_explain(source, log, self.version))
            return Compiled(self._get(program, "CUBIN"), log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    @property
    def options(self) -> tuple[str, ...]:
        """`OPTIONS`, and no cache of NVRTC's own, which it has from 12.9 on beside a driver: a hit has no log."""
        return (*OPTIONS, "--no-cache") if tuple(map(int, self.version.split("."))) >= (12, 9) else OPTIONS

    def _get(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(self._library[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(self._library[f"nvrtcGet{what}"](program, buffer))
        return buffer.raw

    def _check(self, status: int) -> None:
        if status:
            raise CompileError(f"NVRTC: {self._library.nvrtcGetErrorString(status).decode()} ({self.path})")


def resources(log: str) -> dict[str, Any]:
    """What ptxas reports of a kernel: ``registers``, ``spilled_bytes``, ``stack_bytes`` and ``complaints``.

    A complaint is a line that a shipped configuration must not have: a serialised WGMMA (C7510 … C7519), an ignored
    setmaxnreg (C7508), any other warning.
    """
    registers = re.search(r"Used (\d+) registers", log)
    spills = re.findall(r"(\d+) bytes spill", log)
    return {
        "registers": int(registers.group(1)) if registers else None,
        "spilled_bytes": sum(map(int, spills)),
        "stack_bytes": sum(map(int, re.findall(r"(\d+) bytes stack frame", log))),
        "complaints": re.findall(r"^.*(?:C75\d\d|[Ww]arning|setmaxnreg|serializ).*$", log, re.MULTILINE),
    }


def compiler(wanted: str | None = None) -> Nvrtc:
    """The NVRTC that `settings.nvrtc` names (a path or a version), else that of version `wanted`, else the newest."""
    return _load(settings.nvrtc or wanted)


def version(wanted: str | None = None) -> str:
    """Version of `compiler(wanted)`, from file names where they tell: a cache hit need not load that large library."""
    name = settings.nvrtc or wanted
    named = nvrtc_library.named_version(_find(name))
    return named if named and _fits(named, name) else compiler(wanted).version


def is_installed(wanted: str) -> bool:
    """Whether NVRTC `wanted`, a version, can compile beside the newest; not where the settings name one."""
    try:
        return settings.nvrtc is None and _fits(version(wanted), wanted)
    except CompileError:
        return False


def _fits(version: str, wanted: str | None) -> bool:
    return not wanted or "/" in wanted or f"{version}.".startswith(f"{wanted}.")


@cache
def _load(wanted: str | None) -> Nvrtc:
    path = _find(wanted)
    try:
        found = Nvrtc(path)
    except OSError as error:
        raise CompileError(f"NVGEMM_NVRTC: {path} cannot be loaded ({error})") from error
    if not _fits(found.version, wanted):
        raise CompileError(f"NVGEMM_NVRTC: version {wanted} is wanted, {path} is {found.version}")
    return found


@cache
def _find(wanted: str | None) -> str:
    return nvrtc_library.find(wanted)


def _c_strings(strings: object) -> ctypes.Array[ctypes.c_char_p]:
    encoded = [text.encode() for text in strings]  # type: ignore[attr-defined]
    return (ctypes.c_char_p * len(encoded))(*encoded)


def _explain(source: Source, log: str, version: str) -> str:
    """The log, then three source lines around each place that it names."""
    parts = [f"NVRTC {version} could not compile {source.kernel}.cu:", log.strip()]
    for name, number in dict.fromkeys(re.findall(r"^([\w./]+)\((\d+)\): error", log, re.MULTILINE)):
        if name in source.files:
            lines = source.files[name].splitlines()
            around = range(max(int(number) - 2, 1), min(int(number) + 2, len(lines) + 1))
            parts.append("\n".join([f"{name}:", *(f"{i:5d} | {lines[i - 1]}" for i in around)]))
    return "\n".join(parts)
