"""`plan`: a product checked, built, loaded and packed once, to be launched many times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nvgemm.choice import checks
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.problem import scales_bytes
from nvgemm.explain import describe
from nvgemm.product import Check, admit, dense, prepare
from nvgemm.runtime import overlap, sm_limit


def plan(
    a: tuple[Any, Any],
    b: tuple[Any, Any],
    d: Any = None,
    *,
    recipe: tuple[int, int, int] | None = checks.RECIPE_1D2D,
    stream: Any = None,
    num_sms: int | None = None,
    pdl: bool | None = None,
    weights_static: bool = False,
) -> Plan:
    """Prepare ``fp8_gemm_nt(a, b, d, recipe=recipe, stream=stream, …)`` without launching it.

    Layouts and other conditions are those of `fp8_gemm_nt`. The stream, the number of SMs and PDL are resolved now:
    calling the plan launches with these, whatever is current or set then.

    Parameters
    ----------
    a : (data, scales)
        FP8 E4M3 [M, K] and FP32 [M, ceil(K/128)].
    b : (data, scales)
        FP8 E4M3 [N, K] and FP32 [ceil(N/128), ceil(K/128)].
    d : device array, optional
        BF16 [M, N]; allocated now where it is not given.
    recipe, stream, num_sms, pdl, weights_static
        As in `fp8_gemm_nt`.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError, TypeError, UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError, RuntimeError
        As `fp8_gemm_nt`; nothing has been launched.
    """
    limit = sm_limit.limit if num_sms is None else sm_limit.check(num_sms)
    return Plan(a, b, d, dense(recipe, overlap.of(pdl, weights_static)), stream, limit)


class Plan:
    """One prepared product, made by `plan`. Calling it launches; it keeps its operands alive.

    Attributes
    ----------
    a, b : (data, scales)
        FP8 E4M3 [M, K] and [N, K] with their FP32 scales.
    d : device array
        The result, BF16 [M, N].
    stream : int
        Handle of the stream that it launches on.
    problem : Problem
    config : GemmConfig or None
        None where there is nothing to multiply (a size is 0).
    workspace_bytes : int
        Scratch that each launch uses, for scales of A that must be transposed.

    Raises
    ------
    ValueError, TypeError, UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError, RuntimeError
        As `plan`, while it is made.
    """

    def __init__(self, a: Any, b: Any, d: Any, check: Check, stream: Any, num_sms: int | None) -> None:
        self._check, self._stream, self._num_sms = check, stream, num_sms
        self._bind(a, b, d, stacklevel=5)

    def _bind(self, a: Any, b: Any, d: Any, stacklevel: int) -> None:
        """`stacklevel`: as in `prepare`."""
        objects = checks.operands(a, b, d)
        problem, operands, handle, d = admit(objects, self._check, self._stream, self._num_sms)
        # The last step that can fail: nothing has changed before.
        self._prepared = prepare(problem, operands, handle, self._num_sms, stacklevel)
        self._launch = self._prepared.bound or self._prepared.launch
        self.a, self.b, self.d, self.problem, self.stream = a, b, d, problem, handle

    def __call__(self, *, a: Any = None, b: Any = None, d: Any = None) -> Any:
        """Launch, after taking other operands where they are given.

        Parameters
        ----------
        a, b : (data, scales), optional
            FP8 E4M3 [M, K] and [N, K] with their FP32 scales, checked as in `plan`; another M, N or K is good too.
        d : device array, optional
            BF16 [M, N]. It must fit: a result is not allocated again.

        Returns
        -------
        device array
            `d`, written in the order of the plan's stream.

        Raises
        ------
        ValueError, TypeError, UnsupportedDeviceError, CompileError, DriverTooOldError, RuntimeError
            As `fp8_gemm_nt`, where operands are given; nothing has been launched, and the plan is as it was.
        CudaError, RuntimeError
            The driver refuses the launch, or the stream captures a graph and scratch would have to be allocated.
        """
        if a is not None or b is not None or d is not None:
            self._bind(
                self.a if a is None else a,
                self.b if b is None else b,
                self.d if d is None else d,
                stacklevel=4,
            )
        self._launch(self.stream)
        return self.d

    @property
    def config(self) -> GemmConfig | None:
        kernel = self._prepared.kernel
        return None if kernel is None else kernel.config

    @property
    def cubin_path(self) -> Path | None:
        """Folder of the kernel's cache entry; None where it is in memory only or there is no kernel."""
        kernel = self._prepared.kernel
        return None if kernel is None else kernel.cubin.path

    @property
    def workspace_bytes(self) -> int:
        return 0 if self.problem.sfa_mn_major else scales_bytes(self._prepared.operands[1].shape)

    def explain(self) -> str:
        """What will run and why: configuration, tiles and waves, predicted time against the bytes, and the cubin."""
        return describe(self.problem, self._prepared.kernel)

    def __repr__(self) -> str:
        p, c = self.problem, self.config
        kernel = f"{c.block_m}×{c.block_n}, {c.num_stages} stages" if c else "nothing to multiply"
        return f"<nvgemm.Plan M={p.m} N={p.n} K={p.k}: {kernel}>"
