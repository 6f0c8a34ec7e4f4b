"""LoRA adapters that work side by side in one batch: each row of the batch has its own, or none.

PEFT's own mixed batches go through the adapters one after another in every layer, which with eight adapters costs half the
throughput. Here the weights of a layer's adapters lie in one matrix: two products serve all rows, and between them each row
loses what belongs to other adapters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runs.errors import DataError

if TYPE_CHECKING:
    import torch


def mixes(config: Any) -> bool:
    """Whether an adapter of this PEFT configuration is plain LoRA, so that it can share a batch with others."""
    more = ("use_dora", "modules_to_save", "lora_bias", "target_parameters", "trainable_token_indices")
    plain = str(getattr(config.peft_type, "value", config.peft_type)) == "LORA" and config.bias == "none"
    return plain and not any(getattr(config, name, None) for name in (*more, "alora_invocation_tokens"))


@dataclass
class _Stack:
    """A layer's weights of all adapters, one below another, and to which adapter each of their ranks belongs."""

    down: "torch.Tensor"  # (ranks, in)
    up: "torch.Tensor"  # (out, ranks)
    owner: "torch.Tensor"  # (ranks): the adapter's place
    scale: "torch.Tensor"  # (ranks)

    def change(self, places: "torch.Tensor", inputs: "torch.Tensor") -> "torch.Tensor":
        """What the adapters add to a layer's output; `places` names each row's adapter."""
        from torch.nn.functional import linear

        own = (self.owner == places[:, None]).view(len(places), *[1] * (inputs.dim() - 2), -1)
        narrow = linear(inputs.to(self.down.dtype), self.down) * self.scale
        return linear(narrow.masked_fill(~own, 0.0), self.up)


class MixedAdapters:
    """The adapters of a PEFT model that can share a batch. They change nothing until rows are named.

    Attributes:
        slots: PEFT's names of the adapters that can share a batch.
    """

    def __init__(self) -> None:
        self.slots: list[str] = []
        self._layers: list[Any] = []
        self._places: torch.Tensor | None = None
        self._hooks: list[Any] = []
        self._stale = False

    def take_up(self, model: Any) -> None:
        """Note the adapters that the model has now; they are put together when rows are named."""
        from peft.tuners.lora import LoraLayer

        self._layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        other = {slot for layer in self._layers for slot in layer.lora_embedding_A}
        self.slots = [slot for slot, config in model.peft_config.items() if mixes(config) and slot not in other]
        self._places, self._stale = None, True

    def refuse_spoilt(self, slot: str, adapter: Path) -> None:
        """Refuse weights that are no finite numbers: they would spoil the rows of other adapters.

        Raises:
            DataError: the adapter, which was read from this folder, has such weights.
        """
        for layer in self._layers:
            for held in (layer.lora_A, layer.lora_B):
                if slot in held and not held[slot].weight.isfinite().all():
                    told = "the adapter's weights are no finite numbers"
                    raise DataError(told, where=str(adapter), next_step="train it again")

    def name(self, rows: Sequence[str | None], device: "torch.device") -> None:
        """From now on the rows of a batch have these adapters; PEFT's own are to be off."""
        import torch

        if self._stale:
            self._put_together()
        place = {slot: at for at, slot in enumerate(self.slots)}
        self._places = torch.tensor([place[row] if row else -1 for row in rows], device=device)

    def rest(self) -> None:
        """Change nothing any more."""
        self._places = None

    def _put_together(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for layer in self._layers:
            own = {at: slot for at, slot in enumerate(self.slots) if slot in layer.lora_A}
            if own:
                self._hooks.append(layer.get_base_layer().register_forward_hook(self._hook(_stacked(layer, own))))
        self._stale = False

    def _hook(self, stack: _Stack) -> Any:
        def add(module: Any, inputs: tuple[Any, ...], output: "torch.Tensor") -> "torch.Tensor | None":
            if self._places is None:
                return None
            return (output + stack.change(self._places, inputs[0])).to(output.dtype)

        return add


def _stacked(layer: Any, slots: Mapping[int, str]) -> _Stack:
    """The layer's adapters (place → slot) in one matrix each; PEFT's weights become views of them, so that none is held twice."""
    import torch

    downs = [layer.lora_A[slot].weight for slot in slots.values()]
    ups = [layer.lora_B[slot].weight for slot in slots.values()]
    ranks = [len(down) for down in downs]
    facts = torch.tensor([[at, layer.scaling[slot]] for at, slot in slots.items()], device=downs[0].device)
    owner, scale = facts.repeat_interleave(torch.tensor(ranks, device=downs[0].device), dim=0).unbind(1)
    with torch.inference_mode(False), torch.no_grad():  # PEFT could not switch inference tensors on and off
        stack = _Stack(torch.cat(downs), torch.cat(ups, dim=1), owner.long(), scale.to(downs[0].dtype))
        for own, views in ((downs, torch.split(stack.down, ranks)), (ups, torch.split(stack.up, ranks, dim=1))):
            for weight, view in zip(own, views, strict=True):
                weight.data = view
    return stack
