"""Loading a base with its weights in four or eight bits: what the libraries are told, and where they would go wrong."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from ..runs.errors import EnvironmentFault, missing_extra

OLDEST_TORCHAO = (0, 16)


def quantization(kind: str) -> Any:
    """Transformers' configuration of "nf4" (bitsandbytes) or "fp8" (torchao)."""
    import torch
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if kind == "nf4":
        if find_spec("bitsandbytes") is None:
            raise missing_extra("bitsandbytes", "quantize")
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    if find_spec("torchao") is None:
        raise missing_extra("torchao", "quantize")
    from torchao.quantization import Float8WeightOnlyConfig

    return TorchAoConfig(Float8WeightOnlyConfig())


def keep_as_quantised(model: Any) -> None:
    """Keep bitsandbytes from repacking nf4 weights at the first forward in evaluation mode on a CPU with AVX512-BF16.

    Repacking rounds the scales to bf16: a training that has evaluated would go on over another base than one that is
    resumed.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def refuse_old_torchao() -> None:
    """PEFT raises at any adapter, quantised base or not, where a torchao before 0.16 is installed."""
    with suppress(PackageNotFoundError):
        found = version("torchao")
        if tuple(int(part) for part in found.split("+")[0].split(".")[:2]) < OLDEST_TORCHAO:
            raise EnvironmentFault(
                f"torchao {found} is installed, and PEFT does not work with one before 0.16",
                next_step="pip install --upgrade 'torchao>=0.16', or pip uninstall torchao",
            )
