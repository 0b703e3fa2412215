"""Real sm_90a cubins for the SASS tests, from `sass_kernel.cu`, and nvdisasm to check against."""

import subprocess
from functools import cache
from pathlib import Path

import pytest

from nvgemm.sass.report import disassembler

SOURCE = Path(__file__).with_name("sass_kernel.cu")
BLOCK_N = (64, 112, 128)
STAGES = 4
POLICIES = (
    *("none", "e1", "e2p0", "e2p1", "e3", "e4", "e8", "9_16", "hd16", "hd32", "tl16"),
    *("s2e2", "s2e4", "s4e1", "e2p1-hd32", "s3e2-3_4"),
)


@cache
def promotion_cubin(block_n: int) -> bytes:
    """Cubin of `promotion` and `polynomial` for one block width."""
    constants = f"constexpr int BLOCK_N = {block_n};\nconstexpr int STAGES = {STAGES};\n"
    return nvrtc_cubin(SOURCE.read_bytes(), {"generated.cuh": constants + _wgmma(block_n)})


def nvrtc_cubin(source: bytes, headers: dict[str, str], architecture: str = "sm_90a") -> bytes:
    """Compile with NVRTC; a failure carries the compiler's log."""
    from cuda.bindings import nvrtc

    texts, names = [text.encode() for text in headers.values()], [name.encode() for name in headers]
    program = nvrtc.nvrtcCreateProgram(source, b"sass_kernel.cu", len(texts), texts, names)[1]
    (status,) = nvrtc.nvrtcCompileProgram(program, 1, [b"--gpu-architecture=" + architecture.encode()])
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = b" " * nvrtc.nvrtcGetProgramLogSize(program)[1]
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(log.decode())
    image = b" " * nvrtc.nvrtcGetCUBINSize(program)[1]
    nvrtc.nvrtcGetCUBIN(program, image)
    return image


def _wgmma(block_n: int) -> str:
    """CUDA text of one m64nNk32 E4M3 product with both operands in shared memory."""
    count = block_n // 2
    registers = ", ".join(f"%{i}" for i in range(count))
    operands = ", ".join(f'"+f"(d[{i}])' for i in range(count))
    shape = f"wgmma.mma_async.sync.aligned.m64n{block_n}k32.f32.e4m3.e4m3"
    return (
        "__device__ __forceinline__ void wgmma(float* d, unsigned long long a, unsigned long long b, int add) {\n"
        f'    asm volatile("{{\\n.reg .pred p;\\nsetp.ne.b32 p, %{count + 2}, 0;\\n"\n'
        f'        "{shape} {{{registers}}}, %{count}, %{count + 1}, p, 1, 1;\\n}}"\n'
        f'        : {operands} : "l"(a), "l"(b), "r"(add));\n}}\n'
    )


def disassemble(image: bytes, folder: Path, *options: str) -> str:
    """Text of `nvdisasm`; the test is skipped where that program is not installed."""
    program = disassembler.find()
    if program is None:
        pytest.skip("nvdisasm is not installed (pip install nvidia-cuda-nvdisasm)")
    file = folder / "kernel.cubin"
    file.write_bytes(image)
    return subprocess.run([program, *options, file], check=True, capture_output=True, text=True).stdout
