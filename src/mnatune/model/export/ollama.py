"""A Modelfile whose template gives the model the very tokens that it was trained on.

Ollama renders with Go templates. Every literal of the template stands in quotes inside an action, so that no white
space depends on how the Modelfile is parsed. Ollama puts SYSTEM in front of a dialogue that brings no system turn of
its own, as the API does; consecutive turns of one role it joins by an empty line.

Does not: strip white space from the end of a user turn, which Go templates cannot (training does).
"""

from importlib.resources import files
from pathlib import Path

from ...runs.errors import DataError, UsageError
from ...runs.workspace import atomic_text
from ..chat_format import chat_format
from ..load import load_tokenizer
from .subject import Subject

QUOTES = '"""'
STOPS = ("<|im_end|>", "<|im_start|>", "<|endoftext|>")


def ollama_template() -> str:
    """The Go template."""
    return (files(__package__) / "templates" / "ollama.gotmpl").read_text(encoding="utf-8").strip()


def write_modelfile(subject: Subject, gguf: Path, out: Path, context: int) -> Path:
    """Write a Modelfile beside the GGUF file.

    Args:
        context: tokens of prompt and answer (`num_ctx`).

    Raises:
        DataError: the system prompt holds three quotation marks, which end a Modelfile's text.
    """
    if QUOTES in subject.system:
        raise DataError("the system prompt holds three quotation marks, which a Modelfile cannot", where="prompts.yaml")
    with atomic_text(out) as handle:
        handle.write(modelfile(subject, gguf.name, context))
    return out


def require_qwen3(subject: Subject) -> None:
    """Refuse a family whose dialogues the Go template does not write; looks at the tokenizer alone.

    Raises:
        UsageError: it is another family.
    """
    form = chat_format(load_tokenizer(subject.recipe.model.id, subject.recipe.model.revision))
    if form.policy == "none":
        raise UsageError(
            f"the Modelfile's template is Qwen3's, and this base ends its turns with {form.turn_end}",
            next_step="mnatune export gguf: the file carries the family's own template",
        )


def modelfile(subject: Subject, gguf_name: str, context: int) -> str:
    """The Modelfile's text. `repeat_last_n -1` looks at the whole context, as Transformers' penalty does."""
    generation = subject.recipe.generation
    parameters = {
        "num_ctx": context,
        "num_predict": generation.max_new_tokens,
        "temperature": generation.temperature,
        "top_k": generation.top_k,
        "top_p": generation.top_p,
        "min_p": 0,
        "repeat_penalty": generation.repetition_penalty,
        "repeat_last_n": -1,
    }
    lines = [
        f"FROM ./{gguf_name}",
        f"TEMPLATE {QUOTES}{ollama_template()}{QUOTES}",
        f"SYSTEM {QUOTES}{subject.system}{QUOTES}",
        *(f"PARAMETER {name} {value}" for name, value in parameters.items()),
        *(f'PARAMETER stop "{stop}"' for stop in STOPS),
    ]
    return "\n".join(lines) + "\n"
