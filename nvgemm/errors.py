"""Exceptions and warnings. A caller's mistake is a ``ValueError`` or ``TypeError``; these are for the rest."""

from __future__ import annotations


class CompileError(RuntimeError):
    """A kernel could not be compiled; the message shows NVRTC's log and the numbered source lines it points to."""


class CudaError(RuntimeError):
    """A CUDA driver or NVRTC call returned an error.

    Attributes
    ----------
    name : str
        The status as CUDA spells it, such as ``CUDA_ERROR_INVALID_VALUE``.
    description : str
        CUDA's own sentence for that status.
    call : str
        The function that returned it; empty where it is not known.
    """

    def __init__(self, name: str, description: str = "", call: str = "") -> None:
        self.name, self.description, self.call = name, description, call
        where = f"{call}: " if call else ""
        super().__init__(f"{where}{name}" + (f" ({description})" if description else ""))

    def __reduce__(self) -> tuple[type[CudaError], tuple[str, str, str]]:
        # RuntimeError would be rebuilt from the one formatted message, and the parts would be lost.
        return type(self), (self.name, self.description, self.call)


class UnsupportedDeviceError(RuntimeError):
    """No GPU is present, or it is not of compute capability 9.0 (Hopper), which these kernels need."""


class DriverTooOldError(RuntimeError):
    """The driver cannot load cubins of this NVRTC; the message names the extra that brings an older compiler."""


class SassError(ValueError):
    """A cubin is malformed, or a patched one breaks a rule of the verifier.

    Attributes
    ----------
    rule : int or None
        Number of the broken rule of `nvgemm.sass.verify`; None where the file itself is at fault.
    index : int or None
        Instruction (16-byte word) within its function.
    """

    def __init__(self, message: str, *, rule: int | None = None, index: int | None = None) -> None:
        super().__init__(message)
        self.rule, self.index = rule, index


class SassWarning(UserWarning):
    """A patched kernel failed verification, and the compiler's own control bits are used instead."""


class PerformanceWarning(UserWarning):
    """The call works but does extra work on the device; the message names what avoids it."""


class CacheWarning(UserWarning):
    """The cubin cache cannot be written; kernels are kept in memory and compiled again by the next process."""
