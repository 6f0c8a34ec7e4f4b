"""`mnatune serve` and `mnatune keys`: the API with the chat page, and who may use it."""

from pathlib import Path
from typing import Annotated

import typer

from ..runs.errors import missing_extra

KeyFile = Annotated[Path, typer.Option("--file", help="The file of keys.")]

KEYS = Path("~/.config/mnatune/keys.json")  # not in the working folder: started elsewhere, a server would stand open
app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True, rich_markup_mode=None)


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
        drain_seconds=drain,
    )  # fmt: skip
    run_server(options, ready=lambda address: typer.echo(f"serving on {address}"))


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
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

    key, secret = KeyStore(file.expanduser()).create(name, KeyTerms(days, requests, tokens, admin, reviewer))
    typer.echo(secret)
    typer.echo(f"key {key.id} for {name}; it is shown this once and stored as a hash only", err=True)


@app.command("list")
def show(file: KeyFile = KEYS) -> None:
    """List the keys, never the keys themselves."""
    import time
    from datetime import UTC, datetime

    from ..service.keys import KeyStore

    keys = KeyStore(file.expanduser()).all()
    if not keys:
        typer.echo(f"no key in {file}; next: mnatune keys create NAME")
    for key in keys:
        until = datetime.fromtimestamp(key.expires, UTC).date().isoformat() if key.expires else "never"
        role = "admin" if key.admin else "reviewer" if key.reviewer else "user"
        limits = f"{key.requests_per_minute} req/min  {key.tokens_per_minute} tok/min"
        state = key.state(time.time())
        typer.echo(f"{key.id}  {key.shown}…  {state:8}  {role:8}  expires {until}  {limits}  {key.name}")


@app.command("revoke")
def revoke(key: Annotated[str, typer.Argument(help="The key's id, from the list.")], file: KeyFile = KEYS) -> None:
    """Revoke a key; a running server refuses it within a second."""
    from ..service.keys import KeyStore

    gone = KeyStore(file.expanduser()).revoke(key)
    typer.echo(f"revoked {gone.id} ({gone.name})")
