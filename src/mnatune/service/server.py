"""`mnatune serve`: from options to a running server that drains on SIGTERM and follows promotions."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ..model.engine.echo import EchoEngine
from ..model.engine.protocol import Engine
from ..model.engine.upstream import Upstream, UpstreamEngine
from ..model.registry import RECIPE, Model, Pointer, Registry
from ..pack import Pack
from ..runs.errors import EnvironmentFault, MnatuneError, UsageError
from ..runs.recipe import GenerationSection, Recipe, load_recipe
from ..runs.workspace import Run
from .app import create_app
from .evidence import LawEvidence
from .feedback.sink import FeedbackSink
from .keys import KeyStore
from .model_desk import ModelDesk, PointerFollower
from .page_words import PageWords
from .service import LOOPBACK_HOSTS, Service, Settings

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

log = logging.getLogger(__name__)

PRODUCTION = "production"  # the name that stays while the models behind it change


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `mnatune serve` is told; exactly one of run, registry, upstream and echo says who answers.

    Attributes:
        run: a run folder: its 6-train/adapter over the base of its recipe.lock.yaml.
        registry: a folder of registered models: the promoted one, and each later promotion or rollback.
        base: the base model for `registry` before anything was promoted.
        upstream: an OpenAI-compatible server.
        echo: answer with the question, to try out clients and the page.
        pack: the domain pack whose system prompt is used, unless the recipe of the run or registered model names one.
        feedback: database of the feedback store: a file or URL; empty keeps feedback in memory only.
        keys: the file of API keys; once it holds one, every request needs a key.
        keyless: open a door without any key to this machine; without it `serve` refuses to start before there is one.
        cache_tokens: tokens of all answers in the making; 0 takes what is free after loading.
        adapters: adapters in memory at once.
        evidence: answer with evidence unless a request says otherwise.
        drain_seconds: how long answers in flight may take after SIGTERM.
    """

    run: Path | None = None
    registry: Path | None = None
    base: str = "starter"
    upstream: Upstream | None = None
    echo: bool = False
    pack: str = "mna_ko"
    host: str = "127.0.0.1"
    port: int = 8000
    feedback: str = "feedback.db"
    keys: Path = field(default_factory=lambda: Path("keys.json"))
    keyless: bool = False
    cache_tokens: int = 0
    adapters: int = 8
    evidence: bool = False
    drain_seconds: int = 60


