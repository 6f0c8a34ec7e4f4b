"""One folder of plain safetensors: the adapter merged into its base, with template and generation defaults.

The adapter is merged into the base's unquantised weights, also where it was trained on an NF4 or FP8 base: those are
the weights that vLLM puts the adapter on. Where training was quantised, `serve` and `evaluate` here are too: the merged
model then answers nearly, not exactly, as they do.
"""

import json
from collections.abc import Callable, Collection
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...runs.errors import UsageError
from ...runs.recipe import GenerationSection
from ...runs.workspace import atomic_path, file_hash, write_json
from ..chat_format import answer_ends, chat_format, fixed_template
from ..load import attach_adapter, load_base, load_tokenizer, release
from ..memory import memory_faults
from .subject import Subject

TEMPLATE = "chat_template.jinja"
SHARD = "4GB"


def merge(subject: Subject, out: Path, verify: Callable[[Path], object] = lambda folder: None) -> Path:
    """Write the merged model into `out`, which must not exist yet; returns it.

    Args:
        verify: looks at the written folder before it gets its name; if it raises, nothing is left behind. No model is
            in memory then.

    Raises:
        UsageError: `out` holds something.
        DataError: the adapter does not fit the base.
    """
    refuse_existing(out)
    with atomic_path(out) as folder, memory_faults("merging", "close other programs on the GPU"):
        folder.mkdir()
        _write(subject, folder)
        release()
        verify(folder)
    return out


def _write(subject: Subject, folder: Path) -> None:
    model_id, revision = subject.recipe.model.id, subject.recipe.model.revision
    tokenizer = load_tokenizer(model_id, revision)
    tuned = attach_adapter(load_base(model_id, revision), subject.adapter, model_id, revision=revision)
    merged = tuned.merge_and_unload(safe_merge=True)  # safe: refuses weights that are not finite
    ends = answer_ends(merged, tokenizer)
    merged.generation_config = generation_config(subject.recipe.generation, tokenizer, ends)
    merged.save_pretrained(str(folder), max_shard_size=SHARD)
    tokenizer.save_pretrained(str(folder))
    (folder / TEMPLATE).write_text(policy_template(tokenizer), encoding="utf-8")
    config = folder / "tokenizer_config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    if values.pop("chat_template", None) is not None:  # an older inline template: the file beside it is what counts
        write_json(config, values)
    weights = file_hash(subject.adapter / "adapter_model.safetensors")
    facts = {"name": subject.name, "base": model_id, "revision": revision, "adapter_sha256": weights}
    write_json(folder / "mnatune.json", facts | {"thinking": chat_format(tokenizer).policy})
    _write_card(subject, folder)


def _write_card(subject: Subject, folder: Path) -> None:
    """The adapter's card, which names base, data and limits, with a word on what this folder is."""
    card = subject.adapter / "README.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8").replace("library_name: peft", "library_name: transformers")
        note = "어댑터를 기반 모델에 병합한 가중치입니다. `chat_template.jinja`에 사고(think) 정책이 들어 있습니다.\n"
        (folder / "README.md").write_text(f"{text.rstrip()}\n\n{note}", encoding="utf-8")


def policy_template(tokenizer: Any) -> str:
    """The chat template that has the think policy of the tokenizer's family built in."""
    if chat_format(tokenizer).policy == "none":
        return fixed_template(tokenizer)
    return (files(__package__) / "templates" / "policy.jinja").read_text(encoding="utf-8")


def generation_config(generation: GenerationSection, tokenizer: Any, ends: Collection[int]) -> Any:
    """The recipe's sampling as Transformers' `GenerationConfig`."""
    from transformers import GenerationConfig

    sampled = generation.temperature > 0
    sampling = {"temperature": generation.temperature, "top_p": generation.top_p, "top_k": generation.top_k or None}
    return GenerationConfig(
        do_sample=sampled,
        repetition_penalty=generation.repetition_penalty,
        max_new_tokens=generation.max_new_tokens,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
        **(sampling if sampled else {}),
    )


def refuse_existing(out: Path) -> None:
    """An export never writes over anything."""
    if out.exists():
        raise UsageError(f"{str(out)!r} exists already", next_step="choose a new --out, or remove it")
