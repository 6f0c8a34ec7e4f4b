"""`mnatune export`: the tuned model for other servers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runs.errors import UsageError
from .models import ROOT, Folder

if TYPE_CHECKING:
    from ..model.export import Checked, Subject

RunFolder = Annotated[Path | None, typer.Option("--run", help="Run folder whose adapter is exported.")]
Name = Annotated[str, typer.Option("--model", help="Registered model; by default the one in production.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist yet.")]
Check = Annotated[
    bool, typer.Option("--check", help="Tell what was compared: rendering always is, answers of a merged model too.")
]
Context = Annotated[int, typer.Option("--context", min=64, help="Tokens of prompt and answer together.")]
LlamaCpp = Annotated[Path | None, typer.Option("--llama-cpp", help="Checkout of llama.cpp; also $LLAMA_CPP.")]
Kind = Annotated[str, typer.Option("--type", help="Weights: q8_0, bf16, f16 or f32.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write the tuned model for other servers.")


def subject_of(run: Path | None, model: str, models: Path) -> "Subject":
    """The run's adapter or registered model that the options name."""
    from ..model.export import Subject
    from ..model.registry import Registry
    from ..runs.workspace import Run

    if run is not None and model:
        raise UsageError("--run and --model name two different things", next_step="give one of them")
    return Subject.of_run(Run(run)) if run is not None else Subject.of_model(Registry(models), model)


@app.command()
def merged(out: Out, run: RunFolder = None, model: Name = "", models: Folder = ROOT, check: Check = False) -> None:
    """One folder of safetensors, the adapter merged into its base."""
    from ..model.export import check_merged, dialogues, merge

    subject = _rendered(run, model, models)
    if check:
        merge(subject, out, lambda folder: _tell(check_merged(subject, folder, dialogues(subject.pack)).require()))
    else:
        merge(subject, out)
    typer.echo(str(out))


@app.command()
def gguf(
    out: Out,
    run: RunFolder = None,
    model: Name = "",
    models: Folder = ROOT,
    llama_cpp: LlamaCpp = None,
    kind: Kind = "q8_0",
) -> None:
    """A GGUF file for llama.cpp, through llama.cpp's own converter."""
    subject = _rendered(run, model, models)
    typer.echo(str(_gguf(subject, out, kind, llama_cpp)))


@app.command()
def ollama(
    out: Out,
    run: RunFolder = None,
    model: Name = "",
    models: Folder = ROOT,
    llama_cpp: LlamaCpp = None,
    kind: Kind = "q8_0",
    context: Context = 4096,
    check: Check = False,
) -> None:
    """A GGUF file with a Modelfile that gives the model the tokens it was trained on."""
    from ..model.export import require_qwen3, write_modelfile

    subject = _rendered(run, model, models, tell=check)
    require_qwen3(subject)
    file = _gguf(subject, out, kind, llama_cpp)
    modelfile = write_modelfile(subject, file, out / "Modelfile", context)
    typer.echo(f"{modelfile}\nnext: cd {out} && ollama create {subject.name} -f Modelfile")


@app.command()
def vllm(
    out: Out,
    run: RunFolder = None,
    model: Name = "",
    models: Folder = ROOT,
    context: Context = 4096,
    check: Check = False,
) -> None:
    """Launch script, adapter and template for a vLLM server."""
    from ..model.export import write_vllm

    subject = _rendered(run, model, models, tell=check)
    write_vllm(subject, out, context)
    typer.echo(f"{out}\nnext: {out / 'launch.sh'}")


@app.command()
def hub(
    repo: Annotated[str, typer.Argument(help="Repository: owner/name.")],
    run: RunFolder = None,
    model: Name = "",
    models: Folder = ROOT,
    folder: Annotated[Path | None, typer.Option(help="Push this merged folder instead of the adapter.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
) -> None:
    """Push the adapter, or a merged folder, with its card to the Hugging Face hub."""
    import re

    from ..model.export import push

    if not re.fullmatch(r"(?!.*(--|\.\.))[\w-][\w.-]*/[\w-][\w.-]{0,95}", repo, re.ASCII) or repo.endswith((".", "-")):
        step = "owner/name, of letters, digits, '-', '_' and '.'"
        raise UsageError(f"{repo!r} is no repository name", next_step=step)
    typer.echo(push(folder or subject_of(run, model, models).adapter, repo, public=public))


def _rendered(run: Path | None, model: str, models: Path, *, tell: bool = False) -> "Subject":
    """The subject, once its prompts are seen to be rendered as in training; nothing is written before."""
    from ..model.export import require_rendering

    subject = subject_of(run, model, models)
    checked = require_rendering(subject)
    if tell:
        _tell(checked)
    return subject


def _gguf(subject: "Subject", out: Path, kind: str, llama_cpp: Path | None) -> Path:
    from ..model.export import to_gguf
    from ..model.export.gguf import TYPES

    if kind not in TYPES:
        raise UsageError(f"--type is one of {', '.join(TYPES)}, not {kind!r}")
    return to_gguf(subject, out / f"{subject.name}-{kind}.gguf", kind, llama_cpp)


def _tell(checked: "Checked") -> None:
    typer.echo(f"checked: {checked.dialogues} dialogues, token ids equal")
    if checked.answers:
        typer.echo(f"checked: {checked.answers} answers, {checked.equal_answers} equal, {checked.near_ties} near-ties")