def serve(options: ServeOptions, *, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve until SIGTERM or Ctrl-C; answers in flight are finished first.

    Args:
        ready: called with the address once requests are answered.

    Raises:
        UsageError: no keys although other machines can connect or `keyless` is not said, or not exactly one source of answers.
    """
    if _is_loopback(options.host) and not options.keyless and not KeyStore(options.keys.expanduser()).all():
        raise UsageError(
            "there is no API key, and whoever reaches this machine's port would be let in as administrator",
            next_step=f"{_create(options)}, or say --keyless to try it alone on this machine",
        )
    listening = _listen(options)
    with listening:
        app = build(options)
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{host}:{listening.getsockname()[1]}"
        _server(app, options.drain_seconds, lambda: ready(address)).run(sockets=[listening])
    failure: MnatuneError | None = app.state.failure
    if failure:
        raise failure


def build(options: ServeOptions) -> "FastAPI":
    """The application that the options describe, its model loaded."""
    from .feedback.store import FeedbackStore

    keys = _keys(options)
    source = _source(options)
    recipe = source.recipe
    pack = Pack.load(recipe.pack if recipe else options.pack)
    settings = Settings(
        system=pack.system_prompt,
        generation=recipe.generation if recipe else GenerationSection(),
        title=str(pack.facts.get("title", "mnatune")),
        examples=tuple(str(text) for text in pack.facts.get("examples", ())),
        words=PageWords.of(pack.facts),
        exam=tuple(pack.exam_topics),
        require_keys=keys is not None,
        open_while_keyless=_is_loopback(options.host),
        hosts=LOOPBACK_HOSTS,
        evidence=options.evidence,
    )
    engine, follow, desk = _engine(options, source, settings.generation)
    feedback: FeedbackSink = FeedbackStore(options.feedback or "sqlite://", _mask(pack))
    law = LawEvidence.of(pack)
    app = create_app(engine, feedback, keys, settings, law.memory.checker if law.memory else None, law)
    app.state.follow, app.state.service.desk = follow, desk
    return app


def _keys(options: ServeOptions) -> KeyStore:
    """The key store; it may be empty only where nobody else can connect."""
    store = KeyStore(options.keys.expanduser())
    if store.all():
        return store
    if not _is_loopback(options.host):
        raise UsageError(
            f"serving on {options.host} without API keys would let everybody in",
            next_step=f"{_create(options)}, or --host 127.0.0.1",
        )
    told = "there is no API key: whoever reaches this port is let in as administrator; to change that: %s"
    log.warning(told, _create(options))
    return store


def _create(options: ServeOptions) -> str:
    return f"mnatune keys create NAME --file {options.keys}"


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


@dataclass(frozen=True, slots=True)
class _Source:
    """What the answers are made with, read once; the last two for a registry alone.

    Attributes:
        recipe: how the model was trained and generates; None for an upstream, an echo and a bare base.
        pointer: what the registry says of production.
        model: the model that the pointer names.
    """

    recipe: Recipe | None = None
    pointer: Pointer = field(default_factory=Pointer)
    model: Model | None = None


def _source(options: ServeOptions) -> _Source:
    sources = [options.run, options.registry, options.upstream, options.echo or None]
    if sum(source is not None for source in sources) != 1:
        raise UsageError(
            "say who answers: exactly one of --run, --models, --upstream and --echo",
            next_step="mnatune serve --run runs/x",
        )
    if options.registry:
        registry = Registry(options.registry)
        pointer = registry.pointer
        model = registry.get(pointer.model, verify=True) if pointer.model else None
        kept = model.adapter.parent / RECIPE if model else None
        return _Source(load_recipe(kept) if kept and kept.is_file() else None, pointer, model)
    if options.run is None:
        return _Source()
    lock = options.run / "recipe.lock.yaml"
    if not lock.is_file():
        raise UsageError("not a run folder", where=str(options.run), next_step="mnatune run RECIPE --out runs/x")
    return _Source(load_recipe(lock))


def _engine(
    options: ServeOptions, source: _Source, generation: GenerationSection
) -> tuple[Engine, PointerFollower | None, ModelDesk | None]:
    if options.upstream:
        return UpstreamEngine(replace(options.upstream, new_tokens=generation.max_new_tokens)), None, None
    if options.echo:
        return EchoEngine(pause=0.02), None, None
    from ..model.engine.local import open_engine
    from ..model.engine.scheduler import BatchLimits
    from ..model.load import base_quantization

    recipe, model = source.recipe, source.model
    adapter = Run(options.run).require("train", "adapter") if options.run else model.adapter if model else None
    base = recipe.model.id if recipe else (model.lineage.base if model else "") or options.base
    names = _names(base, PRODUCTION if options.registry else "")
    stated = recipe.train.quantize if recipe else "none"
    engine = open_engine(
        base,
        {names.tuned: adapter} if adapter else {},
        revision=recipe.model.revision if recipe else None,
        quantize=base_quantization(adapter, stated) if adapter else stated,
        name=names.base,
        new_tokens=generation.max_new_tokens,
        limits=BatchLimits(cache_tokens=options.cache_tokens, adapters=options.adapters),
    )
    if options.registry is None:
        return engine, None, None
    registry = Registry(options.registry)
    desk = ModelDesk(registry, engine, frozenset({names.base, names.tuned}))
    desk.take_up()
    return engine, PointerFollower(registry, engine, names.tuned, source.pointer), desk


@dataclass(frozen=True, slots=True)
class Names:
    """Under which names base and tuned are served."""

    base: str
    tuned: str


def _names(model_id: str, tuned: str) -> Names:
    """Under which names clients ask: "starter" and "starter-tuned", or, where promotions are followed, `PRODUCTION`."""
    base = model_id.rstrip("/").rpartition("/")[2] or model_id
    return Names(base, tuned if tuned and tuned != base else f"{base}-tuned")


def _mask(pack: Pack) -> Callable[[str], str]:
    """Replaces personal data by tokens before anything is written."""
    from ..text.personal import Personal

    return Personal(pack.yaml("pii.yaml")).mask


def _listen(options: ServeOptions) -> socket.socket:
    """The listening socket, taken before the model is loaded, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host.strip("[]"), options.port), family=family, backlog=2048)
    except OSError as error:
        raise EnvironmentFault(
            f"port {options.port} of {options.host} cannot be used: {error.strerror}", next_step="choose another --port"
        ) from error


def _server(app: "FastAPI", drain_seconds: int, ready: Callable[[], None]) -> "uvicorn.Server":
    import uvicorn

    from . import connections

    service: Service = app.state.service
    follower: PointerFollower | None = app.state.follow

    class Server(uvicorn.Server):
        """uvicorn that tells the app when draining begins, and follows promotions while it serves."""

        following: asyncio.Task[None] | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if app.state.failure:
                self.should_exit = True
            elif self.started:
                if follower:
                    self.following = asyncio.create_task(follower.run())
                ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            if self.following:
                self.following.cancel()
            await super().shutdown(sockets)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            service.draining = True
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=drain_seconds,
        server_header=False,
        **connections.settings(),
    )
    return Server(config)
