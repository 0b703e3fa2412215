"""Device source of one kernel: its own text, every header that it includes, and those generated for a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nvgemm.runtime.sources import kernels_dir

_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """A translation unit without a file system: `files` maps `<kernel>.cu` and every include name to its text."""

    kernel: str
    files: dict[str, str]

    @property
    def text(self) -> str:
        return self.files[f"{self.kernel}.cu"]

    @property
    def headers(self) -> dict[str, str]:
        return {name: text for name, text in self.files.items() if name != f"{self.kernel}.cu"}


def specialize(kernel: str, constants: Mapping[str, int]) -> Source:
    """Collect kernels_cu/<kernel>.cu and its headers; `constants` become `config.cuh`.

    A kernel that includes `wgmma_mma.cuh` gets the multiplication of its own `BLOCK_N`.
    """
    generated = {"config.cuh": config_header(constants)}
    if "BLOCK_N" in constants:
        generated["wgmma_mma.cuh"] = wgmma_header(constants["BLOCK_N"])
    files: dict[str, str] = {}
    pending = [f"{kernel}.cu"]
    while pending:
        name = pending.pop()
        if name in files:
            continue
        files[name] = generated.get(name) or _read(kernels_dir() / name)
        pending.extend(_INCLUDE.findall(files[name]))
    return Source(kernel, dict(sorted(files.items())))


def _read(path: Path) -> str:
    return _read_once(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _read_once(path: Path, changed: int) -> str:
    """`changed`, the time of the last change, makes an edited source count as another one."""
    return path.read_text()


def config_header(constants: Mapping[str, int]) -> str:
    """`constexpr` definitions in the order of `constants`; a name here is the upper-cased name in Python."""
    lines = [f"constexpr {_type(value)} {name} = {_literal(value)};" for name, value in constants.items()]
    return "// Generated: one configuration of this kernel.\n#pragma once\n\n" + "\n".join(lines) + "\n"


def _type(value: int) -> str:
    return "bool" if isinstance(value, bool) else "unsigned int"


def _literal(value: int) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}u"


def wgmma_header(block_n: int) -> str:
    """The wrappers that name every accumulator: `wgmma.mma_async` m64n`block_n`k32, E4M3 into FP32, and its wait."""
    count = block_n // 2
    registers = ", ".join(f"%{i}" for i in range(count))
    operands = ",\n          ".join(_chunks([f'"+f"(d[{i}])' for i in range(count)], 8))
    return f"""// Generated: PTX ISA, wgmma.mma_async for this BLOCK_N.
#pragma once
#include "types.cuh"

namespace ptx {{

// d = a · bᵀ (+ d where `accumulate`) over 32 of K; a is 64 rows, b {block_n} rows, each a matrix descriptor.
__device__ __forceinline__ void wgmma_mma(float (&d)[{count}], uint64_t a, uint64_t b, bool accumulate) {{
    asm volatile(
        "{{\\n"
        ".reg .pred accumulate;\\n"
        "setp.ne.b32 accumulate, %{count + 2}, 0;\\n"
        "wgmma.mma_async.sync.aligned.m64n{block_n}k32.f32.e4m3.e4m3 "
        "{{{registers}}}, "
        "%{count}, %{count + 1}, accumulate, 1, 1;\\n"
        "}}"
        : {operands}
        : "l"(a), "l"(b), "r"(static_cast<int32_t>(accumulate)));
}}

// Waits for every multiplication so far. It names the accumulators, because the compiler takes an asynchronous result
// as ready when the instruction is issued, and would use it before the wait.
__device__ __forceinline__ void wgmma_wait_group_0(float (&d)[{count}]) {{
    asm volatile("wgmma.wait_group.sync.aligned 0;"
        : {operands}
        :
        : "memory");
}}

}}  // namespace ptx
"""


def _chunks(items: list[str], size: int) -> Iterator[str]:
    for start in range(0, len(items), size):
        yield ", ".join(items[start : start + size])
