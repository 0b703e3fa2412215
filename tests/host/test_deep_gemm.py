"""DeepGEMM's interface: names, signatures and defaults as there, every refusal, what reaches `nvgemm.fp8_gemm_nt`."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nvgemm
from nvgemm import deep_gemm, reference
from nvgemm.choice.problem import Problem
from nvgemm.deep_gemm import refused, utils
from nvgemm.deep_gemm import testing as measures
from nvgemm.runtime import arrays, driver, sm_limit
from nvgemm.runtime.array_view import ArrayView, make

ROOT = Path(__file__).resolve().parents[2]

# Facts about DeepGEMM 2.6.1 (alpha and psum_layout: 2.8) and, for the last one, version 1.
DENSE = (
    "a, b, d, c=None, recipe=None, recipe_a=None, recipe_b=None, compiled_dims={!r}, disable_ue8m0_cast=False, "
    "alpha=None"
)
GROUPED = "a, b, d, grouped_layout, recipe=None, recipe_a=None, recipe_b=None, compiled_dims='nk', " \
          "disable_ue8m0_cast=False, use_psum_layout=False, ensure_zero_padding=True"  # fmt: skip
MASKED = "a, b, d, masked_m, expected_m, recipe=None, recipe_a=None, recipe_b=None, compiled_dims='nk', " \
         "disable_ue8m0_cast=False"  # fmt: skip
SIGNATURES = {
    **{f"m_grouped_{kind}_gemm_nt_contiguous": f"{GROUPED}, expected_m_for_psum_layout=None"
       for kind in ("fp8", "fp8_fp4")},
    **{f"m_grouped_{kind}_gemm_nn_contiguous": GROUPED for kind in ("fp8", "fp8_fp4")},
    **dict.fromkeys(("m_grouped_fp8_gemm_nt_masked", "m_grouped_fp8_fp4_gemm_nt_masked",
                     "fp8_m_grouped_gemm_nt_masked"), MASKED),
    "m_grouped_gemm_fp8_fp8_bf16_nt_contiguous": "lhs, rhs, out, m_indices",
    "m_grouped_gemm_fp8_fp8_bf16_nt_masked": "lhs, rhs, out, masked_m, expected_m",
    **{f"{kind}_gemm_{name}": DENSE.format("nk") for kind in ("fp8", "fp8_fp4") for name in ("nt", "nn")},
    **{f"{kind}_gemm_{name}": DENSE.format("mn") for kind in ("fp8", "fp8_fp4") for name in ("tn", "tt")},
    "utils.ceil_div": "x, y",
    "utils.align": "x, y",
    "utils.math.ceil_to_ue8m0": "x",
    "utils.per_token_cast_to_fp8": "x, use_ue8m0, gran_k=128, use_packed_ue8m0=False",
    "utils.per_block_cast_to_fp8": "x, use_ue8m0, gran_k=128",
    "utils.per_channel_cast_to_fp8": "x, use_ue8m0, gran_k=128",
    "utils.per_custom_dims_cast_to_fp8": "x, dims, use_ue8m0",
    "utils.get_tma_aligned_size": "mn, element_size",
    "utils.get_mn_major_tma_aligned_tensor": "sf",
    "utils.set_mk_alignment_for_contiguous_layout": "new_value",
    "utils.layout.get_mk_alignment_for_contiguous_layout": "",
    "get_theoretical_mk_alignment_for_contiguous_layout": "expected_m=None, num_groups=None",
    "transform_sf_into_required_layout":
        "sf, mn, k, recipe, num_groups=None, is_sfa=None, disable_ue8m0_cast=False, psum_layout=None",
    "testing.calc_diff": "x, y",
    "testing.count_bytes": "*tensors",
    "testing.assert_bitwise_equal": "x, y, label=''",
    "testing.bench": "fn, num_warmups=5, num_tests=10, high_precision=False",
    "testing.bench_kineto": "fn, kernel_names, num_tests=30, suppress_kineto_output=False, trace_path=None, "
                            "flush_l2=True, with_multiple_kernels=False, barrier=None",
    "testing.get_arch_major": "",
    "testing.test_filter": "condition",
    "testing.ignore_env": "name, condition",
    "gemm_fp8_fp8_bf16_nt": "lhs, rhs, out",
}  # fmt: skip
NAMES = """
set_num_sms get_num_sms set_tc_util get_tc_util set_pdl get_pdl set_ignore_compile_dims set_block_size_multiple_of
cublaslt_gemm_nt cublaslt_gemm_nn cublaslt_gemm_tn cublaslt_gemm_tt
m_grouped_fp8_fp4_gemm_nt_contiguous m_grouped_fp8_fp4_gemm_nn_contiguous m_grouped_fp8_fp4_gemm_nt_masked
m_grouped_fp8_gemm_nt_contiguous m_grouped_fp8_gemm_nn_contiguous m_grouped_fp8_gemm_nt_masked
k_grouped_fp8_gemm_nt_contiguous k_grouped_fp8_gemm_tn_contiguous fp8_gemm_nt_skip_head_mid
bf16_gemm_nt bf16_gemm_nn bf16_gemm_tn bf16_gemm_tt m_grouped_bf16_gemm_nt_contiguous m_grouped_bf16_gemm_nn_contiguous
m_grouped_bf16_gemm_nt_masked k_grouped_bf16_gemm_tn_contiguous einsum fp8_einsum fp8_mqa_logits fp8_paged_mqa_logits
fp8_fp4_mqa_logits fp8_fp4_paged_mqa_logits get_paged_mqa_logits_metadata tf32_hc_prenorm_gemm SymmBuffer
get_symm_buffer_for_mega_moe transform_weights_for_mega_moe fp8_fp4_mega_moe testing utils
get_mn_major_tma_aligned_packed_ue8m0_tensor get_k_grouped_mn_major_tma_aligned_packed_ue8m0_tensor
get_m_alignment_for_contiguous_layout get_k_alignment_for_contiguous_layout pack_ue8m0_to_int per_token_cast_to_fp4
m_grouped_gemm_fp8_fp8_bf16_nt_contiguous m_grouped_gemm_fp8_fp8_bf16_nt_masked wgrad_gemm_fp8_fp8_fp32_nt
k_grouped_wgrad_gemm_fp8_fp8_fp32_nt get_col_major_tma_aligned_tensor ceil_div bench bench_kineto calc_diff
""".split()  # noqa: SIM905 - a list of literals would be four times as long
REFUSED = [(module, name) for module in ("", "utils.math", "utils.layout", "utils.dist")
           for name in refused.functions(module)]  # fmt: skip

M, N, K = 64, 576, 2048


class Matrix(ArrayView):
    """An `ArrayView` that can be turned, as the frameworks' arrays can."""

    def swapaxes(self, first: int, second: int) -> Matrix:
        assert (first, second) == (-1, -2)
        return Matrix(self.ptr, exchanged(self.shape), exchanged(self.strides), self.dtype)


