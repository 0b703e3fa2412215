"""The source of a kernel: its constants, the generated WGMMA wrapper, and every header, from kernels_cu alone."""

from __future__ import annotations

import re

import pytest

from nvgemm.choice.heuristic import select_config
from nvgemm.choice.problem import Problem
from nvgemm.runtime import nvrtc
from nvgemm.runtime.build import build
from nvgemm.runtime.sources import kernels_dir
from nvgemm.runtime.specialize import Source, config_header, specialize, wgmma_header

CONFIG = select_config(Problem(333, 576, 1040, True))
GENERATED = {"config.cuh", "wgmma_mma.cuh"}
KERNELS = sorted(path.stem for path in kernels_dir().glob("*.cu"))
MOST_LINES = 300


def included(text: str) -> list[str]:
    return re.findall(r"^\s*#\s*include\s*(\S+)", text, re.MULTILINE)


def test_constants_are_the_fields_in_capitals():
    text = specialize("fp8_gemm", CONFIG.constants()).files["config.cuh"]
    defined = dict(re.findall(r"^constexpr (?:unsigned int|bool) (\w+) = (\w+);$", text, re.MULTILINE))
    derived = {name: getattr(CONFIG, name) for name in ("wgmma_n", "box_m", "shared_bytes")}
    expected = CONFIG._asdict() | derived
    spelled = {name.upper(): str(x).lower() if isinstance(x, bool) else f"{int(x)}u" for name, x in expected.items()}
    assert defined == spelled


def test_every_constant_is_used():
    source = specialize("fp8_gemm", CONFIG.constants())
    code = "\n".join(text for name, text in source.files.items() if name not in GENERATED)
    assert [name for name in CONFIG.constants() if not re.search(rf"\b{name}\b", code)] == []


def test_flags_and_numbers():
    text = config_header({"POWER_OF_TWO": True, "OTHER": False, "LOAD_BYTES": 16, "LARGEST": 2**32 - 1})
    assert "constexpr bool POWER_OF_TWO = true;" in text
    assert "constexpr bool OTHER = false;" in text
    assert "constexpr unsigned int LOAD_BYTES = 16u;" in text
    assert "constexpr unsigned int LARGEST = 4294967295u;" in text


@pytest.mark.parametrize(
    ("size", "declared"), [(1, ""), (2, " __cluster_dims__(2, 1, 1)"), (4, " __cluster_dims__(4, 1, 1)")]
)
def test_ctas_alone_are_no_clusters_of_one(size, declared):
    text = config_header({"CLUSTER_M": 1, "CLUSTER_N": 1, "CLUSTER_K": size})
    assert f"#define CLUSTER_DIMS{declared}\n" in text
    assert "CLUSTER_DIMS" not in config_header({"NUM_WARPS": 4})


@pytest.mark.parametrize("block_n", range(8, 257, 8))
def test_the_multiplication_names_every_accumulator(block_n):
    text, count = wgmma_header(block_n), block_n // 2
    assert f"wgmma.mma_async.sync.aligned.m64n{block_n}k32.f32.e4m3.e4m3 " in text
    product = text.split("void wgmma_k128")[1]
    assert re.findall(r'"\+f"\(d\[(\d+)\]\)', product) == [str(i) for i in range(count)]
    assert f"float (&d)[{count}]" in product
    lists = re.findall(r"\{(%0[^}]*)\}, %(\d+), %(\d+), (\w+), 1, 1;", product)
    assert [registers.split(", ") for registers, *_ in lists] == 4 * [[f"%{i}" for i in range(count)]]
    assert [(int(a) - count, int(b) - count) for _, a, b, _ in lists] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert [accumulate for *_, accumulate in lists] == ["accumulate", "1", "1", "1"]
    assert "setp.ne.b32 accumulate, 0, 0;" in product
    assert re.findall(r"wgmma_descriptor\((\w \+ \d)\)", product) == [f"{x} + {2 * i}" for i in range(4) for x in "ab"]


def test_the_multiplication_compiles_for_every_width():
    """One kernel for each width would take a minute; the instructions of all of them are in one."""
    kernel, files = [], {}
    for block_n in range(8, 257, 8):
        name = f"of_{block_n}"
        text = wgmma_header(block_n).replace("namespace ptx {", f"namespace {name} {{ using ptx::wgmma_descriptor;")
        files[f"{name}.cuh"] = text
        kernel.append(
            f"{{ float d[{block_n // 2}], s = x[0]; ptx::wgmma_fence(); {name}::wgmma_k128(d, tile, tile);"
            f" ptx::wgmma_commit_group(); ptx::wgmma_wait_group<0>(s, s); x[{block_n}] = s * d[{block_n // 2 - 1}]; }}"
        )
    files |= {name: (kernels_dir() / name).read_text() for name in ("types.cuh", "ptx/address.cuh", "ptx/wgmma.cuh")}
    text = "".join(f'#include "{name}"\n' for name in files) + (
        'extern "C" __global__ void __launch_bounds__(128, 1) all(float* x, uint32_t tile) {' + "\n".join(kernel) + "}"
    )
    assert nvrtc.compiler().compile(Source("all", {"all.cu": text, **files})).cubin[:4] == b"\x7fELF"


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_header_is_collected(kernel):
    constants = CONFIG.constants() if kernel == "fp8_gemm" else {"SOME": 1}
    source = specialize(kernel, constants)
    named = {name.strip('"') for text in source.files.values() for name in included(text)}
    assert named == set(source.headers)
    assert f"{kernel}.cu" not in source.headers
    assert source.text == (kernels_dir() / f"{kernel}.cu").read_text()


def test_nothing_outside_the_folder_is_included():
    files = [path for path in kernels_dir().rglob("*") if path.suffix in {".cu", ".cuh"}]
    assert len(files) > 10
    for path in files:
        for name in included(path.read_text()):
            assert name[0] == name[-1] == '"', (path, name)
            assert ".." not in name, (path, name)
            assert name.strip('"') in GENERATED or (kernels_dir() / name.strip('"')).is_file(), (path, name)


def code_lines(text: str) -> int:
    without = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return sum(bool(re.sub(r"//.*", "", line).strip()) for line in without.splitlines())


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_stays_readable(kernel):
    assert code_lines((kernels_dir() / f"{kernel}.cu").read_text()) <= MOST_LINES


def test_lines_of_code_are_counted():
    assert code_lines("// one\n\nint x; // two\n/* three\n four */ int y;\n  \n}") == 3


def test_an_entrys_folder_compiles_by_itself(cache_dir, monkeypatch):
    """As somebody with the folder alone would do it: NVRTC reads the headers from there."""
    cubin = build("fp8_gemm", CONFIG.constants())
    assert cubin.path.parent == cache_dir
    monkeypatch.setattr(nvrtc, "OPTIONS", (*nvrtc.OPTIONS, f"--include-path={cubin.path}"))
    alone = Source("kernel", {"kernel.cu": (cubin.path / "kernel.cu").read_text()})
    assert nvrtc.compiler().compile(alone).cubin == cubin.raw
