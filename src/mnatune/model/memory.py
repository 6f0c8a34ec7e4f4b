"""What a model takes in memory, by arithmetic alone, and what is said when it does not fit.

Parameters follow the Qwen3 architecture; the shapes of the Qwen3 family are built in, so that nothing is downloaded.
Training's own parts (activations, optimizer) are in `stages/train/plan.py`.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..runs.errors import EnvironmentFault
from .load import model_path

GIB = 2**30
BATCH_TOKENS = 16_384  # prompts and answers that evaluation holds at once
LOGITS = 1 << 26  # held at once when continuations are scored
# Bytes per weight of the layers' matrices. nf4 is 4 bits and 0.127 bits of doubly quantised scales (Dettmers et al. 2023,
# QLoRA, arXiv 2305.14314, section 3); embedding, head and norms stay bf16.
BYTES_PER_WEIGHT = {"none": 2.0, "nf4": 0.5 + 0.127 / 8, "fp8": 1.0}
CONTEXT_GIB = 0.7  # CUDA's own context
# config.json of each hub repository: hidden, layers, heads, key-value heads, intermediate, tied embedding
QWEN3 = {
    "Qwen/Qwen3-0.6B": (1024, 28, 16, 8, 3072, True),
    "Qwen/Qwen3-1.7B": (2048, 28, 16, 8, 6144, True),
    "Qwen/Qwen3-4B": (2560, 36, 32, 8, 9728, True),
    "Qwen/Qwen3-8B": (4096, 36, 32, 8, 12288, False),
    "Qwen/Qwen3-14B": (5120, 40, 40, 8, 17408, False),
    "Qwen/Qwen3-32B": (5120, 64, 64, 8, 25600, False),
}


@dataclass(frozen=True)
class Shape:
    """The numbers of a Qwen3-like model that memory and FLOP depend on."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Matrices of one layer: name → (inputs, outputs)."""
        q, k = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, q),
            "k_proj": (self.hidden, k),
            "v_proj": (self.hidden, k),
            "o_proj": (q, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights of all layers' matrices."""
        return self.layers * sum(i * o for i, o in self.linear.values())

    @property
    def embedding_parameters(self) -> int:
        """Embedding, and the head where it is not tied to it."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All parameters, norms included."""
        norms = self.layers * (2 * self.hidden + 2 * self.head_dim) + self.hidden
        return self.linear_parameters + self.embedding_parameters + norms


def shape_of(model_id: str) -> Shape:
    """The model's shape from its configuration, or from the built-in table for the Qwen3 family."""
    path = model_path(model_id)
    if not Path(path).is_dir() and path in QWEN3:
        hidden, layers, heads, kv_heads, intermediate, tied = QWEN3[path]
        return Shape(hidden, layers, heads, kv_heads, 128, intermediate, 151_936, tied)
    from transformers import AutoConfig

    try:
        c = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        fault = f"the configuration of {model_id!r} cannot be loaded"
        raise EnvironmentFault(fault, next_step="mnatune doctor") from error
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    return Shape(
        c.hidden_size, c.num_hidden_layers, c.num_attention_heads, c.num_key_value_heads, head_dim,
        c.intermediate_size, c.vocab_size, bool(c.tie_word_embeddings),
    )  # fmt: skip


def weight_bytes(shape: Shape, quantize: str = "none") -> int:
    """Bytes of the weights: the layers' matrices quantised, everything else in bf16."""
    matrices = shape.linear_parameters
    return round(matrices * BYTES_PER_WEIGHT[quantize] + (shape.parameters - matrices) * 2)


def cache_bytes_per_token(shape: Shape) -> int:
    """Bytes of a token's keys and values in bf16."""
    return 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim


def prefill_bytes_per_token(shape: Shape) -> int:
    """Bytes that reading a prompt holds for a moment per token: the widest point of one layer, its MLP, in bf16."""
    return 2 * (3 * shape.intermediate + 2 * shape.hidden)


def stage_peaks(shape: Shape, quantize: str, trainable: int) -> dict[str, dict[str, int]]:
    """Peak bytes by part of each stage on a GPU that loads the model, training excepted.

    Args:
        trainable: parameters of the adapter, kept in fp32.
    """
    context = round(CONTEXT_GIB * GIB)
    model = {"weights": weight_bytes(shape, quantize), "adapter": 4 * trainable, "context": context}
    answering = {
        "cache": BATCH_TOKENS * cache_bytes_per_token(shape),
        "reading": BATCH_TOKENS * prefill_bytes_per_token(shape),
        "logits": LOGITS * 8,  # in bf16, in fp32 and the row in work
    }
    return {
        "evaluate": model | answering,
        "serve": model | answering,
        "export": {"weights": weight_bytes(shape), "adapter": 4 * trainable, "context": context},
    }


def cache_tokens_in(free: float, shape: Shape) -> int:
    """Tokens whose keys and values fit `free` bytes."""
    return max(0, int(free / cache_bytes_per_token(shape)))


@contextmanager
def memory_faults(doing: str, next_step: str) -> Iterator[None]:
    """Turn CUDA's out-of-memory into a message.

    Args:
        doing: what was going on, as in "training" or "answering the held-out questions".
        next_step: which keys help.

    Raises:
        EnvironmentFault: the card's memory is full.
    """
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        place = str(error).strip().split("\n", 1)[0][:200]
        raise EnvironmentFault(f"the GPU's memory is full: {doing}", where=place, next_step=next_step) from error


def forget_frames(error: BaseException) -> None:
    """Clear the locals of an error's finished frames, and of the errors behind it: they keep a model alive."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
