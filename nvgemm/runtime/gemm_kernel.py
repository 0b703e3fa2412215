"""The main kernel, configured and loaded for one device: operands to packed parameters, and the launch."""

from __future__ import annotations

from ctypes import c_uint32, c_uint64, c_void_p
from functools import lru_cache

from nvgemm.choice.config import BLOCK_K, GemmConfig
from nvgemm.choice.heuristic import select
from nvgemm.choice.problem import Overlap, Problem, ceil_div, k_block_stride, sfa_strides, tma_aligned_size
from nvgemm.runtime import compile_hint, draws, driver, sm_limit, tensor_map
from nvgemm.runtime.array_view import ArrayView
from nvgemm.runtime.build import Cubin, build
from nvgemm.runtime.device_model import model
from nvgemm.runtime.groups import Groups, group_stride, tall
from nvgemm.runtime.kernel import Arguments, Kernel, Launch, load
from nvgemm.runtime.making import Making, choose, making

_STRIP = (16, 64)  # rows and columns of D that a warp stores at a time


def build_config(config: GemmConfig, policy: str, compiler: str | None = None) -> Cubin:
    """The cubin of one configuration under `policy`, from the cache or the compiler. Needs no GPU."""
    return build("fp8_gemm", config.constants(), policy, compiler)


class GemmKernel:
    """``fp8_gemm`` in one configuration on the SMs of `device`; parameters are packed once for each set of operands.

    ``bind(a, sfa, b, sfb, d)``, with the layout of the groups last where they have one, gives what launches on checked
    operands, `sfa` MN-major. A packed set of parameters is never changed, so threads share it, and operands seen before
    cost one look-up.
    """

    def __init__(self, config: GemmConfig, made: Making, device: driver.Device) -> None:
        self.config, self.device = config, device
        self.cubin, self.kernel = _module(config, made, device.ordinal)
        if config.grouping.on_device:
            draws.allocate(device.ordinal)  # now, because operands may be bound during a capture
        self.bind = lru_cache(maxsize=4096)(self._bind)

    def _bind(self, *operands: ArrayView) -> Launch:
        grid = self.config.grid(operands[4].shape[-2], self.device.num_sms)
        with driver.context(self.device.ordinal):
            arguments = self._pack(*operands)
        return self.kernel.bind(grid, self.config.num_threads, arguments, self.config.overlap is not Overlap.ALONE)

    def _pack(
        self, a: ArrayView, sfa: ArrayView, b: ArrayView, sfb: ArrayView, d: ArrayView, layout: ArrayView | None = None
    ) -> Arguments:
        config, (m, k) = self.config, a.shape[-2:]
        tall_a, tall_b, tall_d = tall(a), tall(b), tall(d)
        rows_a, rows_b = min(m, config.box_m), config.block_n // config.cluster_m
        rows_sfa = tma_aligned_size(min(m, config.block_m), 4)
        scales, scales_step = k_block_stride(sfa.shape[-2:], sfa.strides[-2:]), group_stride(sfa)
        scales_rows = (sfa.shape[0] - 1) * scales_step + m if len(sfa.shape) == 3 else m
        return Arguments(
            tensor_map.matrix(a.ptr, "UINT8", tall_a.rows, k, tall_a.row_stride, (rows_a, BLOCK_K), 128),
            tensor_map.matrix(b.ptr, "UINT8", tall_b.rows, k, tall_b.row_stride, (rows_b, BLOCK_K), 128),
            tensor_map.matrix(sfa.ptr, "FLOAT32", ceil_div(k, BLOCK_K), scales_rows, scales, (1, rows_sfa), 0),
            tensor_map.matrix(d.ptr, "BFLOAT16", tall_d.rows, d.shape[-1], tall_d.row_stride, _STRIP, 128),
            c_void_p(sfb.ptr),
            c_void_p(d.ptr),
            c_uint64(tall_d.row_stride),
            c_uint32(sfb.strides[-2]),
            c_uint32(sfb.strides[-1]),
            c_uint32(m),
            Groups(
                layout and layout.ptr,
                draws.counter(self.device.ordinal) if config.grouping.on_device else None,
                *(group_stride(sfb), tall_a.step, scales_step, tall_b.step, tall_d.step),
            ),
        )


def transposed_scales(sfa: ArrayView, ptr: int) -> ArrayView:
    """View of scratch at `ptr` that holds the scales `sfa` MN-major."""
    return ArrayView(ptr, sfa.shape, sfa_strides(sfa.shape), "float32", sfa.device)


_modules: dict[tuple[GemmConfig, Making, int], tuple[Cubin, Kernel]] = {}  # one, however many SMs it is launched on
_kernels: dict[tuple[Problem, int, str, int | None], GemmKernel] = {}


def _module(config: GemmConfig, made: Making, ordinal: int) -> tuple[Cubin, Kernel]:
    if (config, made, ordinal) not in _modules:
        cubin = build_config(config, *made)
        _modules[config, made, ordinal] = cubin, load(cubin, ordinal, config.shared_bytes)
        if cubin.is_new:
            compile_hint.tell(cubin)
    return _modules[config, made, ordinal]


def gemm_kernel(problem: Problem, ordinal: int, policy: str, num_sms: int | None) -> GemmKernel | None:
    """The kernel for `problem` on `num_sms` SMs, if nothing has to be built or loaded for it."""
    known = _kernels.get((problem, ordinal, policy, num_sms))
    if known is None:
        config, made = choose(problem, policy, model(sm_limit.within(ordinal, num_sms)))
        if (config, made, ordinal) in _modules:
            return load_gemm_kernel(problem, ordinal, policy, num_sms)
    return known


def loaded_otherwise(problem: Problem, ordinal: int, policy: str, num_sms: int | None) -> GemmKernel | None:
    """A loaded kernel that differs in where its tiles begin alone: right for `problem` too, if not as fast."""
    device = sm_limit.within(ordinal, num_sms)
    config, measured = select(problem, model(device))
    other = config._replace(begins_inside=not config.begins_inside)
    made = making(policy, other, measured)
    return GemmKernel(other, made, device) if (other, made, ordinal) in _modules else None


def load_gemm_kernel(problem: Problem, ordinal: int, policy: str, num_sms: int | None) -> GemmKernel:
    """Choose, build and load the kernel for `problem`, each only where it has not been done before."""
    device = sm_limit.within(ordinal, num_sms)
    kernel = GemmKernel(*choose(problem, policy, model(device)), device)
    return _kernels.setdefault((problem, ordinal, policy, num_sms), kernel)
