"""Sections of an ELF64 file for CUDA, every offset checked."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nvgemm.errors import SassError

PROGBITS, SYMTAB, RELA, REL, NV_INFO = 1, 2, 4, 9, 0x70000000
_READ = (PROGBITS, SYMTAB, RELA, REL, NV_INFO)
_EM_CUDA = 190
_SM = 90
_LONGEST_NAME = 1 << 14  # bytes: mangled names of templates have some thousands
_MOST_NAMES = 1 << 24  # bytes, of all sections
_OSABI_13 = 65  # toolkits from 13.0 keep the architecture in bits 15:8 of e_flags, older ones (OSABI 51) in bits 7:0


@dataclass(frozen=True, slots=True)
class Section:
    """Section header: `offset` and `size` in bytes of the file, the other fields as in ELF."""

    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int


def sections(image: bytes) -> list[Section]:
    """All sections of a cubin for sm_90, in the order of the section table.

    Raises
    ------
    SassError
        Where `image` is damaged or no ELF file (``rule`` None), or is not for CUDA on sm_90 (``rule`` 10).
    """
    _check_header(image)
    (table,) = unpack("<Q", image, 40, "section table offset")
    entry_size, count, names_index = unpack("<HHH", image, 58, "section table size")
    if entry_size != 64 or names_index >= count:
        raise SassError(f"cubin: broken section table ({count} entries of {entry_size} bytes, names in {names_index})")
    rows = [unpack("<IIQQQQIIQQ", image, table + 64 * i, f"section header {i}") for i in range(count)]
    names_at, names_size = rows[names_index][4:6]
    content(image, names_at, names_size, "section names")
    found, in_all, named = [], 0, 0
    for name, kind, flags, _, offset, size, link, info, _, _ in rows:
        section = Section(text(image, names_at, names_size, name), kind, flags, offset, size, link, info)
        named += len(section.name)
        if named > _MOST_NAMES:  # many sections may share one long name
            raise SassError(f"cubin: the names of its {count} sections have more than {_MOST_NAMES} bytes together")
        if kind in _READ:
            content(image, offset, size, f"section {section.name}")
            in_all += size
        if in_all > len(image):  # else a small file could have gigabytes to be read
            raise SassError(f"cubin: sections overlap ({in_all} bytes in a file of {len(image)})")
        found.append(section)
    return found


def _check_header(image: bytes) -> None:
    if image[:4] != b"\x7fELF":
        raise SassError(f"cubin: not an ELF file (begins with {image[:4].hex() or 'nothing'})")
    if len(image) < 64:
        raise SassError(f"cubin: {len(image)} bytes end inside the 64-byte ELF header")
    if image[4] != 2 or image[5] != 1:
        raise SassError(f"cubin: expected a little-endian 64-bit ELF, got class {image[4]}, byte order {image[5]}")
    machine, flags = struct.unpack_from("<H", image, 18)[0], struct.unpack_from("<I", image, 48)[0]
    if machine != _EM_CUDA:
        raise SassError(f"cubin: ELF machine {machine} is not CUDA ({_EM_CUDA}); rule 10", rule=10)
    architecture = (flags >> 8 if image[7] == _OSABI_13 else flags) & 0xFF
    if architecture != _SM:
        raise SassError(f"cubin: built for sm_{architecture}, only sm_{_SM} is understood; rule 10", rule=10)
    (segments,), (size, count) = struct.unpack_from("<Q", image, 32), struct.unpack_from("<HH", image, 54)
    content(image, segments, size * count, "program headers")


def unpack(layout: str, image: bytes, offset: int, what: str) -> tuple[int, ...]:
    """Integers at `offset`; SassError naming `what` where they lie outside the file."""
    if offset + struct.calcsize(layout) > len(image):
        raise SassError(f"cubin: {what} at {offset:#x} lies outside the {len(image)} bytes of the file")
    return struct.unpack_from(layout, image, offset)


def content(image: bytes, offset: int, size: int, what: str) -> bytes:
    """`size` bytes at `offset`; SassError naming `what` where they lie outside the file."""
    if offset + size > len(image):
        raise SassError(f"cubin: {what} ({size} bytes at {offset:#x}) lies outside the {len(image)} bytes of the file")
    return image[offset : offset + size]


def text(image: bytes, table: int, size: int, offset: int) -> str:
    """Zero-terminated name at `offset` of the string table of `size` bytes at `table`."""
    start, end = table + offset, image.find(b"\0", table + offset, table + size)
    if end < 0:
        raise SassError(f"cubin: no name at {offset:#x} of a string table of {size} bytes")
    if end - start > _LONGEST_NAME:
        raise SassError(f"cubin: the name at {offset:#x} of a string table has {end - start} bytes")
    return image[start:end].decode(errors="replace")


def printable(text: str, besides: str = "") -> str:
    """`text` without what a terminal would take for more than text, but for the characters of `besides`."""
    return "".join(each if each.isprintable() or each in besides else "\N{REPLACEMENT CHARACTER}" for each in text)
