"""`mnatune serve` and `mnatune keys`: the API with the chat page, and who may use it."""

from pathlib import Path
from typing import Annotated

import typer

from ..runs.errors import UsageError, missing_extra

KeyFile = Annotated[Path, typer.Option("--file", help="The file of keys.")]

KEYS = Path("~/.config/mnatune/keys.json")  # not in the working folder: started elsewhere, a server would stand open
app = typer.Typer(
    help="Create, list and revoke API keys, and set up walls between matters.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def serve(
    run: Annotated[Path | None, typer.Option("--run", help="Run folder: its adapter over its base model.")] = None,
    models: Annotated[Path | None, typer.Option("--models", help="Registry: the promoted model, followed.")] = None,
    base: Annotated[str, typer.Option(help="With --models: the base before anything is promoted.")] = "starter",
    upstream: Annotated[str, typer.Option(help="An OpenAI-compatible server, such as http://127.0.0.1:8001/v1.")] = "",
    upstream_model: Annotated[
        list[str] | None, typer.Option(help="Model of the upstream to serve; tuned first, then base. Repeatable.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A public host that may get prompts as upstream. Repeatable.")
    ] = None,
    echo: Annotated[bool, typer.Option("--echo", help="Answer with the question; for trying things out.")] = False,
    pack: Annotated[str, typer.Option(help="Domain pack for the system prompt, unless a recipe names one.")] = "mna_ko",
    host: Annotated[str, typer.Option(help="Address to listen on; other than loopback needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    feedback: Annotated[str, typer.Option(help="Feedback database: file or URL; empty keeps none.")] = "feedback.db",
    keys: Annotated[Path, typer.Option(help="The file of API keys; with one in it, every request needs a key.")] = KEYS,
    keyless: Annotated[
        bool, typer.Option("--keyless", help="Start without any API key, for this machine alone.")
    ] = False,
    cache_tokens: Annotated[
        int, typer.Option(min=0, help="Tokens of all answers in the making; 0 takes what is free after loading.")
    ] = 0,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Answer with articles unless a request says not to.")
    ] = False,
    adapters: Annotated[
        int, typer.Option(min=1, help="Adapters in memory at once; others are loaded at their next request.")
    ] = 8,
    drain: Annotated[int, typer.Option(min=0, help="Seconds that answers may still take after SIGTERM.")] = 60,
) -> None:
    """Serve the API, the chat page at / and the admin page at /admin."""
    import logging

    try:
        from ..model.engine.upstream import Upstream
        from ..service.server import ServeOptions
        from ..service.server import serve as run_server
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "fastapi", "serve") from error

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    there = Upstream(upstream, tuple(upstream_model or ()), allow_hosts=frozenset(allow_host or ()))
    options = ServeOptions(
        run=run, registry=models, base=base, upstream=there if upstream else None, echo=echo, pack=pack,
        host=host, port=port, feedback=feedback, keys=keys, keyless=keyless, cache_tokens=cache_tokens, evidence=evidence,
        adapters=adapters, drain_seconds=drain,
    )  # fmt: skip
    run_server(options, ready=lambda address: typer.echo(f"serving on {address}"))


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    wall: Annotated[str, typer.Argument(help="The matter it is for, for good: a wall; without it, behind none.")] = "",
    file: KeyFile = KEYS,
    days: Annotated[float, typer.Option(min=0, help="Days until it expires; 0 never.")] = 90.0,
    requests: Annotated[int, typer.Option(min=0, help="Requests per minute; 0 no limit.")] = 60,
    tokens: Annotated[int, typer.Option(min=0, help="Tokens per minute; 0 no limit.")] = 60_000,
    admin: Annotated[bool, typer.Option("--admin", help="May use the admin page.")] = False,
    reviewer: Annotated[
        bool, typer.Option("--reviewer", help="May read and grade in the rating workspace what others were answered.")
    ] = False,
) -> None:
    """Create a key and show it, once."""
    from ..service.keys import KeyStore, KeyTerms

    key, secret = KeyStore(file.expanduser()).create(name, KeyTerms(days, requests, tokens, admin, reviewer, wall))
    typer.echo(secret)
    typer.echo(f"key {key.id} for {name}; it is shown this once and stored as a hash only", err=True)


@app.command("list")
def show(file: KeyFile = KEYS) -> None:
    """List the keys, never the keys themselves, and the walls."""
    import time
    from datetime import UTC, datetime

    from ..service.keys import KeyStore

    store = KeyStore(file.expanduser())
    keys = store.all()
    if not keys:
        typer.echo(f"no key in {file}; next: mnatune keys create NAME")
    for key in keys:
        until = datetime.fromtimestamp(key.expires, UTC).date().isoformat() if key.expires else "never"
        limits = f"{key.requests_per_minute} req/min  {key.tokens_per_minute} tok/min"
        typer.echo(
            f"{key.id}  {key.shown}…  {key.state(time.time()):8}  {key.role:8}  expires {until}  {limits}  {key.name}"
            + (f"  wall {key.wall}" if key.wall else "")
        )
    for wall in store.walls.values():
        documents = f"  documents {wall.documents}" if wall.documents else ""
        typer.echo(f"wall {wall.name}: models {', '.join(wall.models) or 'none'}{documents}")


@app.command("wall")
def set_wall(
    name: Annotated[str, typer.Argument(help="The matter's name.")],
    models: Annotated[
        list[str] | None, typer.Argument(help="Served models that are its own; the first is its default.")
    ] = None,
    documents: Annotated[Path | None, typer.Option(help="A law memory with its documents (mnatune law build).")] = None,
    file: KeyFile = KEYS,
) -> None:
    """Set up a wall, or say anew what is behind it; a running server follows within a second."""
    from ..law import LawIndex
    from ..service.keys import KeyStore, Wall

    if documents is not None and not LawIndex.open(documents).has_documents:
        raise UsageError("this law memory holds no documents", where=str(documents), next_step="mnatune law build")
    folder = str(documents.resolve()) if documents else ""
    KeyStore(file.expanduser()).put_wall(Wall(name, tuple(models or ()), folder))
    typer.echo(f"wall {name}; next: mnatune keys create NAME '{name}'")


@app.command("revoke")
def revoke(key: Annotated[str, typer.Argument(help="The key's id, from the list.")], file: KeyFile = KEYS) -> None:
    """Revoke a key; a running server refuses it within a second."""
    from ..service.keys import KeyStore

    gone = KeyStore(file.expanduser()).revoke(key)
    typer.echo(f"revoked {gone.id} ({gone.name})")
