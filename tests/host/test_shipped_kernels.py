"""Every configuration that is picked compiles for sm_90a without spills, serialised WGMMA or ignored setmaxnreg."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from nvgemm import settings
from nvgemm.bench.shapes import GroupedShape
from nvgemm.bench.suites import DENSE, SUITES
from nvgemm.choice import tables
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.heuristic import select_config
from nvgemm.choice.problem import Grouping, Problem
from nvgemm.runtime import nvrtc
from nvgemm.runtime.build import Cubin
from nvgemm.runtime.gemm_kernel import build_config
from nvgemm.runtime.making import making
from nvgemm.runtime.sources import kernels_dir
from nvgemm.runtime.specialize import Source, wgmma_header
from nvgemm.sass.policy import apply
from nvgemm.sass.verify import verify


def grouped(grouping: Grouping, shape: GroupedShape) -> Problem:
    alignment = 128 if grouping is Grouping.CONTIGUOUS else 1
    return Problem(shape.max_m or shape.m, shape.n, shape.k, True, grouping, shape.groups, alignment, shape.rows)


OTHERS = [
    (1, 8, 16), (1, 4096, 4096), (3, 1000, 2000), (16, 136, 7168), (33, 24, 400), (64, 64, 64), (65, 200, 1936),
    (77, 7168, 18432), (100, 512, 512), (127, 1544, 7152), (129, 129280, 7168), (190, 520, 1040), (256, 18432, 7168),
    (300, 2056, 528), (333, 4608, 7168), (512, 11008, 4096), (768, 28672, 8192), (1000, 1000, 1008), (1536, 3072, 1536),
    (3000, 14336, 4096), (16384, 1024, 8192),
]  # fmt: skip
GROUPS = [
    *(grouped(Grouping.CONTIGUOUS, shape) for shape in SUITES["contiguous"].shapes),
    *(grouped(Grouping.MASKED, shape) for shape in SUITES["masked"].shapes),
    *(grouped(Grouping.OFFSETS, shape) for shape in SUITES["offsets"].shapes),
    *(
        Problem(3000, 2056, 528, True, grouping, 33, 32, rows)
        for grouping in Grouping
        if grouping
        for rows in (5, 100, 400)
    ),
]
REGISTER_FILE = 65536  # of an SM, 32-bit; a warp gets registers in units of 8 for each thread


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[GemmConfig, Cubin]]:
    """The cubin of each configuration, compiled by two threads: NVRTC runs outside the GIL."""
    problems = [*(Problem(*shape, True) for shape in DENSE + OTHERS), *GROUPS]
    configs = list(dict.fromkeys(select_config(problem) for problem in problems))
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(settings, "cache_dir", str(tmp_path_factory.mktemp("cache")))
        cubins = pool.map(lambda config: build_config(config, *making("tuned", config)), configs)
        yield dict(zip(configs, cubins, strict=True))


@pytest.mark.slow
def test_compiler_complains_of_nothing(shipped):
    assert {c: cubin.meta["complaints"] for c, cubin in shipped.items() if cubin.meta["complaints"]} == {}


@pytest.mark.slow
def test_nothing_is_spilled(shipped):
    assert {c: cubin.meta["spilled_bytes"] for c, cubin in shipped.items() if cubin.meta["spilled_bytes"]} == {}
    frames = {c: re.findall(r"(\d+) bytes stack frame", cubin.meta["log"]) for c, cubin in shipped.items()}
    assert {c: found for c, found in frames.items() if found != ["0"]} == {}


@pytest.mark.slow
def test_a_block_fits_on_an_sm(shipped):
    for config, cubin in shipped.items():
        assert -(-cubin.meta["registers"] // 8) * 8 * config.num_threads <= REGISTER_FILE, config
        assert config.shared_bytes <= 232_448, config


@pytest.mark.slow
def test_kernels_are_patched_as_their_policy_says(shipped):
    """Verified, too: a refused patch is a SassWarning, which is an error in these tests."""
    for config, cubin in shipped.items():
        assert (cubin.meta["changed_words"] > 0) == (cubin.image != cubin.raw), config
        assert (cubin.meta["changed_words"] > 0) == (cubin.meta["policy"] != "asis"), config
    of_two = [cubin for config, cubin in shipped.items() if config.num_consumers // config.k_split == 2]
    assert sum(cubin.meta["policy"] != "asis" for cubin in of_two) > len(of_two) / 2


@pytest.mark.slow
def test_policies_of_the_table_are_legal_for_this_compiler(shipped):
    """They were measured on the kernels of another, perhaps."""
    measured = 0
    for problem in (Problem(*shape, True) for shape in DENSE):
        found = tables.lookup(problem, [tables.H100], 132)
        if found is not None and found.policy is not None:
            policy = found.policy
            raw = shipped[select_config(problem)].raw
            changed, *_ = dataclasses.astuple(verify(raw, apply(raw, policy), policy))
            assert (changed > 0) == (policy != "asis"), (problem, policy)
            measured += 1
    assert measured > 40


ALWAYS = ("types.cuh", "ptx/address.cuh", "ptx/wgmma.cuh")  # the generated header needs them


def resources(body: str, *headers: str) -> dict:
    """What the log says of a kernel with this text."""
    files = {name: (kernels_dir() / name).read_text() for name in (*ALWAYS, *headers)}
    text = "".join(f'#include "{name}"\n' for name in (*files, "wgmma_mma.cuh")) + body
    source = Source("bad", {"bad.cu": text, "wgmma_mma.cuh": wgmma_header(64), **files})
    return nvrtc.resources(nvrtc.compiler().compile(source).log)


def test_a_spill_is_found():
    found = resources(
        """
extern "C" __global__ void __launch_bounds__(1024, 1) bad(float* x) {
    float v[200];
#pragma unroll
    for (int i = 0; i < 200; ++i) v[i] = x[i * 1024 + threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 200; ++i) x[(199 - i) * 1024 + threadIdx.x] = v[i] * v[(i * 7 + 3) % 200];
}"""
    )
    assert found["spilled_bytes"] > 0
    assert found["registers"] == 64


PRODUCT = """
extern "C" __global__ void __launch_bounds__(128, 1) bad(float* x) {
    extern __shared__ uint8_t tile[];
    const uint32_t operand = ptx::wgmma_address(tile);
    float d[32], scale = x[0];
    ptx::wgmma_fence();
    ptx::wgmma_k128(d, operand, operand);
    BETWEEN
    ptx::wgmma_commit_group();
    ptx::wgmma_wait_group<0>(scale, scale);
    for (int i = 0; i < 32; ++i) x[i * 128 + threadIdx.x] = scale * d[i];
}"""


def test_a_serialised_wgmma_is_found():
    assert resources(PRODUCT.replace("BETWEEN", ""))["complaints"] == []
    touched = resources(PRODUCT.replace("BETWEEN", "d[3] += 1.0f;"))["complaints"]
    assert any(re.search(r"C751\d", line) for line in touched), touched


def test_an_ignored_setmaxnreg_is_found():
    body = 'extern "C" __global__ void bad(float* x) { ptx::setmaxnreg_inc<240>(); x[threadIdx.x] = 1; }'
    (line,) = resources(body, "ptx/warp.cuh")["complaints"]
    assert "setmaxnreg" in line
