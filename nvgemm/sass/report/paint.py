"""Where colour goes in an instruction's text: registers by what they are to an FFMA, the rest by kind."""

from __future__ import annotations

import re
from collections.abc import Iterator

RESULT, FACTOR, SCALE, REGISTER, UNIFORM, PREDICATE = "result", "factor", "scale", "register", "uniform", "predicate"
_TOKEN = re.compile(
    r"\b(?P<uniform>UR(?:\d+|Z)|UP\d)\b"
    r"|(?<!\.)\b(?P<register>R(?:\d+|Z))\b"  # .RZ behind an opcode is a way to round
    r"|(?P<predicate>@!?P[T\d]|\bP\d)\b"
)
_FFMA_ROLES = (RESULT, FACTOR, SCALE, RESULT)  # D, A, B, C: a promotion adds to the register that it reads
_FFMA_SLOTS = (None, 0, 1, 2)


def pieces(text: str, reuse: int = 0) -> Iterator[tuple[str | None, bool, str]]:
    """Parts of `text`: role (None: no colour), whether the register is kept for reuse, and the characters.

    `reuse` has a bit for each slot of an FFMA (A, B, C); other instructions show none.
    """
    is_ffma = bool(re.match(r"(@\S+ )?FFMA\S* R", text)) and text.count(",") == 3
    at = 0
    for match in _TOKEN.finditer(text):
        if match.start() > at:
            yield None, False, text[at : match.start()]
        role, kept = str(match.lastgroup), False
        if role == REGISTER and is_ffma:
            operand = text.count(",", 0, match.start())
            role, slot = _FFMA_ROLES[operand], _FFMA_SLOTS[operand]
            kept = slot is not None and bool(reuse >> slot & 1)
        yield role, kept, match.group()
        at = match.end()
    if at < len(text):
        yield None, False, text[at:]