def exchanged(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The last two the other way round."""
    return (*numbers[:-2], numbers[-1], numbers[-2])


A = Matrix(1 << 20, (M, K)), Matrix(2 << 20, (M, 16), (1, M), "float32")
B = Matrix(3 << 20, (N, K)), Matrix(5 << 20, (5, 16), None, "float32")
D = Matrix(6 << 20, (M, N), None, "bfloat16")
K_MAJOR = A[0], Matrix(2 << 20, (M, 16), None, "float32")
LAID_OUT = Matrix(7 << 20, (M, 16), (1, M), "float32")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What reaches nvgemm, in order; every kernel is ready."""
    made: list[tuple] = []
    monkeypatch.setitem(arrays._doors, Matrix, lambda x, name: x)
    monkeypatch.setattr(nvgemm, "fp8_gemm_nt", lambda *args, **kwargs: made.append((args, kwargs)) or args[2])
    monkeypatch.setattr(
        nvgemm, "get_mn_major_tma_aligned_tensor", lambda sf, stream: made.append(("transpose", sf, stream)) or LAID_OUT
    )
    monkeypatch.setattr(deep_gemm.row_scales, "ready_kernel", lambda *asked: made.append(("ready", *asked)))
    return made


def find(path: str):
    found = deep_gemm
    for name in path.split("."):
        found = getattr(found, name)
    return found


def written(function) -> str:
    parameters = inspect.signature(function).parameters.values()
    return ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature(path):
    assert written(find(path)) == SIGNATURES[path]


@pytest.mark.parametrize("name", [*NAMES, *(path for path in SIGNATURES if "." not in path)])
def test_every_name_is_at_the_top(name):
    assert callable(getattr(deep_gemm, name)) or name in ("testing", "utils")


def test_utils_are_at_the_top_too():
    assert {name: getattr(deep_gemm, name) for name in utils.__all__} == {
        name: getattr(utils, name) for name in utils.__all__
    }
    assert set(utils.__all__) >= set(utils.math.__all__) | set(utils.layout.__all__)


@pytest.mark.parametrize(("module", "name"), REFUSED)
def test_what_is_missing_says_so(module, name):
    function = find(f"{module}.{name}".lstrip("."))
    with pytest.raises(NotImplementedError, match=rf"^deep_gemm\.{name}: .+ (is|are) missing in nvgemm"):
        function("anything", keyword=1)


def test_no_name_is_both_there_and_refused():
    names = [name for _, name in REFUSED]
    assert len(names) == len(set(names))
    assert not set(names) & {path.split(".")[-1] for path in SIGNATURES}


def test_a_product_reaches_nvgemm_and_none_comes_back(calls):
    assert deep_gemm.fp8_gemm_nt(A, B, D) is None
    assert deep_gemm.gemm_fp8_fp8_bf16_nt(list(A), B, D) is None
    assert calls == [((A, B, D), {"recipe": (1, 128, 128)})] * 2


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": (1, 128, 128)},
        {"recipe": [1, 128, 128]},
        {"recipe_a": (1, 128), "recipe_b": (128, 128)},
        {"disable_ue8m0_cast": True},
        {"compiled_dims": ""},
        {"compiled_dims": "mnk"},
    ],
)
def test_options_that_change_nothing(calls, options):
    deep_gemm.fp8_gemm_nt(A, B, D, c=None, alpha=None, **options)
    ((operands, keywords),) = calls
    assert (operands, tuple(keywords["recipe"])) == ((A, B, D), (1, 128, 128))


