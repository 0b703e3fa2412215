"""`Routing`: which row of the experts' operand each token's choice has."""

from __future__ import annotations

from typing import Any, NamedTuple


class Routing(NamedTuple):
    """Where tokens go and where their results come from: what `route` returns, `permute` and `combine` take.

    A slot is one of the `top_k` choices of a token. An expert's rows follow the order of tokens, then of slots.

    Attributes
    ----------
    layout : array
        int32, what the grouped product of this kind takes: "offsets" [G+1], expert g has the rows from ``layout[g]`` to
        ``layout[g+1] − 1``; "contiguous" [rows], the expert of each row, −1 where it has none; "masked" [G], how many
        rows each expert has.
    token_of_row : array, [rows]
        int32, −1 where no token is.
    row_of_slot : array, [T, top_k]
        int32, −1 where the slot is dropped. A masked row is ``g · max_m + i``.
    rows : int
        Rows that the experts' operand has, whether a token is there or not.
    kind : str
        "offsets", "contiguous" or "masked".
    num_experts : int
        G.
    max_m : int or None
        Rows of each expert; "masked" alone.
    """

    layout: Any
    token_of_row: Any
    row_of_slot: Any
    rows: int
    kind: str
    num_experts: int
    max_m: int | None
