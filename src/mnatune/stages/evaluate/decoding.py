"""Greedy decoding and scoring of choices without waste: answers that have ended leave the batch, and the choices of a
question share the key-value cache of its prompt, as the prompts of a batch share that of what they begin with.

Greedy answers are those that `generate` gives to each prompt alone at the same repetition penalty; only the work is
less. torch is imported inside the functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...model.load import Answer, ChatModel, cache_argument
from ...model.prompt import common_prefix
from ...runs.recipe import GenerationSection
from .likelihood import causal, head


@dataclass(frozen=True, slots=True)
class Decoded:
    """A greedy answer, and the logits of the wanted tokens at its first position."""

    answer: Answer
    first: list[float]


def decode(
    chat: ChatModel,
    prompts: Sequence[list[int]],
    generation: GenerationSection,
    *,
    tuned: bool,
    watched: Sequence[int] = (),
) -> list[Decoded]:
    """Greedy answers to one batch of prompts.

    Args:
        generation: its length limit and repetition penalty count; the rest of its sampling does not.
        watched: tokens whose logits at the first position are wanted, as they are before any penalty.
    """
    import torch

    with chat.variant(tuned), torch.inference_mode():
        state = _prefill(chat, prompts)
        mask = state.mask
        logits = head(chat)(state.hidden)
        first = logits[:, list(watched)].float().tolist() if watched else [[] for _ in prompts]
        new: list[list[int]] = [[] for _ in prompts]
        alive = list(range(len(prompts)))
        position = mask.sum(-1)
        seen = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
        for row, prompt in enumerate(prompts):  # not the padding: no answer may depend on its neighbours
            seen[row, torch.tensor(prompt, device=logits.device)] = True
        for step in range(generation.max_new_tokens):
            token = _penalised(logits, seen, generation.repetition_penalty).argmax(-1)
            seen.scatter_(1, token[:, None], True)
            for row, value in zip(alive, token.tolist(), strict=True):
                new[row].append(value)
            going = [at for at, row in enumerate(alive) if new[row][-1] != chat.end]
            if not going or step + 1 == generation.max_new_tokens:
                break
            if len(going) < len(alive):
                keep = torch.tensor(going, device=token.device)
                state.cache.batch_select_indices(keep)
                token, mask, position, seen = token[keep], mask[keep], position[keep], seen[keep]
                alive = [alive[at] for at in going]
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], -1)
            out = causal(chat).base_model(
                input_ids=token[:, None],
                attention_mask=mask,
                position_ids=position[:, None],
                **{cache_argument(): state.cache},
            )
            logits = head(chat)(out.last_hidden_state[:, -1])
            position = position + 1
    return [Decoded(_answer(chat, row), values) for row, values in zip(new, first, strict=True)]


def _penalised(logits: Any, seen: Any, penalty: float) -> Any:
    """Logits of tokens that stand in prompt or answer already, made less likely as `generate` does it: positive ones
    divided by the penalty, negative ones multiplied (Keskar et al. 2019, CTRL, arXiv 1909.05858, §4.1)."""
    if penalty == 1:
        return logits
    return logits.where(~seen, (logits / penalty).where(logits > 0, logits * penalty))


def choice_costs(
    chat: ChatModel, prompts: Sequence[list[int]], choices: Sequence[Sequence[list[int]]], *, tuned: bool
) -> list[list[float]]:
    """Negative log-likelihood of every choice after its prompt, each prompt read once; one batch.

    Args:
        choices: as many choices for every prompt, as token ids.
    """
    import torch

    each = len(choices[0])
    flat = [choice for row in choices for choice in row]
    width = max(map(len, flat))
    with chat.variant(tuned), torch.inference_mode():
        state = _prefill(chat, prompts)
        state.cache.batch_repeat_interleave(each)
        pad = chat.tokenizer.pad_token_id
        target = torch.tensor([row + [pad] * (width - len(row)) for row in flat], device=state.mask.device)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in flat], device=state.mask.device)
        start = state.mask.sum(-1).repeat_interleave(each)
        hidden = state.hidden[:, None].repeat_interleave(each, 0)
        if width > 1:
            out = causal(chat).base_model(
                input_ids=target[:, :-1],
                attention_mask=torch.cat([state.mask.repeat_interleave(each, 0), real[:, :-1]], -1),
                position_ids=start[:, None] + torch.arange(width - 1, device=state.mask.device),
                **{cache_argument(): state.cache},
            )
            hidden = torch.cat([hidden, out.last_hidden_state], 1)
        wanted = real.bool()
        losses = torch.zeros(real.shape, dtype=torch.float64, device=state.mask.device)
        logits = head(chat)(hidden[wanted]).float()
        losses[wanted] = torch.nn.functional.cross_entropy(logits, target[wanted], reduction="none").double()
        costs = losses.sum(-1).tolist()
    return [costs[at : at + each] for at in range(0, len(costs), each)]


@dataclass
class _State:
    """Prompts that have been read: last hidden state (rows, size), cache, and mask (rows, width) of real tokens."""

    hidden: Any
    cache: Any
    mask: Any


def _prefill(chat: ChatModel, prompts: Sequence[list[int]]) -> _State:
    """Read the prompts of a batch; what all of them begin with, the system prompt above all, is read once."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=causal(chat).config)
    shared = min(common_prefix(prompts), min(map(len, prompts)) - 1) if len(prompts) > 1 else 0  # each keeps one
    if shared:
        opening = torch.tensor([prompts[0][:shared]], device=chat.model.device)
        causal(chat).base_model(input_ids=opening, **{cache_argument(): cache})
        cache.batch_repeat_interleave(len(prompts))
    ids, rest = _left_padded(chat, [prompt[shared:] for prompt in prompts])
    mask = torch.cat([rest.new_ones(len(prompts), shared), rest], -1)
    out = causal(chat).base_model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, shared:],
        **{cache_argument(): cache},
    )
    return _State(out.last_hidden_state[:, -1], cache, mask)


def _left_padded(chat: ChatModel, prompts: Sequence[list[int]]) -> tuple[Any, Any]:
    import torch

    width, pad = max(map(len, prompts)), chat.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=chat.model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=chat.model.device)
    return ids, mask


def _answer(chat: ChatModel, ids: list[int]) -> Answer:
    return Answer(chat.tokenizer.decode(ids, skip_special_tokens=True).strip(), ids, ids[-1:] == [chat.end])