def test_transposed_operands_are_turned_back(calls):
    turned_a, turned_b = (tuple(each.swapaxes(-1, -2) for each in pair) for pair in (A, B))
    deep_gemm.fp8_gemm_nn(A, turned_b, D)
    deep_gemm.fp8_gemm_tn(turned_a, turned_b, D)
    deep_gemm.fp8_gemm_tt(turned_a, B, D)
    assert [operands for operands, _ in calls] == [(A, B, D)] * 3


def test_k_major_scales_are_laid_out_without_a_warning(calls, recwarn):
    deep_gemm.fp8_gemm_nt(K_MAJOR, B, D)
    assert calls == [
        ("ready", Problem(M, N, K, sfa_mn_major=True), 0, 0, None),
        ("transpose", K_MAJOR[1], 0),
        (((A[0], LAID_OUT), B, D), {"recipe": (1, 128, 128)}),
    ]
    assert not recwarn.list


def test_scales_are_laid_out_on_the_stream_of_the_product(calls):
    data = make(1 << 20, (M, K), (K, 1), "float8_e4m3fn", 0, False, "nvgemm", 0x30)
    deep_gemm.fp8_gemm_nt((data, K_MAJOR[1]), B, D)
    assert calls[1] == ("transpose", K_MAJOR[1], 0x30)


def test_one_row_and_one_column_of_scales(calls):
    """Strides say nothing there; the shape decides whether a copy is needed."""
    row = Matrix(1 << 20, (1, 128)), Matrix(2 << 20, (1, 1), None, "float32")
    b = Matrix(3 << 20, (N, 128)), Matrix(5 << 20, (5, 1), None, "float32")
    deep_gemm.fp8_gemm_nt(row, b, Matrix(6 << 20, (1, N), None, "bfloat16"))
    assert [call[0] == "transpose" for call in calls] == [False]


def test_nothing_is_laid_out_for_a_product_that_is_refused(calls):
    with pytest.raises(ValueError, match="d: expected shape"):
        deep_gemm.fp8_gemm_nt(K_MAJOR, B, Matrix(6 << 20, (M, N + 8), None, "bfloat16"))
    assert not calls


def test_nothing_is_laid_out_on_more_sms_than_there_are(calls, monkeypatch):
    monkeypatch.setattr(sm_limit, "limit", 133)
    monkeypatch.setattr(driver, "require_hopper", lambda ordinal: SimpleNamespace(num_sms=132, name="a GPU"))
    with pytest.raises(ValueError, match=r"num_sms: 133 is more than the 132 SMs of device 0 \(a GPU\)"):
        deep_gemm.fp8_gemm_nt(K_MAJOR, B, D)
    assert not calls


