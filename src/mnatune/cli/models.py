"""`mnatune models`: registered models, which one serves, and their history."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option("--models", envvar="MNATUNE_MODELS", help="Folder of the registered models.")]
Name = Annotated[str, typer.Argument(help="Name of a model, or the beginning of it.")]
Server = Annotated[str, typer.Option("--server", envvar="MNATUNE_SERVER", help="Address of the running server.")]
HERE = "http://127.0.0.1:8000"
ROOT = Path("models")

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Register, promote, roll back, load and unload trained models."
)


@app.command("list")
def list_models(models: Folder = ROOT) -> None:
    """List the models, oldest first; a star marks the one in production."""
    from ..model.registry import Registry

    registry = Registry(models)
    serving = registry.pointer.model
    known = registry.models()
    if not known:
        typer.echo(f"no model is registered in {models}; next: mnatune models register RUN")
    for model in known:
        mark = "*" if model.name == serving else " "
        lineage = model.lineage
        typer.echo(f"{mark} {model.name}  {model.created}  {model.decision or '-':8}  {lineage.base}  {lineage.run}")
    if not serving:
        typer.echo("the base serves alone")


@app.command("register")
def register_model(
    run: Annotated[Path, typer.Argument(help="Run folder with a trained adapter.")], models: Folder = ROOT
) -> None:
    """Copy a run's adapter into the registry."""
    from ..model.registry import Lineage, Registry
    from ..runs.workspace import Run

    place, registry = Run(run), Registry(models)
    lineage = Lineage.of_run(place, parent=registry.pointer.model)
    recipe = place.root / "recipe.lock.yaml"
    model = registry.register(place.require("train", "adapter"), lineage, recipe=recipe if recipe.is_file() else None)
    typer.echo(f"{model.name} registered; next: mnatune models promote {model.name}")


@app.command()
def show(name: Name, models: Folder = ROOT) -> None:
    """Print a model's lineage: base, parent, run, data, feedback and verdict."""
    import json
    from dataclasses import asdict

    from ..model.registry import Registry
    from ..runs.workspace import read_jsonl

    model = Registry(models).get(name, verify=True)
    facts = {"name": model.name, "adapter_sha256": model.adapter_sha256, "created": model.created}
    items = model.adapter.parent / "feedback.jsonl"
    learned = read_jsonl(items, missing_ok=True)
    typer.echo(json.dumps({**facts, **asdict(model.lineage), "items": learned}, ensure_ascii=False, indent=1))


@app.command()
def promote(
    name: Name,
    models: Folder = ROOT,
    override: Annotated[str, typer.Option(help="Why it may serve although the verdict is not 'promote'.")] = "",
) -> None:
    """Put a model into production; running servers take it up without dropping a request."""
    from ..model.registry import Registry

    model = Registry(models).promote(name, override=override)
    typer.echo(f"{model.name} is in production; back again: mnatune models rollback")


@app.command()
def rollback(models: Folder = ROOT) -> None:
    """Put back what served before the last promotion."""
    from ..model.registry import Registry

    model = Registry(models).rollback()
    typer.echo(f"{model.name} is in production again" if model else "the base serves alone again")


@app.command()
def load(
    name: Name,
    served: Annotated[str, typer.Argument(help="Under which name it is asked for; without it, its own.")] = "",
    server: Server = HERE,
) -> None:
    """Have a running server serve a model beside the others; MNATUNE_KEY holds an administrator's key."""
    from ..runs.errors import UsageError

    if set(name) - set("0123456789abcdef"):
        raise UsageError(f"there is no model {name!r}: a model's name is a hash", next_step="mnatune models list")
    told = _ask_server("PUT", server, served or name, {"model": name})
    typer.echo(
        f"{told['model']} is served as {told['served']}; for one matter alone: mnatune keys wall MATTER {told['served']}"
    )


@app.command()
def unload(
    served: Annotated[str, typer.Argument(help="The name under which it is served.")], server: Server = HERE
) -> None:
    """Have a running server serve a loaded model no more; MNATUNE_KEY holds an administrator's key."""
    _ask_server("DELETE", server, served)
    typer.echo(f"{served} is served no more")


def _ask_server(method: str, server: str, served: str, body: dict[str, str] | None = None) -> dict[str, str]:
    """What the server's administration of models answers.

    Raises:
        UsageError: the server refuses.
        EnvironmentFault: it cannot be reached.
    """
    import os
    from urllib.parse import quote

    import httpx

    from ..runs.errors import EnvironmentFault, UsageError

    key = os.environ.get("MNATUNE_KEY", "")
    url = f"{server.rstrip('/')}/api/admin/models/{quote(served, safe='')}"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        reply = httpx.request(method, url, json=body, headers=headers, timeout=300, trust_env=False)
        told = reply.json() if reply.content else {}
    except (httpx.HTTPError, ValueError) as error:
        raise EnvironmentFault(
            f"the server does not answer: {error}", where=server, next_step="mnatune serve --models"
        ) from error
    if reply.is_error:
        step = "set MNATUNE_KEY to an administrator's key" if reply.status_code in (401, 403) else "mnatune models list"
        raise UsageError(str(told.get("error", {}).get("message", reply.status_code)), where=server, next_step=step)
    return dict(told)
