"""The table of training methods, by the name that `train.method` gives."""

from ..method import Method
from .distill import DISTILL
from .dpo import DPO
from .grpo import GRPO
from .kto import KTO
from .sft import SFT

METHODS: dict[str, Method] = {method.name: method for method in (SFT, DPO, KTO, GRPO, DISTILL)}