def test_nothing_is_laid_out_for_a_kernel_that_a_capture_lacks(calls, monkeypatch):
    def refuse(*asked: object) -> None:
        raise RuntimeError("capturing a graph")

    monkeypatch.setattr(deep_gemm.row_scales, "ready_kernel", refuse)
    with pytest.raises(RuntimeError, match="capturing"):
        deep_gemm.fp8_gemm_nt(K_MAJOR, B, D)
    assert not calls


def test_the_kernel_is_made_ready_for_the_sms_that_are_set(calls, monkeypatch):
    monkeypatch.setattr(sm_limit, "limit", 7)
    monkeypatch.setattr(driver, "require_hopper", lambda ordinal: driver.Device(0, "", (9, 0), 132, 1, 1, 1, 1))
    deep_gemm.fp8_gemm_nt(K_MAJOR, B, D)
    assert calls[0] == ("ready", Problem(M, N, K, sfa_mn_major=True), 0, 0, 7)


def test_nothing_is_laid_out_where_there_is_nothing_to_multiply(calls):
    none = Matrix(0, (0, K)), Matrix(0, (0, 16), None, "float32")
    d = Matrix(0, (M, 0), None, "bfloat16")
    deep_gemm.fp8_gemm_nt(K_MAJOR, none, d)
    assert calls == [((K_MAJOR, none, d), {"recipe": (1, 128, 128)})]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"c": D}, NotImplementedError, r"deep_gemm.fp8_gemm_nt: accumulation \(c\) is missing in nvgemm; add c to d"),
        ({"alpha": 0.5}, NotImplementedError, r"alpha is missing"),
        ({"d": None}, TypeError, r"d: expected a BF16 matrix \[M, N\], got None"),
        ({"d": Matrix(0, (M, N), None, "float32")}, NotImplementedError, r"FP32 results \(d\) are missing"),
        ({"recipe": (1, 1, 128)}, NotImplementedError, r"recipe \(1, 1, 128\), a scale for each row of B, is missing"),
        ({"recipe_a": (1, 128), "recipe_b": (1, 128)}, NotImplementedError, r"recipe \(1, 1, 128\)"),
        ({"recipe_a": (1, 128)}, ValueError, r"recipe: expected recipe alone, or recipe_a and recipe_b together"),
        ({"recipe": (1, 128, 128), "recipe_a": (1, 128), "recipe_b": (128, 128)}, ValueError, "recipe alone"),
        ({"recipe_a": (1, 128), "recipe_b": (128, 32)}, ValueError, r"K must be split alike"),
        ({"recipe_a": 5, "recipe_b": (128, 128)}, TypeError, r"recipe_a: expected two ints, such as \(1, 128\), got 5"),
        ({"recipe_a": (1, 128, 1), "recipe_b": (128, 128)}, TypeError, r"recipe_a: expected two .*, got \(1, 128, 1\)"),
        ({"recipe_a": (1, 128), "recipe_b": (128,)}, TypeError, r"recipe_b: expected two ints.*, got \(128,\)"),
        ({"recipe_a": (1, 128), "recipe_b": (128, "k")}, TypeError, r"recipe_b: expected two ints, .*, got 'k'"),
        ({"recipe": 5}, TypeError, r"recipe: expected three ints, such as \(1, 128, 128\), got 5"),
        ({"recipe": (1, 128)}, TypeError, r"recipe: expected three ints.*, got \(1, 128\)"),
        ({"recipe": (1, 128, 128.0)}, TypeError, r"recipe: expected three ints.*, got \(1, 128, 128\.0\)"),
        ({"compiled_dims": "nkx"}, ValueError, r"compiled_dims: expected letters of 'mnk', got 'nkx'"),
        ({"compiled_dims": None}, TypeError, r"compiled_dims: expected a str, letters of 'mnk', got None"),
        ({"compiled_dims": ["n", "k"]}, TypeError, r"compiled_dims: expected a str, .*, got \['n', 'k'\]"),
        ({"a": A[0]}, TypeError, r"a: expected a pair \(data, scales\), got a bare"),
    ],
)
def test_refusals(calls, change, error, message):
    with pytest.raises(error, match=message):
        deep_gemm.fp8_gemm_nt(**{"a": A, "b": B, "d": D, **change})
    assert not calls


