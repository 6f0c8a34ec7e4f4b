"""Does the exported model see the same tokens, and say the same, as base and adapter before merging?

Fifty dialogues from the pack, of one to three turns, are rendered as in training and as the export renders them; the
token ids must be equal. Then both models answer greedily. Merging rounds weights, so two tokens whose scores all but
tie may change places: a difference counts as a fault only if the adapter's own scores at that place lie further apart
than the tolerance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...pack import Pack
from ...runs.errors import DataError
from ...runs.workspace import read_jsonl
from ..engine.local import LocalEngine, open_engine
from ..engine.protocol import Answer, Sampling, Task
from ..engine.refusals import Refusal
from ..load import LoadedModel, load_tokenizer
from ..prompt import NO_THINK, Message, common_prefix, dialogue, prompt_ids
from .merged import policy_template
from .subject import Subject

COUNT = 50
ANSWERED = 8  # dialogues answered by both models
NEW_TOKENS = 48
IdsOf = Callable[[list[Message]], list[int]]
TIE = {"torch.float32": 1e-3, "torch.bfloat16": 0.25}  # logits; bf16 keeps 8 bits, and logits are about 10 to 30


@dataclass
class Checked:
    """What was compared: dialogues with equal ids, answers, equal answers, and near-ties among the unequal ones."""

    dialogues: int = 0
    answers: int = 0
    equal_answers: int = 0
    near_ties: int = 0
    faults: list[str] = field(default_factory=list)

    def require(self) -> "Checked":
        """Itself, or `DataError` with the first fault."""
        if self.faults:
            raise DataError(f"the export differs in {len(self.faults)} places: {self.faults[0]}")
        return self


def dialogues(pack: Pack, count: int = COUNT) -> list[list[Message]]:
    """Dialogues from the pack's own questions and answers, of one, two and three turns in turn, always the same.

    The last one ends with /no_think already: the policy must not mark it twice.
    """
    rows = read_jsonl(pack.path("qa.jsonl"))
    made: list[list[Message]] = []
    for number in range(count):
        turns = [rows[(number * 7 + k) % len(rows)] for k in range(number % 3 + 1)]
        history: list[Message] = []
        for row in turns[:-1]:
            history += dialogue(row["question"], "")
            history.append(Message(role="assistant", content=row["answer"]))
        made.append(dialogue(turns[-1]["question"], pack.system_prompt, history))
    made[-1][-1] = Message(role="user", content=f"{made[-1][-1]['content']} {NO_THINK}")
    return made


def check_rendering(tokenizer: Any, asked: Sequence[list[Message]], ids_of: IdsOf) -> Checked:
    """Token ids of training against those of `ids_of`."""
    checked = Checked()
    for number, messages in enumerate(asked):
        wanted, found = prompt_ids(tokenizer, messages), ids_of(messages)
        checked.dialogues += 1
        if wanted != found:
            at = common_prefix((wanted, found))
            near = tokenizer.decode(found[max(0, at - 8) : at + 8])
            checked.faults.append(f"dialogue {number}: other tokens from token {at} on, near {near!r}")
    return checked


def template_ids(tokenizer: Any, template: str) -> IdsOf:
    """Ids as a server makes them from a Jinja template alone, without knowing the policy."""

    def ids(messages: list[Message]) -> list[int]:
        options = {"chat_template": template, "tokenize": False, "add_generation_prompt": True}
        text = tokenizer.apply_chat_template(messages, **options)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return ids


def require_rendering(subject: Subject) -> Checked:
    """What every export rests on: the policy template gives, with the base's tokenizer, the tokens of training.

    Raises:
        DataError: it does not; the base opens an answer otherwise, and its export would be another model.
    """
    tokenizer = load_tokenizer(subject.recipe.model.id, subject.recipe.model.revision)
    ids_of = template_ids(tokenizer, policy_template(tokenizer))
    return check_rendering(tokenizer, dialogues(subject.pack), ids_of).require()


def check_merged(subject: Subject, folder: Path, asked: Sequence[list[Message]], answered: int = ANSWERED) -> Checked:
    """Rendering by the folder's own tokenizer and template, and greedy answers against base and adapter.

    The base is loaded unquantised, as for merging. One model is in memory at a time: base and adapter answer first, then
    the merged one; where the two part, base and adapter are loaded once more for the scores at that place.

    Args:
        asked: dialogues whose rendering is compared.
        answered: how many of them both models answer.
    """
    from transformers import AutoTokenizer

    recipe = subject.recipe
    own = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    shown = asked[:: max(1, len(asked) // answered)][:answered]
    sampling = Sampling.of(recipe.generation, greedy=True)
    sampling = replace(sampling, max_tokens=min(NEW_TOKENS, recipe.generation.max_new_tokens))
    tasks = [Task("", sampling, messages) for messages in shown]

    def tuned() -> LocalEngine:
        return open_engine(recipe.model.id, {"tuned": subject.adapter}, revision=recipe.model.revision)

    with tuned() as engine:
        checked = check_rendering(engine.loaded.tokenizer, asked, template_ids(own, own.chat_template))
        before = engine.answers(tasks)
    with open_engine(str(folder)) as engine:
        after = engine.answers(tasks)
    pairs = [(m, _ids(one), _ids(two)) for m, one, two in zip(shown, before, after, strict=True)]
    checked.answers = len(pairs)
    parted = [pair for pair in pairs if pair[1] != pair[2]]
    checked.equal_answers = len(pairs) - len(parted)
    if parted:
        with tuned() as engine, engine.variant("tuned") as model:
            for messages, one, two in parted:
                if _near_tie(model, messages, one, two):
                    checked.near_ties += 1
                else:
                    checked.faults.append(f"another answer to {messages[-1]['content'][:40]!r}")
    return checked


def _ids(answer: Answer | Refusal) -> list[int]:
    if isinstance(answer, Refusal):
        raise DataError(f"a dialogue of the check cannot be answered: {answer.message}")
    return answer.ids


def _near_tie(model: LoadedModel, messages: list[Message], one: list[int], two: list[int]) -> bool:
    """True if the model's scores of the first two differing tokens all but tie."""
    import torch

    at = common_prefix((one, two))
    if at >= min(len(one), len(two)):
        return False
    ids = torch.tensor([prompt_ids(model.tokenizer, messages) + one[:at]], device=model.device)
    with torch.inference_mode():
        scores = model.causal(input_ids=ids).logits[0, -1].float()
    return float((scores[one[at]] - scores[two[at]]).abs()) <= TIE.get(str(model.causal.dtype), TIE["torch.bfloat16"])
