"""What this machine computes on: the one place that asks CUDA for facts.

Tests put a `Device` of their own in the place of `find_device`, so that what is decided for a card can be checked
without one.
"""

import time
from dataclasses import dataclass

GIB = 2**30
# Dense bf16 tensor peak in TFLOP/s, from the vendors' data sheets.
PEAK_TFLOPS = {
    "H200": 989, "H100": 989, "A100": 312, "4090": 165, "5090": 210, "3090": 71, "A6000": 155, "L40S": 362, "L4": 121,
}  # fmt: skip


@dataclass(frozen=True)
class Device:
    """The device that models are put on.

    Attributes:
        kind: "cuda" or "cpu".
        memory_gb: GiB of the card, or of the machine's main memory.
        count: visible cards; 0 on a CPU.
        flash_attention: FlashAttention 2 is installed and can be used.
    """

    kind: str
    name: str
    memory_gb: float
    count: int = 0
    bf16: bool = True
    flash_attention: bool = False

    @property
    def cuda(self) -> bool:
        """True on a GPU."""
        return self.kind == "cuda"

    @property
    def peak_tflops(self) -> float | None:
        """Dense bf16 peak by the data sheet; None for a card that is not listed."""
        return next((float(peak) for key, peak in PEAK_TFLOPS.items() if key in self.name), None)


def find_device() -> Device:
    """The first visible card of this process, or the CPU."""
    import platform

    import psutil
    import torch

    if not torch.cuda.is_available():
        return Device("cpu", platform.machine(), psutil.virtual_memory().total / GIB)
    from transformers.utils import is_flash_attn_2_available

    at = torch.cuda.current_device()
    properties = torch.cuda.get_device_properties(at)
    return Device(
        kind="cuda",
        name=properties.name,
        memory_gb=properties.total_memory / GIB,
        count=torch.cuda.device_count(),
        bf16=torch.cuda.is_bf16_supported(including_emulation=False),
        flash_attention=bool(is_flash_attn_2_available()),
    )


def free_gb() -> float:
    """GiB that are free now, on the card or in main memory."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0]) / GIB
    return float(psutil.virtual_memory().available) / GIB


def measured_tflops() -> float:
    """TFLOP/s of a square bf16 product on this card: stands in for the peak of a card that is not listed."""
    import torch

    size, repeat = 4096, 8
    one = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    one @ one  # the first product also loads the library
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeat):
        one @ one
    torch.cuda.synchronize()
    return 2.0 * size**3 * repeat / (time.perf_counter() - began) / 1e12
