"""How far two tensors are apart, and how many bytes they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def calc_diff(x: Tensor, y: Tensor) -> Any:
    """1 − 2⟨x, y⟩ / (⟨x, x⟩ + ⟨y, y⟩) in FP64, a tensor of no dimension; 0.0 where both are zero."""
    x, y = x.double(), y.double()
    total = (x * x + y * y).sum()
    return 0.0 if total == 0 else (x - y).square().sum() / total


def count_bytes(*tensors: Any) -> int:
    """Bytes of all elements of tensors, and of tuples and lists of them; None counts as nothing."""
    total = 0
    for each in tensors:
        if isinstance(each, (tuple, list)):
            total += count_bytes(*each)
        elif each is not None:
            total += each.numel() * each.element_size()
    return total


def assert_bitwise_equal(x: Tensor, y: Tensor, label: str = "") -> None:
    """Raise AssertionError unless shape, dtype and every bit are the same; the first difference is named."""
    import torch

    name = f"{label}: " if label else ""
    if (x.shape, x.dtype) != (y.shape, y.dtype):
        raise AssertionError(f"{name}{tuple(x.shape)} of {x.dtype} and {tuple(y.shape)} of {y.dtype}")
    differ = (_bytes(torch, x) != _bytes(torch, y)).any(-1).flatten()
    if differ.any():
        first = int(differ.nonzero()[0])
        got, expected = (each.flatten()[first].item() for each in (x, y))
        raise AssertionError(
            f"{name}{int(differ.sum())} of {differ.numel()} elements differ, first number {first}: {got} and {expected}"
        )


def _bytes(torch: Any, x: Tensor) -> Tensor:
    return x.contiguous().flatten().view(torch.uint8).view(-1, x.element_size())
