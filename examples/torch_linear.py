"""An nn.Module in FP8 that takes the place of nn.Linear for inference, on torch's current stream."""

from __future__ import annotations

import sys
from collections.abc import Callable

import nvgemm

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit("torch_linear.py: PyTorch is not installed; pip install torch")

BATCH, TOKENS, IN_FEATURES, OUT_FEATURES = 2, 2048, 4096, 14336  # gate projection of an 8-billion-parameter Llama


class Fp8Linear(nn.Module):
    """The inference of an `nn.Linear` with quantised weights; ``out_features % 8 == 0``, ``in_features % 16 == 0``.

    Keep its dtypes: ``module.to(device)`` is fine, ``module.to(torch.float16)`` would convert the scales as well.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        quantized = nvgemm.per_block_cast_to_fp8(linear.weight.detach())  # [out_features, in_features]
        self.register_buffer("weight", quantized.data)
        self.register_buffer("weight_scales", quantized.scales)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().to(torch.bfloat16))

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """BF16, FP16 or FP32 [..., in_features] to BF16 [..., out_features]."""
        a = nvgemm.per_token_cast_to_fp8(x.reshape(-1, x.shape[-1]))
        y = nvgemm.fp8_gemm_nt(a, (self.weight, self.weight_scales))
        if self.bias is not None:
            y += self.bias
        return y.view(*x.shape[:-1], y.shape[-1])


def microseconds(call: Callable[[], object], repeats: int = 50) -> float:
    """Device time of one call, of many back to back."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for _ in range(repeats):  # warm up: an idle GPU runs at a low clock
        call()
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return 1e3 * start.elapsed_time(end) / repeats


@torch.no_grad()
def run() -> None:
    linear = nn.Linear(IN_FEATURES, OUT_FEATURES, device="cuda", dtype=torch.bfloat16)
    layer = Fp8Linear(linear)
    x = torch.randn(BATCH, TOKENS, IN_FEATURES, device="cuda", dtype=torch.bfloat16)

    y, ref = layer(x), linear(x)  # the first call of a shape compiles its kernels, unless they are cached
    error = float((y.float() - ref.float()).norm() / ref.float().norm())
    print(f"[{BATCH}, {TOKENS}, {IN_FEATURES}] -> {list(y.shape)} {y.dtype}")
    print(f"error {error:.2%} against the BF16 layer")
    if not error < 0.05:  # two roundings to E4M3 leave about 3.7 % on such data
        sys.exit("torch_linear.py: the result is wrong, its error is above 5 %")
    fp8, bf16 = microseconds(lambda: layer(x)), microseconds(lambda: linear(x))
    print(f"time {fp8:.1f} µs a call with quantising x and adding the bias; the BF16 layer {bf16:.1f} µs")


def main() -> None:
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0):
        sys.exit("torch_linear.py: needs a Hopper GPU (compute capability 9.0), and found none")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # any stream: what is current when the layer is called, is what it runs on
        run()
    side.synchronize()


if __name__ == "__main__":
    main()
