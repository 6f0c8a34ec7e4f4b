"""CPU-only speed-ups, so that the quickstart and the tests train in minutes. On a GPU nothing here is used.

* `SixteenBitDropout`: torch.nn.Dropout draws 53 random bits for every element, one after another, a fifth of a LoRA
  step; 16 bits are enough. The probability is the recipe's to a 65,536th.
* `EAGER_BELOW`, plain attention for short rows: up to about 200 tokens a step is a tenth faster than with torch's fused attention.

Both leave loss and gradients what they are up to rounding; bench/train.py measures what they pay.
"""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

LEVELS = 1 << 16
EAGER_BELOW = 200  # mean tokens of a row; docs/training.md


class SixteenBitDropout(nn.Dropout):
    """Zeroes elements with probability `p`, rounded to a 65,536th, and scales the others by 1 / (1 - p).

    A subclass of nn.Dropout, so that code which sets `p` of every dropout to 0 (TRL's preference trainers) finds it.
    The bits come from torch's own generator, so a resumed training draws the same masks.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input with elements dropped; unchanged outside training."""
        dropped = round(self.p * LEVELS)
        if not self.training or not dropped:
            return x
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        draws = bits.view(torch.int16)[: x.numel()].view(x.shape)
        keep = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        torch.ge(draws, dropped - LEVELS // 2, out=keep)  # written in x's type: casting a bool mask would cost a pass
        return x * keep.mul_(LEVELS / (LEVELS - dropped))


def cheapen_dropout(model: Any) -> None:
    """Give the adapters of a PEFT model this dropout in place of torch's."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for name, dropout in layer.lora_dropout.items():
                if type(dropout) is nn.Dropout:
                    layer.lora_dropout[name] = SixteenBitDropout(dropout.p)
