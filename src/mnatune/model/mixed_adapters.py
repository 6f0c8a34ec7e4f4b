"""LoRA adapters that work side by side in one batch: each row of the batch has its own, or none.

PEFT's own mixed batches go through the adapters one after another in every layer, which with eight adapters costs half the
throughput. Here the weights of a layer's adapters lie in one tensor, and two batched products serve all rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def mixes(config: Any) -> bool:
    """Whether an adapter of this PEFT configuration is plain LoRA, so that it can share a batch with others."""
    more = ("use_dora", "modules_to_save", "lora_bias", "target_parameters", "trainable_token_indices")
    plain = str(getattr(config.peft_type, "value", config.peft_type)) == "LORA" and config.bias == "none"
    return plain and not any(getattr(config, name, None) for name in (*more, "alora_invocation_tokens"))


@dataclass
class _Stack:
    """A layer's weights of all adapters; the first place is empty, for rows without one."""

    down: "torch.Tensor"  # (adapters, rank, in)
    up: "torch.Tensor"  # (adapters, out, rank)
    scale: "torch.Tensor"  # (adapters, 1, 1)

    def change(self, places: "torch.Tensor", inputs: "torch.Tensor") -> "torch.Tensor":
        """What the adapters add to a layer's output."""
        import torch

        inputs = inputs.to(self.down.dtype)
        whole = inputs if inputs.dim() == 3 else inputs.unsqueeze(1)
        narrow = torch.bmm(whole, self.down[places].transpose(1, 2))
        added = torch.bmm(narrow, self.up[places].transpose(1, 2)) * self.scale[places]
        return added if inputs.dim() == 3 else added.squeeze(1)


class MixedAdapters:
    """The adapters of a PEFT model that can share a batch. They change nothing until rows are named.

    Attributes:
        slots: PEFT's names of the adapters that can share a batch.
    """

    def __init__(self) -> None:
        self.slots: list[str] = []
        self._places: torch.Tensor | None = None
        self._hooks: list[Any] = []

    def build(self, model: Any) -> None:
        """Take up the adapters that the model has now."""
        from peft.tuners.lora import LoraLayer

        for hook in self._hooks:
            hook.remove()
        self._places = None
        layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        other = {slot for layer in layers for slot in layer.lora_embedding_A}
        self.slots = [slot for slot, config in model.peft_config.items() if mixes(config) and slot not in other]
        shared = [layer for layer in layers if any(slot in layer.lora_A for slot in self.slots)]
        self._hooks = [layer.get_base_layer().register_forward_hook(self._hook(layer)) for layer in shared]

    def name(self, rows: Sequence[str | None], device: "torch.device") -> None:
        """From now on the rows of a batch have these adapters; PEFT's own are to be off."""
        import torch

        place = {slot: at for at, slot in enumerate(self.slots, 1)}
        self._places = torch.tensor([place[row] if row else 0 for row in rows], device=device)

    def rest(self) -> None:
        """Change nothing any more."""
        self._places = None

    def _hook(self, layer: Any) -> Any:
        stack = _stacked(layer, self.slots)

        def add(module: Any, inputs: tuple[Any, ...], output: "torch.Tensor") -> "torch.Tensor | None":
            if self._places is None:
                return None
            return (output + stack.change(self._places, inputs[0])).to(output.dtype)

        return add


def _stacked(layer: Any, slots: Iterable[str]) -> _Stack:
    """The layer's adapters in one tensor each, ranks padded with zeros; PEFT's weights become views of them."""
    import torch

    own = {slot: (layer.lora_A[slot], layer.lora_B[slot]) for slot in slots if slot in layer.lora_A}
    down, up = next(iter(own.values()))
    rank = max(one.weight.shape[0] for one, _ in own.values())
    count = 1 + len(list(slots))
    stack = _Stack(
        down.weight.new_zeros(count, rank, down.weight.shape[1]),
        up.weight.new_zeros(count, up.weight.shape[0], rank),
        down.weight.new_zeros(count, 1, 1),
    )
    with torch.no_grad():
        for place, slot in enumerate(slots, 1):
            if slot not in own:
                continue
            size = own[slot][0].weight.shape[0]
            stack.scale[place] = layer.scaling[slot]
            for whole, one in ((stack.down[place, :size], own[slot][0]), (stack.up[place, :, :size], own[slot][1])):
                whole.copy_(one.weight)
                one.weight.data = whole
    return stack
