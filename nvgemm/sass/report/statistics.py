"""What each kernel of a cubin is made of: registers, spills, tensor-core instructions, FFMAs, stalls, yields, reuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nvgemm.sass.control import Instruction, instructions
from nvgemm.sass.cubin import Function, functions
from nvgemm.sass.opcodes import NAMES
from nvgemm.sass.report.table import table
from nvgemm.sass.runs import TENSOR_CORE, runs

_LOCAL = {0x183: "loads", 0x187: "stores"}  # LDL, STL: spilled registers, and arrays that are indexed at run time

_PLAIN = ("registers", "instructions", "tensor_core", "ffmas", "ffmas_per_tensor_core", "local_loads", "local_stores")
_SHOWN = 12  # opcodes in a text


def statistics(image: bytes) -> list[dict[str, Any]]:
    """Counts of every kernel of a cubin, in file order.

    Returns
    -------
    list of dict
        ``name``, ``registers`` (a thread's at launch, or None), ``instructions``, ``opcodes`` (instructions by name,
        the most frequent first), ``tensor_core``, ``ffmas`` (with three register operands), ``ffmas_per_tensor_core``,
        ``runs`` (FFMAs of each promotion run), ``local_loads`` and ``local_stores`` (of spilled registers, as a rule),
        ``all`` and ``ffma``: `control_counts` of all instructions, and of these FFMAs.

    Raises
    ------
    SassError
        Where `image` is no cubin for sm_90.
    """
    return [_kernel(kernel, instructions(image, kernel)) for kernel in functions(image)]


def _kernel(kernel: Function, program: Sequence[Instruction]) -> dict[str, Any]:
    bases = Counter(instruction.lo & 0x1FF for instruction in program)
    names: Counter[str] = Counter()
    for base, count in bases.items():
        names[NAMES.get(base, f"{base:#05x}")] += count
    ffmas = [instruction for instruction in program if instruction.is_ffma]
    tensor_core = sum(bases[base] for base in TENSOR_CORE)
    return {
        "name": kernel.name,
        "registers": kernel.registers,
        "instructions": len(program),
        "opcodes": dict(names.most_common()),
        "tensor_core": tensor_core,
        "ffmas": len(ffmas),
        "ffmas_per_tensor_core": round(len(ffmas) / tensor_core, 2) if tensor_core else None,
        "runs": [len(run) for run in runs(program)],
        **{f"local_{kind}": bases[base] for base, kind in _LOCAL.items()},
        "all": control_counts(program),
        "ffma": control_counts(ffmas),
    }


def control_counts(program: Sequence[Instruction]) -> dict[str, Any]:
    """``yields``, ``reuse`` (flags, of instructions that do not yield), ``stalls`` (instructions by cycles)."""
    controls = [instruction.control for instruction in program]
    stalls = Counter(control.stall for control in controls)
    return {
        "yields": sum(control.yield_ for control in controls),
        "reuse": sum(control.reuse.bit_count() for control in controls if not control.yield_),
        "stalls": {str(stall): stalls[stall] for stall in sorted(stalls)},
    }


def side_by_side(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Rows of two `control_counts`: what is counted, before, after; each stall that either side has is a row."""
    rows = [("yields", before["yields"], after["yields"]), ("reuse flags", before["reuse"], after["reuse"])]
    stalls = sorted({*before["stalls"], *after["stalls"]}, key=int)
    return rows + [(f"stall {n}", before["stalls"].get(n, 0), after["stalls"].get(n, 0)) for n in stalls]


def as_text(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> str:
    """Both sides of a patch as tables, one a kernel."""
    return "\n\n".join(_table(old, new) for old, new in zip(before, after, strict=True))


def _table(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    rows: list[tuple[str, Any, Any]] = [(name.replace("_", " "), old[name], new[name]) for name in _PLAIN]
    for part, title in (("ffma", "of FFMAs"), ("all", "of all")):
        counts = side_by_side(old[part], new[part])
        rows += [(f"{name.removesuffix(' flags')} {title}", before, after) for name, before, after in counts]
    runs = ", ".join(f"{count} × {length}" for length, count in Counter(old["runs"]).items()) or "none"
    opcodes = ", ".join(f"{name} {count}" for name, count in list(old["opcodes"].items())[:_SHOWN])
    lines = table(("", "raw", "patched"), rows)
    return f"{old['name']}\n{lines}\npromotion runs  {runs}\nopcodes  {opcodes}"