def test_what_cannot_be_turned_is_refused(calls):
    plain = ArrayView(3 << 20, (K, N)), ArrayView(5 << 20, (16, 5), None, "float32")
    with pytest.raises(TypeError, match=r"b: expected arrays that have \.swapaxes, got ArrayView"):
        deep_gemm.fp8_gemm_nn(A, plain, D)


def test_another_recipe_is_refused_by_nvgemm_itself(monkeypatch):
    monkeypatch.setitem(arrays._doors, Matrix, lambda x, name: x)
    with pytest.raises(ValueError, match="recipe: "):
        deep_gemm.fp8_gemm_nt(A, B, D, recipe=(1, 128, 64))


def test_knobs(monkeypatch):
    monkeypatch.setattr(deep_gemm.knobs, "_tc_util", 100)
    limits: list[int | None] = []
    monkeypatch.setattr(nvgemm, "set_num_sms", limits.append)
    monkeypatch.setattr(nvgemm, "get_num_sms", lambda: 131)
    deep_gemm.set_num_sms(66)
    deep_gemm.set_num_sms(0)
    assert (limits, deep_gemm.get_num_sms()) == ([66, None], 131)
    deep_gemm.set_tc_util(40)
    assert deep_gemm.get_tc_util() == 40
    deep_gemm.set_tc_util(0)
    assert deep_gemm.get_tc_util() == 100
    for enabled in (True, False):
        deep_gemm.set_pdl(enabled)
        assert deep_gemm.get_pdl() is nvgemm.get_pdl() is enabled
    deep_gemm.set_ignore_compile_dims(False)
    deep_gemm.set_block_size_multiple_of(1)
    deep_gemm.set_block_size_multiple_of((1, 1))
    deep_gemm.set_block_size_multiple_of(np.int64(1))
    deep_gemm.use_deterministic_algorithms(True)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: deep_gemm.set_ignore_compile_dims(True), NotImplementedError),
        (lambda: deep_gemm.set_block_size_multiple_of((1, 32)), NotImplementedError),
        (lambda: deep_gemm.set_tc_util(101), ValueError),
        (lambda: deep_gemm.set_mk_alignment_for_contiguous_layout(0), ValueError),
        (lambda: deep_gemm.per_token_cast_to_fp8(None, True, use_packed_ue8m0=True), NotImplementedError),
        (lambda: deep_gemm.transform_sf_into_required_layout(A[1], M, K, (1, 128), num_groups=2), ValueError),
        (lambda: deep_gemm.transform_sf_into_required_layout(A[1], M, K, (1, 64), num_groups=2), ValueError),
        (lambda: deep_gemm.transform_sf_into_required_layout(A[1], M, K, (1, 128), is_sfa=True), ValueError),
    ],
)
def test_settings_and_layouts_refuse(call, error):
    with pytest.raises(error):
        call()


@pytest.mark.parametrize("call", [
    lambda: deep_gemm.set_tc_util(None),
    lambda: deep_gemm.set_tc_util("40"),
    lambda: deep_gemm.set_tc_util(40.5),
    lambda: deep_gemm.set_num_sms(None),
    lambda: deep_gemm.set_num_sms(False),
    lambda: deep_gemm.set_block_size_multiple_of(None),
    lambda: deep_gemm.set_block_size_multiple_of((1, None)),
    lambda: deep_gemm.set_block_size_multiple_of(()),
    lambda: deep_gemm.set_block_size_multiple_of((1, 1, 1)),
    lambda: deep_gemm.set_mk_alignment_for_contiguous_layout(None),
    lambda: deep_gemm.transform_sf_into_required_layout(A[1], M, K, 128),
    lambda: deep_gemm.transform_sf_into_required_layout(A[1], M, K, (128,)),
    lambda: deep_gemm.transform_sf_into_required_layout(A[1], M, K, (1, None, 128)),
])  # fmt: skip
def test_what_is_no_number_is_named(call):
    with pytest.raises(TypeError, match=r"^(tc_util|num_sms|multiple_of|new_value|recipe): expected .+, got "):
        call()


