"""The sm_90 kernels inside a cubin, read with `struct` alone.

A cubin is a little-endian ELF64 file. It is never rebuilt: functions are found by their file offsets, and patches
overwrite words in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nvgemm.errors import SassError
from nvgemm.sass.elf import NV_INFO, PROGBITS, REL, RELA, SYMTAB, Section, printable, sections, text, unpack

INSTRUCTION_BYTES = 16
_EXECINSTR = 4
_FORMAT_SIZED = 4
_REGCOUNT, _INDIRECT_BRANCH_TARGETS = 0x2F, 0x34  # attributes of .nv.info, EIATTR_… in cuobjdump


@dataclass(frozen=True, slots=True)
class Function:
    """Machine code of one kernel.

    Attributes
    ----------
    name : str
        Symbol, as in ``.text.<name>``.
    offset, size : int
        File offset and length of the code in bytes; 16 bytes an instruction.
    relocated : frozenset of int
        Instructions that the loader rewrites; they must not be patched.
    registers : int or None
        Registers a thread at launch, from ``.nv.info``.
    jump_tables : mapping of int to tuple of int
        Instructions that an indirect branch may reach, by the instruction of the branch.
    """

    name: str
    offset: int
    size: int
    relocated: frozenset[int]
    registers: int | None
    jump_tables: Mapping[int, tuple[int, ...]]


def functions(image: bytes) -> list[Function]:
    """Kernels of a cubin, in file order.

    Raises
    ------
    SassError
        Where `image` is not a whole, well-formed cubin (``rule`` None), or is built for something else than sm_90
        (``rule`` 10).
    """
    table = sections(image)
    relocations = _relocations(image, table)
    registers = _registers(image, table)
    jump_tables = _jump_tables(image, table)
    found = []
    for number, section in enumerate(table):
        if section.kind != PROGBITS or not section.flags & _EXECINSTR or not section.name.startswith(".text."):
            continue
        if section.size % INSTRUCTION_BYTES or section.offset % 8:
            place = f"{section.size} bytes at {section.offset:#x}"
            raise SassError(f"cubin: {section.name} ({place}) is not made of whole, aligned 16-byte instructions")
        name = section.name.removeprefix(".text.")
        relocated = frozenset(relocations.get(number, ()))
        jumps = jump_tables.get(name, {})
        count = registers.get(name)
        found.append(Function(printable(name), section.offset, section.size, relocated, count, jumps))
    found.sort(key=lambda function: function.offset)
    for before, after in pairwise(found):
        if before.offset + before.size > after.offset:
            raise SassError(f"cubin: .text.{before.name} and .text.{after.name} overlap")
    return found


def _relocations(image: bytes, table: Sequence[Section]) -> dict[int, set[int]]:
    """Instructions that relocations touch, by number of the section they apply to."""
    touched: dict[int, set[int]] = {}
    for section in table:
        if section.kind in (RELA, REL):
            step = 24 if section.kind == RELA else 16
            indices = touched.setdefault(section.info, set())
            for at in range(section.offset, section.offset + section.size, step):
                (place,) = unpack("<Q", image, at, f"relocation of {section.name}")
                # a relocation writes up to 8 bytes
                indices.update((place // INSTRUCTION_BYTES, (place + 7) // INSTRUCTION_BYTES))
    return touched


def _attributes(image: bytes, section: Section, wanted: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each sized attribute `wanted` of an ``.nv.info`` section."""
    at, end = section.offset, section.offset + section.size
    while at + 4 <= end:
        form, attribute, length = unpack("<BBH", image, at, f"attribute of {section.name}")
        sized = form == _FORMAT_SIZED
        if sized and attribute == wanted:
            yield at + 4, min(length, end - at - 4)
        at += 4 + (length if sized else 0)


def _registers(image: bytes, table: Sequence[Section]) -> dict[str, int]:
    """Register counts by kernel; kernels that ``.nv.info`` does not name are left out."""
    kernels = {section.name.removeprefix(".text.") for section in table if section.name.startswith(".text.")}
    counts: dict[str, int] = {}
    for section in table:
        if section.kind != NV_INFO or section.name != ".nv.info" or section.link >= len(table):
            continue
        for at, length in _attributes(image, section, _REGCOUNT):
            symbol, registers = unpack("<II", image, at, "register count") if length == 8 else (-1, 0)
            name = _symbol_name(image, table, table[section.link], symbol)
            if name in kernels:
                counts[name] = registers
    return counts


def _symbol_name(image: bytes, table: Sequence[Section], symbols: Section, number: int) -> str | None:
    """The name of one symbol, if there is such a symbol."""
    if symbols.kind != SYMTAB or symbols.link >= len(table) or not 0 <= number < symbols.size // 24:
        return None
    strings = table[symbols.link]
    (start,) = unpack("<I", image, symbols.offset + 24 * number, "symbol")
    return text(image, strings.offset, strings.size, start)


def _jump_tables(image: bytes, table: Sequence[Section]) -> dict[str, dict[int, tuple[int, ...]]]:
    """Targets of indirect branches, by kernel and branch; records of branch offset, 0, count, target offsets."""
    found: dict[str, dict[int, tuple[int, ...]]] = {}
    for section in table:
        if section.kind != NV_INFO or not section.name.startswith(".nv.info."):
            continue
        jumps = found.setdefault(section.name.removeprefix(".nv.info."), {})
        for start, length in _attributes(image, section, _INDIRECT_BRANCH_TARGETS):
            at = start
            while at + 12 <= start + length:
                branch, _, count = unpack("<III", image, at, f"jump table of {section.name}")
                if at + 12 + 4 * count > start + length:
                    raise SassError(f"cubin: a jump table of {section.name} has {count} targets and no bytes for them")
                targets = unpack(f"<{count}I", image, at + 12, f"jump table of {section.name}")
                jumps[branch // INSTRUCTION_BYTES] = tuple(target // INSTRUCTION_BYTES for target in targets)
                at += 12 + 4 * count
    return found
