"""`mnatune ask` and `mnatune chat`: talk to the model of a run."""

import asyncio
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..runs.errors import EnvironmentFault, UsageError
from ..runs.output_language import say as in_language

if TYPE_CHECKING:
    from ..model.engine.local import LocalEngine
    from ..model.engine.protocol import Engine, Sampling
    from ..model.prompt import Message
    from ..runs.recipe import Recipe

RunFolder = Annotated[Path, typer.Option("--run", help="Run folder whose model answers.")]
Base = Annotated[bool, typer.Option("--base", help="Ask the base model instead of the tuned one.")]


def open_run(run: Path) -> "tuple[Recipe, LocalEngine, str]":
    """Recipe, engine (models "tuned" and "base") and system prompt of a run.

    Raises:
        UsageError: the run has no trained adapter yet.
    """
    from ..model.engine.local import open_engine
    from ..model.load import base_quantization
    from ..pack import Pack
    from ..runs.recipe import load_recipe
    from ..runs.workspace import Run

    adapter = Run(run).require("train", "adapter")
    recipe = load_recipe(run / "recipe.lock.yaml")
    model = recipe.model
    kind = base_quantization(adapter, recipe.train.quantize)
    engine = open_engine(model.id, {"tuned": adapter}, revision=model.revision, quantize=kind)
    return recipe, engine, Pack.load(recipe.pack).system_prompt


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    run: RunFolder,
    base: Base = False,
    greedy: Annotated[bool, typer.Option("--greedy", help="The most likely answer instead of a sampled one.")] = False,
) -> None:
    """Ask one question; the answer is printed as it is written."""
    from ..model.engine.protocol import Sampling
    from ..model.prompt import dialogue

    if not question.strip():
        raise UsageError("the question is empty")
    recipe, engine, system = open_run(run)
    with engine:
        say(engine, base, dialogue(question, system), Sampling.of(recipe.generation, greedy=greedy, seed=recipe.seed))


def chat(run: RunFolder, base: Base = False) -> None:
    """Talk in the terminal; /new begins a new dialogue, /quit ends."""
    from ..model.engine.protocol import Sampling

    recipe, engine, system = open_run(run)
    typer.echo(
        in_language("ask a question; /new new dialogue, /quit end", "질문을 입력하십시오. /new 새 대화, /quit 끝내기")
    )
    history: list[Message] = []
    with engine:
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
            room = engine.loaded.context - recipe.generation.max_new_tokens
            turns = within(engine.loaded.tokenizer, question, system, history, room)
            text = say(engine, base, turns, Sampling.of(recipe.generation, seed=recipe.seed + turn))
            history += [{"role": "user", "content": question}, {"role": "assistant", "content": text}]


def say(engine: "Engine", base: bool, messages: "list[Message]", sampling: "Sampling") -> str:
    """Print an answer as it is written; returns it.

    Raises:
        UsageError: the model cannot take the dialogue.
        EnvironmentFault: the engine failed.
    """
    from ..model.engine.protocol import Task
    from ..model.engine.refusals import Refusal

    async def talk() -> str:
        await engine.start()
        try:
            stream = await engine.open(Task("base" if base else "tuned", sampling, messages))
            text = ""
            async for piece in stream.pieces:
                typer.echo(piece.text, nl=False)
                text += piece.text
            typer.echo()
            return text
        finally:
            await engine.stop()

    try:
        return asyncio.run(talk())
    except Refusal as refusal:
        if refusal.status >= 500:
            raise EnvironmentFault(refusal.message) from refusal
        raise UsageError(refusal.message, next_step="shorten the question, or begin anew with /new") from refusal


def within(tokenizer: Any, question: str, system: str, history: "list[Message]", room: int) -> "list[Message]":
    """The dialogue with this question; the oldest turns are taken out of `history` until it has at most `room` tokens.

    The question itself is never cut.
    """
    from ..model.prompt import dialogue, prompt_ids

    while history and len(prompt_ids(tokenizer, dialogue(question, system, history))) > room:
        del history[:2]
    return dialogue(question, system, history)
