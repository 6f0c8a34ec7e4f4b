"""A tiny random Qwen3 with the starter's tokenizer, and servers on real sockets."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from mnatune.feedback.store import FeedbackStore
from mnatune.models.hf import ChatModel, load_tokenizer
from mnatune.recipe import bundled
from mnatune.stages.serve.app import create_app
from mnatune.stages.serve.engine import EchoEngine, Engine
from mnatune.stages.serve.keys import KeyStore
from mnatune.stages.serve.service import Checker, Service, Settings

TARGETS = ["q_proj", "v_proj", "down_proj"]


@dataclass(frozen=True)
class Live:
    """A server that answers on a real socket."""

    url: str
    service: Service
    store: FeedbackStore

    def gauge(self, name: str) -> float:
        """A metric's value now, read the way Prometheus reads it."""
        lines = self.service.metrics.render().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def make_app(
    engine: Engine | None = None,
    keys: KeyStore | None = None,
    settings: Settings | None = None,
    checker: Checker | None = None,
) -> FastAPI:
    """The app over an echo engine, unless told otherwise, and an empty store."""
    store = FeedbackStore("sqlite://", lambda text: text)
    return create_app(engine or EchoEngine(), store, keys, settings or Settings(system="체계"), checker)


@contextmanager
def live(app: FastAPI) -> Iterator[Live]:
    """The app on a free port of this machine, in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started or not thread.is_alive(), 60)
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    service: Service = app.state.service
    try:
        yield Live(f"http://127.0.0.1:{port}", service, service.feedback)  # type: ignore[arg-type]
    finally:
        server.should_exit = True
        thread.join(20)


def wait_for(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something came true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture
def serve_live() -> Iterator[Callable[[FastAPI], Live]]:
    """Starts servers that end with the test."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(live(app))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer Qwen3 whose answers depend on every token of the prompt."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = load_tokenizer(str(bundled("starter") / "model"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=512,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)  # far from uniform, so that rounding decides no token
    model.save_pretrained(folder)
    return folder


def make_adapter(model: Path, folder: Path, seed: int) -> Path:
    """A random adapter that changes the model's answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=4, target_modules=TARGETS))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    tuned.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two different adapters."""
    place = tmp_path_factory.mktemp("adapters")
    return make_adapter(tiny_model, place / "one", 1), make_adapter(tiny_model, place / "two", 2)


@pytest.fixture
def chat(tiny_model: Path, tiny_adapters: tuple[Path, Path]) -> ChatModel:
    """The tiny model with the first adapter, loaded afresh: engines change what is attached."""
    return ChatModel(str(tiny_model), tiny_adapters[0])
