"""Dropout for CPUs, where drawing the masks takes a fifth of a LoRA step.

torch.nn.Dropout draws 53 random bits for every element, one after another; 16 are enough to decide. The probability is
that of the recipe to a 65,536th. The bits come from torch's own generator, so a resumed training draws the same masks.
"""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

LEVELS = 1 << 16


class SixteenBitDropout(nn.Dropout):
    """Zeroes elements with probability `p`, rounded to a 65,536th, and scales the others by 1 / (1 - p).

    A kind of nn.Dropout, so that who sets `p` of all dropouts to 0 (TRL's preference trainers) finds it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input with elements dropped; unchanged outside training."""
        dropped = round(self.p * LEVELS)
        if not self.training or not dropped:
            return x
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        draws = bits.view(torch.int16)[: x.numel()].view(x.shape)
        keep = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        torch.ge(draws, dropped - LEVELS // 2, out=keep)  # at once in x's type: a mask of bools would be cast in a pass
        return x * keep.mul_(LEVELS / (LEVELS - dropped))


def cheapen_dropout(model: Any) -> None:
    """Give the adapters of a PEFT model this dropout in place of torch's."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for name, dropout in layer.lora_dropout.items():
                if type(dropout) is nn.Dropout:
                    layer.lora_dropout[name] = SixteenBitDropout(dropout.p)
