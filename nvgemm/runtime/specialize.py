"""Device source of one kernel: its own text, every header that it includes, and those generated for a configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from nvgemm.runtime.sources import kernels_dir

_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"', re.MULTILINE)


class Source(NamedTuple):
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

    A kernel that includes `wgmma_mma.cuh` gets the multiplication of its own `WGMMA_N`.
    """
    generated = {"config.cuh": config_header(constants)}
    if "WGMMA_N" in constants:
        generated["wgmma_mma.cuh"] = wgmma_header(constants["WGMMA_N"])
    folder, files = str(kernels_dir()), dict[str, str]()
    pending = [f"{kernel}.cu"]
    while pending:
        name = pending.pop()
        if name in files:
            continue
        made = generated.get(name)
        files[name], includes = _read(f"{folder}/{name}") if made is None else (made, _INCLUDE.findall(made))
        pending.extend(includes)
    return Source(kernel, dict(sorted(files.items())))


def _read(path: str) -> tuple[str, list[str]]:
    """Text of a source, and what it includes."""
    return _read_once(path, os.stat(path).st_mtime_ns)


@lru_cache(maxsize=256)
def _read_once(path: str, changed: int) -> tuple[str, list[str]]:
    """`changed`, the time of the last change, makes an edited source count as another one."""
    text = Path(path).read_text()
    return text, _INCLUDE.findall(text)


def config_header(constants: Mapping[str, int]) -> str:
    """`constexpr` definitions in the order of `constants`; a name here is the upper-cased name in Python."""
    lines = [f"constexpr {_type(value)} {name} = {_literal(value)};" for name, value in constants.items()]
    if "CLUSTER_M" in constants:
        lines.append(_cluster_dims(constants["CLUSTER_M"] * constants["CLUSTER_N"] * constants["CLUSTER_K"]))
    return "// Generated: one configuration of this kernel.\n#pragma once\n\n" + "\n".join(lines) + "\n"


def _cluster_dims(size: int) -> str:
    """What a kernel declares that is launched in clusters of `size`. Alone, CTAs are no clusters of one.

    Those would be spread over the GPU; without a declaration neighbours are on the two SMs of a TPC, which ask the L2
    once for what both want (docs/performance.md).
    """
    return f"#define CLUSTER_DIMS {f'__cluster_dims__({size}, 1, 1)' if size > 1 else ''}".rstrip()


def _type(value: int) -> str:
    return "bool" if isinstance(value, bool) else "unsigned int"


def _literal(value: int) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}u"


@lru_cache(maxsize=64)
def wgmma_header(wgmma_n: int) -> str:
    """The wrapper that names every accumulator: `wgmma.mma_async` m64n`wgmma_n`k32, E4M3 into FP32."""
    count = wgmma_n // 2
    operands = ",\n          ".join(_chunks([f'"+f"(d[{i}])' for i in range(count)], 8))
    descriptors = ",\n          ".join(f'"l"(wgmma_descriptor({x} + {2 * i}))' for i in range(4) for x in "ab")
    products = "\n        ".join(_wgmma(wgmma_n, i) for i in range(4))
    return f"""// Generated: PTX ISA, wgmma.mma_async for this WGMMA_N.
#pragma once
#include "ptx/wgmma.cuh"

namespace ptx {{

// d = a · bᵀ over 128 of K; a is 64 rows, b {wgmma_n} rows, each an address as descriptors hold it, which 32 of K move
// by 2. One statement for four multiplications: each that names all accumulators takes the compiler its time.
__device__ __forceinline__ void wgmma_k128(float (&d)[{count}], uint32_t a, uint32_t b) {{
    asm volatile(
        "{{\\n"
        ".reg .pred accumulate;\\n"
        "setp.ne.b32 accumulate, 0, 0;\\n"
        {products}
        "}}"
        : {operands}
        : {descriptors});
}}

}}  // namespace ptx
"""


def _wgmma(wgmma_n: int, index: int) -> str:
    """The string literal of one of the four multiplications; the first does not add to what is there."""
    count = wgmma_n // 2
    registers = ", ".join(f"%{i}" for i in range(count))
    a, b, accumulate = count + 2 * index, count + 2 * index + 1, "1" if index else "accumulate"
    instruction = f"wgmma.mma_async.sync.aligned.m64n{wgmma_n}k32.f32.e4m3.e4m3"
    return f'"{instruction} {{{registers}}}, %{a}, %{b}, {accumulate}, 1, 1;\\n"'


def _chunks(items: list[str], size: int) -> Iterator[str]:
    for start in range(0, len(items), size):
        yield ", ".join(items[start : start + size])