def test_scale_layouts_reach_nvgemm(monkeypatch):
    seen = []
    monkeypatch.setattr(nvgemm, "transform_sf_into_required_layout", lambda *args, **kw: seen.append((args, kw)))
    deep_gemm.transform_sf_into_required_layout(A[1], M, K, (1, 128, 128), is_sfa=True, disable_ue8m0_cast=True)
    deep_gemm.transform_sf_into_required_layout(B[1], N, K, (1, 128, 128))
    deep_gemm.transform_sf_into_required_layout(B[1], N, K, (128, 128))
    assert seen == [
        ((A[1], M, K, (1, 128, 128)), {"is_sfa": True}),
        ((B[1], N, K, (1, 128, 128)), {"is_sfa": False}),
        ((B[1], N, K, (128, 128, 128)), {"is_sfa": False}),
    ]
    assert deep_gemm.get_tma_aligned_size(129, 4) == 132
    assert (utils.ceil_div(129, 128), utils.align(129, 128)) == (2, 256)


def test_bytes_are_counted_through_pairs():
    four, two = (SimpleNamespace(numel=lambda: 10, element_size=lambda size=size: size) for size in (4, 2))
    assert measures.count_bytes((four, two), [two], None, four) == 40 + 20 + 20 + 40


def test_the_kernel_is_found_by_its_name_and_by_deep_gemms():
    average = sys.modules["nvgemm.deep_gemm.testing.bench"]._average
    kernels = {"fp8_gemm": (30, 600.0), "transpose_scales": (30, 90.0), "transpose_other": (10, 10.0)}
    for name in ("fp8_gemm", "gemm_", "sm90_fp8_gemm_1d2d_impl"):
        assert average(kernels, name, False) == pytest.approx(20e-6)
    assert average(kernels, "transpose", True) == pytest.approx(2.5e-6)
    assert average(kernels, "nvjet", False) == 0
    with pytest.raises(ValueError, match="'transpose' stands for several kernels"):
        average(kernels, "transpose", False)


def test_output_is_silenced_below_python_too(capfd):
    with measures.suppress_stdout_stderr():
        print("from Python")
        os.write(1, b"from a library\n")
        os.write(2, b"its error\n")
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_conditions_on_tests(monkeypatch, capsys):
    monkeypatch.setenv("DG_SOME", "1")
    seen = []
    note = lambda: seen.append(os.environ.get("DG_SOME"))  # noqa: E731
    note.__name__ = "note"
    measures.ignore_env("DG_SOME", lambda: True)(note)()
    measures.ignore_env("DG_SOME", lambda: False)(note)()
    measures.test_filter(lambda: False)(note)()
    measures.test_filter(lambda: True)(note)()
    assert seen == [None, "1", "1"]
    assert "note: left out" in capsys.readouterr().out


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


INSTALL = "import sys, nvgemm.deep_gemm as ours; ours.install()\n"


def test_install_makes_every_module_importable():
    code = INSTALL + (
        "ours.install()\n"
        "import deep_gemm, deep_gemm.testing.numeric, deep_gemm.utils.layout\n"
        "from deep_gemm.utils import align, per_token_cast_to_fp8\n"
        "from deep_gemm.utils.math import ceil_div\n"
        "from deep_gemm.testing import bench, bench_kineto, calc_diff, count_bytes, get_arch_major\n"
        "from deep_gemm.jit_kernels.utils import get_m_alignment_for_contiguous_layout\n"
        "import importlib.util\n"
        "assert deep_gemm is ours and importlib.util.find_spec('deep_gemm') is not None\n"
        "assert deep_gemm.utils.layout is ours.utils.layout\n"
        "try: import deep_gemm.mega\n"
        "except ModuleNotFoundError: print(deep_gemm.__version__)"
    )
    assert run(code) == f"2.6.1+nvgemm.{nvgemm.__version__}"


def test_install_after_another_deep_gemm_is_refused(tmp_path):
    (tmp_path / "deep_gemm.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import deep_gemm\n"
        "import nvgemm.deep_gemm\n"
        "try: nvgemm.deep_gemm.install()\n"
        "except RuntimeError as error: print(error)"
    )
    message = run(code)
    assert message.startswith(f"install: another deep_gemm is imported already ({tmp_path / 'deep_gemm.py'})")


def test_import_is_light():
    code = (
        INSTALL
        + "import deep_gemm\nprint({'torch', 'cupy', 'numpy', 'ml_dtypes', 'cuda'} & set(sys.modules) or 'light')"
    )
    assert run(code) == "light"


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed: DeepGEMM's quantisers are not tried on the CPU")


