"""How the code of two cubins differs: control words alone, or instructions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from nvgemm.errors import SassError
from nvgemm.sass.control import NO_YIELD, REUSE_MASK, SCOREBOARD_MASK, STALL_MASK, Instruction, instructions
from nvgemm.sass.cubin import INSTRUCTION_BYTES, Function, functions
from nvgemm.sass.opcodes import as_text as instruction_text
from nvgemm.sass.report.disassembler import Operands, operands

Key = tuple[int, int]  # an instruction without its control word
_MOST_PAIRS = 20_000_000  # of like instructions: seconds
_CONTROL = STALL_MASK | NO_YIELD | SCOREBOARD_MASK | REUSE_MASK


def difference(a: bytes, b: bytes) -> dict[str, Any]:
    """Compare the kernels of two cubins by name; where each has only one, these two.

    Instructions are aligned by all their bits but the control word, so that code which moved is no difference.

    Returns
    -------
    dict
        ``only_a``, ``only_b`` (names), ``hint`` (why operands are missing, or None) and ``functions``, each with ``a``
        and ``b`` (names), ``instructions`` (of both), ``same`` (instructions without a difference), ``control``
        (``offset_a``, ``offset_b``, ``a``, ``b``, ``text``: same instruction, other control word) and ``code``
        (``offset_a``, ``offset_b``, ``a``, ``b``: texts that stand in one alone).

    Raises
    ------
    SassError
        Where `a` or `b` is no cubin for sm_90, or two kernels repeat an instruction so often that to align them would
        take minutes.
    """
    kernels_a, kernels_b = functions(a), functions(b)
    (texts_a, hint_a), (texts_b, hint_b) = operands(a), operands(b)
    pairs = list(_pairs(kernels_a, kernels_b))
    return {
        "only_a": [kernel.name for kernel in kernels_a if all(kernel is not first for first, _ in pairs)],
        "only_b": [kernel.name for kernel in kernels_b if all(kernel is not second for _, second in pairs)],
        "hint": hint_a or hint_b,
        "functions": [_compared(_Code(a, first, texts_a), _Code(b, second, texts_b)) for first, second in pairs],
    }


def _pairs(kernels_a: Sequence[Function], kernels_b: Sequence[Function]) -> Iterator[tuple[Function, Function]]:
    if len(kernels_a) == len(kernels_b) == 1:
        yield kernels_a[0], kernels_b[0]
        return
    by_name = {kernel.name: kernel for kernel in kernels_b}
    yield from ((kernel, by_name[kernel.name]) for kernel in kernels_a if kernel.name in by_name)


class _Code:
    """A kernel's instructions with their texts."""

    def __init__(self, image: bytes, kernel: Function, texts: Operands) -> None:
        self.name = kernel.name
        self.program = instructions(image, kernel)
        self.keys = [(instruction.lo, instruction.hi & ~_CONTROL) for instruction in self.program]
        self._texts = texts

    def text(self, instruction: Instruction) -> str:
        return self._texts.get((self.name, instruction.index), instruction_text(instruction))

    def texts(self, start: int, stop: int) -> list[str]:
        return [self.text(instruction) for instruction in self.program[start:stop]]


def _compared(a: _Code, b: _Code) -> dict[str, Any]:
    control, code, same = [], [], 0
    for tag, a0, a1, b0, b1 in _aligned(a, b):
        if tag != "equal":
            places = {"offset_a": INSTRUCTION_BYTES * a0, "offset_b": INSTRUCTION_BYTES * b0}
            code.append({**places, "a": a.texts(a0, a1), "b": b.texts(b0, b1)})
            continue
        differing = [(i, j) for i, j in zip(a.program[a0:a1], b.program[b0:b1], strict=True) if i.hi != j.hi]
        same += a1 - a0 - len(differing)
        control += [_control(a, i, j) for i, j in differing]
    lengths = [len(a.program), len(b.program)]
    return {"a": a.name, "b": b.name, "instructions": lengths, "same": same, "control": control, "code": code}


def _aligned(a: _Code, b: _Code) -> Iterator[tuple[str, int, int, int, int]]:
    """What both begin with, what is alike between, and what both end with: as `SequenceMatcher.get_opcodes` says it."""
    first = _alike(a.keys, b.keys)
    last = _alike(a.keys[first:][::-1], b.keys[first:][::-1])
    end_a, end_b = len(a.keys) - last, len(b.keys) - last
    middle_a, middle_b = a.keys[first:end_a], b.keys[first:end_b]
    in_b = Counter(middle_b)
    if (pairs := sum(in_b[key] for key in middle_a)) > _MOST_PAIRS:
        raise SassError(f"{a.name} and {b.name} are too repetitive to be aligned: {pairs} pairs of like instructions")
    yield "equal", 0, first, 0, first
    for tag, a0, a1, b0, b1 in SequenceMatcher(None, middle_a, middle_b, autojunk=False).get_opcodes():
        yield tag, first + a0, first + a1, first + b0, first + b1
    yield "equal", end_a, end_a + last, end_b, end_b + last


def _alike(a: Sequence[Key], b: Sequence[Key]) -> int:
    """How many of their first instructions are the same."""
    shortest = min(len(a), len(b))
    return next((i for i in range(shortest) if a[i] != b[i]), shortest)


def _control(a: _Code, i: Instruction, j: Instruction) -> dict[str, Any]:
    places = {"offset_a": INSTRUCTION_BYTES * i.index, "offset_b": INSTRUCTION_BYTES * j.index}
    return {**places, "a": str(i.control), "b": str(j.control), "text": a.text(i)}


def as_text(facts: Mapping[str, Any]) -> str:
    """Lines of `difference`: ``~`` another control word, ``-`` in A alone, ``+`` in B alone."""
    parts = [f"{side.upper()} alone: {', '.join(facts[f'only_{side}'])}" for side in "ab" if facts[f"only_{side}"]]
    parts += [_kernel(kernel) for kernel in facts["functions"]]
    return "\n\n".join(parts + ([facts["hint"]] if facts["hint"] else [])) or "no kernels"


def _kernel(kernel: Mapping[str, Any]) -> str:
    (length_a, length_b), name = kernel["instructions"], kernel["a"]
    name = name if name == kernel["b"] else f"{name} and {kernel['b']}"
    lines = [f"{name}: {length_a} and {length_b} instructions, {kernel['same']} the same"]
    for row in kernel["control"]:
        lines.append(f" ~ {row['offset_a']:#06x}  {row['a']:27}  {row['b']:27}  {row['text']}")
    for row in kernel["code"]:
        for mark, side in (("-", "a"), ("+", "b")):
            start = row[f"offset_{side}"]
            lines += [f" {mark} {start + INSTRUCTION_BYTES * i:#06x}  {text}" for i, text in enumerate(row[side])]
    return "\n".join(lines)
