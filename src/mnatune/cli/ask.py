"""`mnatune ask` and `mnatune chat`: talk to the model of a run."""

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..model.load import ChatModel
    from ..model.prompt import Message
    from ..runs.recipe import Recipe

RunFolder = Annotated[Path, typer.Option("--run", help="Run folder whose model answers.")]
Base = Annotated[bool, typer.Option("--base", help="Ask the base model instead of the tuned one.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(ask)
    app.command()(chat)


def open_model(run: Path) -> "tuple[Recipe, ChatModel, str]":
    """Recipe, model and system prompt of a run.

    Raises:
        UsageError: the run has no trained adapter yet.
    """
    from ..model.load import ChatModel
    from ..pack import Pack
    from ..runs.recipe import load_recipe
    from ..runs.workspace import Run

    place = Run(run)
    adapter = place.require("train", "adapter")
    recipe = load_recipe(run / "recipe.lock.yaml")
    model = ChatModel(recipe.model.id, adapter, recipe.model.revision)
    return recipe, model, Pack.load(recipe.pack).system_prompt


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    run: RunFolder,
    base: Base = False,
    greedy: Annotated[bool, typer.Option("--greedy", help="The most likely answer instead of a sampled one.")] = False,
) -> None:
    """Ask one question and print the answer."""
    from ..model.prompt import dialogue
    from ..runs.errors import UsageError

    if not question.strip():
        raise UsageError("the question is empty")
    recipe, model, system = open_model(run)
    generation = recipe.generation.model_copy(update={"temperature": 0.0}) if greedy else recipe.generation
    answers = model.answer([dialogue(question, system)], tuned=not base, generation=generation, seed=recipe.seed)
    typer.echo(answers[0].text)


def chat(run: RunFolder, base: Base = False) -> None:
    """Talk in the terminal; /new begins a new dialogue, /quit ends."""
    recipe, model, system = open_model(run)
    typer.echo("질문을 입력하십시오. /new 새 대화, /quit 끝내기")
    history: list[Message] = []
    for turn in count():
        try:
            question = typer.prompt(">", prompt_suffix=" ").strip()
        except typer.Abort:
            return
        if question == "/quit":
            return
        if question == "/new":
            history = []
            continue
        room = model.context - recipe.generation.max_new_tokens
        turns = within(model.tokenizer, question, system, history, room)
        text = model.answer([turns], tuned=not base, generation=recipe.generation, seed=recipe.seed + turn)[0].text
        typer.echo(text)
        history += [{"role": "user", "content": question}, {"role": "assistant", "content": text}]


def within(tokenizer: Any, question: str, system: str, history: "list[Message]", room: int) -> "list[Message]":
    """The dialogue with this question; the oldest turns are taken out of `history` until it has at most `room` tokens.

    The question itself is never cut.
    """
    from ..model.prompt import dialogue, prompt_ids

    while history and len(prompt_ids(tokenizer, dialogue(question, system, history))) > room:
        del history[:2]
    return dialogue(question, system, history)