def spread(scales: np.ndarray, rows: int, columns: int, shape: tuple[int, int]) -> np.ndarray:
    return scales.repeat(rows, 0).repeat(columns, 1)[: shape[0], : shape[1]]


@pytest.mark.parametrize("use_ue8m0", [False, True])
@pytest.mark.parametrize("shape", [(7, 384), (130, 200), (256, 1), (0, 128), (3, 0)])
@pytest.mark.parametrize(("name", "blocks"), [
    ("per_token", (1, 128)), ("per_token", (1, 32)), ("per_block", (128, 128)), ("per_channel", (128, 1)),
])  # fmt: skip
def test_casts(torch, rng, name, blocks, shape, use_ue8m0):
    if name == "per_channel":
        shape = (shape[0] // 128 * 128, shape[1])
    x = rng.standard_normal(shape).astype(np.float32) * 10
    cast = getattr(utils, f"{name}_cast_to_fp8")
    data, scales = cast(torch.from_numpy(x), use_ue8m0=use_ue8m0, gran_k=max(blocks))
    assert (data.dtype, scales.dtype) == (torch.float8_e4m3fn, torch.float32)
    assert data.is_contiguous()
    assert scales.is_contiguous()
    assert tuple(scales.shape) == (-(-shape[0] // blocks[0]), -(-shape[1] // blocks[1]))
    if 0 in shape:
        return
    tight = spread(scales.numpy(), *blocks, shape)
    expected = reference.encode_e4m3(x * (np.float32(1) / tight))
    np.testing.assert_array_equal(data.view(torch.uint8).numpy(), expected)
    if blocks == (1, 128):
        np.testing.assert_array_equal(scales.numpy(), reference.per_token_cast_to_fp8(x, use_ue8m0=use_ue8m0).scales)
    if blocks == (128, 128):
        np.testing.assert_array_equal(scales.numpy(), reference.per_block_cast_to_fp8(x, use_ue8m0=use_ue8m0).scales)


def test_casts_of_other_types_and_strides(torch):
    x = torch.randn(200, 64).to(torch.bfloat16)
    same = utils.per_token_cast_to_fp8(x.float().T.contiguous(), False)
    turned = utils.per_token_cast_to_fp8(x.T, False)
    assert all(torch.equal(a.float(), b.float()) for a, b in zip(same, turned, strict=True))
    with pytest.raises(ValueError, match="x: expected a multiple of gran_k=128 rows"):
        utils.per_channel_cast_to_fp8(x, False)
    with pytest.raises(ValueError, match="x: expected a matrix, got 3 dimensions"):
        utils.per_block_cast_to_fp8(x[None], False)
    data, scales = utils.per_custom_dims_cast_to_fp8(x.view(2, 100, 64), (0, 2), False)
    assert (tuple(data.shape), tuple(scales.shape)) == ((2, 100, 64), (2, 64))


def test_powers_of_two(torch):
    x = torch.tensor([0.0, 1e-39, 2.0**-126, 1.0, 1.0001, -3.0, 2.0**127, 3e38, float("inf")])
    expected = [2.0**-126] * 3 + [1.0, 2.0, 4.0] + [2.0**127] * 3
    assert utils.math.ceil_to_ue8m0(x).tolist() == expected


def test_measures(torch):
    x = torch.randn(100, 7)
    y = x * 1.01
    assert measures.calc_diff(x, y).item() == pytest.approx(nvgemm.testing.calc_diff(x, y))
    assert measures.calc_diff(x, y).item() == pytest.approx(0.5e-4, rel=0.02)
    assert measures.calc_diff(x * 0, y * 0) == 0
    assert measures.count_bytes((x, x.to(torch.float8_e4m3fn)), [x]) == 700 * 9
    measures.assert_bitwise_equal(x, x.clone())
    y = x.clone()
    y[1, 2] += 1
    with pytest.raises(AssertionError, match="here: 1 of 700 elements differ, first number 9"):
        measures.assert_bitwise_equal(x, y, "here")
    with pytest.raises(AssertionError):
        measures.assert_bitwise_equal(x, x.half())
    with pytest.raises(AssertionError):
        measures.assert_bitwise_equal(torch.zeros(2), -torch.zeros(2))
