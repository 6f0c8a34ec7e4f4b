"""The reference: Transformers' own `generate`, one prompt at a time."""

import torch

from mnatune.model.engine.protocol import Answer
from mnatune.model.load import LoadedModel
from mnatune.model.prompt import Message, prompt_ids


def generated(model: LoadedModel, messages: list[Message], limit: int, penalty: float = 1.0) -> Answer:
    """The greedy answer; sampling values are given as None, else the model's generation_config.json would fill them."""
    ids = prompt_ids(model.tokenizer, messages)
    with torch.inference_mode():
        out = model.causal.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=limit,
            repetition_penalty=penalty,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=sorted(model.ends),
            pad_token_id=model.pad,
        )
    new = out[0, len(ids) :].tolist()
    return Answer(model.tokenizer.decode(new, skip_special_tokens=True).strip(), new, new[-1] in model.ends)
