"""Instructions and cubins made byte by byte, for cases that no compiler produces."""

import struct
from collections.abc import Sequence

from nvgemm.sass.control import FFMA, Control

Word = tuple[int, int]  # low and high half


def control(stall: int = 1, yields: bool = False, reuse: int = 0) -> int:
    return Control(stall, yields, None, None, 0, reuse).encode(0)


def ffma(rd: int, ra: int, rb: int, rc: int, predicate: int = 7, opcode: int = FFMA, **fields: int) -> Word:
    return opcode | predicate << 12 | rd << 16 | ra << 24 | rb << 32, rc | control(**fields)


def other(opcode: int, ra: int = 255, rb: int = 255) -> Word:
    return opcode | 7 << 12 | 255 << 16 | ra << 24 | rb << 32, 255 | control()


def branch(at: int, target: int) -> Word:
    distance = (target - at - 1) * 16 // 4 & (1 << 56) - 1
    return 0x7947 | (distance & 255) << 16 | (distance >> 8 & (1 << 30) - 1) << 34, distance >> 38 | control(5)


WARPGROUP, EXIT, NOP = other(0x9C5), other(0x94D), other(0x918)


def promotion(count: int = 16, **fields: int) -> list[Word]:
    """A run of accumulating FFMAs, two scales in turn: registers 100 and 101 for four FFMAs each."""
    return [ffma(i, 128 + i, 100 + i // 4 % 2, i, **fields) for i in range(count)]


def code(words: Sequence[Word]) -> bytes:
    return b"".join(struct.pack("<QQ", *word) for word in words)


def cubin(kernels: dict[str, Sequence[Word]], relocated: Sequence[int] = (), flags: int = 0x6005A04) -> bytes:
    """A cubin of the given kernels; the first is relocated at the given instructions."""
    contents = [(".text." + name, 1, 6, code(words), 0) for name, words in kernels.items()]
    relocations = b"".join(struct.pack("<QQq", 16 * index + 4, 0, 0) for index in relocated)
    contents.append((".rela.text", 4, 0, relocations, 1))
    names = b"\0" + b"\0".join(name.encode() for name, *_ in contents) + b"\0.shstrtab\0"
    contents.append((".shstrtab", 3, 0, names + bytes(-len(names) % 8), 0))
    body, headers = b"", [bytes(64)]
    for name, kind, section_flags, content, info in contents:
        row = (names.index(name.encode()), kind, section_flags, 0, 64 + len(body), len(content), 0, info, 8, 0)
        headers.append(struct.pack("<IIQQQQIIQQ", *row))
        body += content
    ident = b"\x7fELF\x02\x01\x01\x41\x08" + bytes(7)
    rest = (2, 190, 1, 0, 0, 64 + len(body), flags, 64, 56, 0, 64, len(headers), len(headers) - 1)
    return ident + struct.pack("<HHIQQQIHHHHHH", *rest) + body + b"".join(headers)
