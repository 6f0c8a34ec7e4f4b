"""A training step of any size without a GPU: FakeTensorMode computes shapes, a dispatch mode counts live storages.

The step is the product's own (`answer_states`, `head_loss`) on Transformers' Qwen3 with PEFT's LoRA under bf16 autocast,
then AdamW. Differences from a GPU: attention is the CPU's flash kernel, which saves what CUDA's does; dropout goes
through `native_dropout`, whose mask takes one byte as on CUDA; workspaces of kernels are not seen.
"""

import contextlib
import math
import warnings
import weakref
from dataclasses import dataclass

import torch
from bitsandbytes.autograd._functions import MatMul4Bit
from bitsandbytes.functional import QuantState
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary
from transformers import Qwen3Config, Qwen3ForCausalLM

from mnatune.model.memory import CONTEXT_GIB, GIB, QWEN3, Shape, shape_of
from mnatune.runs.recipe import TrainSection
from mnatune.stages.train.plan import Needs, memory_parts
from mnatune.stages.train.trainer import answer_states, head_loss

PROMPT = 100  # tokens of a row without loss


@dataclass(frozen=True)
class Case:
    """One training step: a model, rows of a micro-batch, and how they are computed."""

    model: str = "Qwen/Qwen3-8B"
    rows: int = 8
    length: int = 384
    dropout: float = 0.0
    quantize: str = "none"
    checkpointing: bool = False
    packed: bool = False
    prefix: int = 0
    layers: int = 0  # 0 takes the model's


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages alive, and their peak."""

    def __init__(self, scored: int) -> None:
        super().__init__()
        self.now, self.peak, self._scored = 0, 0, scored
        self._seen = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket
        aten = torch.ops.aten
        if name is aten.index and any(i is not None and i.dtype == torch.bool for i in args[1]):
            out = args[0].flatten(0, 1)[: self._scored].clone()  # how many are scored is known here alone
        elif name in (aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index_put):
            out = args[0]
        else:
            out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.count(leaf)
        return out

    def count(self, tensor: torch.Tensor) -> None:
        """Take up a tensor's storage, once."""
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            size = storage.nbytes()
            self._seen[storage] = size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size


class OneByteDropout(torch.nn.Dropout):
    """Dropout as CUDA does it: a mask of one byte per element is kept."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input with elements dropped."""
        return torch.native_dropout(x, self.p, True)[0]


def shape_for(case: Case) -> Shape:
    """The case's shape, with fewer layers if it says so."""
    s = shape_of(case.model)
    layers = case.layers or s.layers
    return Shape(s.hidden, layers, s.heads, s.kv_heads, s.head_dim, s.intermediate, s.vocabulary, s.tied)


def build(case: Case, shape: Shape, train: TrainSection):
    """The model with its adapter, on `meta`."""
    config = Qwen3Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim, tie_word_embeddings=shape.tied, attn_implementation="sdpa",
    )  # fmt: skip
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config).to(torch.bfloat16)
        if case.quantize == "nf4":
            quantized(model)
        lora = LoraConfig(
            r=train.r, lora_alpha=train.alpha, lora_dropout=train.dropout, target_modules=train.targets,
            task_type="CAUSAL_LM",
        )  # fmt: skip
        model = get_peft_model(model, lora)
    if case.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is torch.nn.Dropout:
                setattr(module, name, OneByteDropout(child.p))
    return model.train()


class FourBit(Linear4bit):
    """bitsandbytes' 4-bit layer on a plain parameter, since its own cannot be a fake tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product with the de-quantised weight, as bitsandbytes computes it in training."""
        return MatMul4Bit.apply(x.to(torch.bfloat16), self.weight.t(), None, None, self.quant_state)


def double_quantised(outputs: int, inputs: int) -> QuantState:
    """The quantisation state of an nf4 matrix, of fake tensors."""
    blocks = math.ceil(outputs * inputs / 64)
    inner = QuantState(
        absmax=torch.empty(math.ceil(blocks / 256)), code=torch.empty(256), blocksize=256, dtype=torch.float32
    )
    return QuantState(
        absmax=torch.empty(blocks, dtype=torch.uint8), shape=torch.Size((outputs, inputs)), code=torch.empty(16),
        blocksize=64, quant_type="nf4", dtype=torch.bfloat16, offset=torch.empty(()), state2=inner,
    )  # fmt: skip


def quantized(model) -> None:
    """Put 4-bit layers in the place of the layers' matrices."""
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, child in list(part.named_children()):
                if isinstance(child, torch.nn.Linear):
                    made = FourBit(child.in_features, child.out_features, bias=False,
                                   compute_dtype=torch.bfloat16, quant_type="nf4")  # fmt: skip
                    setattr(part, name, made)


def materialize(model, live: LiveBytes) -> None:
    """Replace what lies on `meta` by fake tensors of the CPU, inside the modes."""
    done: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, old in list(module._parameters.items()):
            if old is None:
                continue
            if isinstance(module, FourBit):
                made = torch.nn.Parameter(torch.empty(old.numel() // 2, 1, dtype=torch.uint8), requires_grad=False)
                module.quant_state = double_quantised(module.out_features, module.in_features)
                for tensor in (module.quant_state.absmax, module.quant_state.state2.absmax):
                    live.count(tensor)
            elif id(old) in done:
                made = done[id(old)]
            else:
                kind = torch.float32 if old.requires_grad else old.dtype
                made = torch.nn.Parameter(torch.empty(old.shape, dtype=kind), requires_grad=old.requires_grad)
                done[id(old)] = made
            module._parameters[name] = made
            live.count(made)
        for name, old in list(module._buffers.items()):
            if old is not None:
                module._buffers[name] = torch.empty(old.shape, dtype=old.dtype)


def batch_of(case: Case) -> dict[str, torch.Tensor]:
    """A micro-batch of rows of equal length."""
    shape = (1, case.rows * case.length) if case.packed else (case.rows, case.length)
    inputs = {"input_ids": torch.zeros(shape, dtype=torch.long), "labels": torch.zeros(shape, dtype=torch.long)}
    if case.packed:
        inputs["position_ids"] = torch.zeros(shape, dtype=torch.long)
    else:
        inputs["attention_mask"] = torch.ones(shape, dtype=torch.long)
    return inputs


def simulate(case: Case) -> dict[str, float]:
    """Plan and simulated peak of one step in GiB, without CUDA's context and the allocator's slack."""
    warnings.simplefilter("ignore")
    shape = shape_for(case)
    train = TrainSection(dropout=case.dropout)
    model = build(case, shape, train)
    scored = case.rows * (case.length - PROMPT)
    live = LiveBytes(scored)
    with contextlib.ExitStack() as modes:
        modes.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        modes.enter_context(live)
        materialize(model, live)
        trainable = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trainable, foreach=False)
        for _ in range(2):  # the second step has the optimizer's moments from its beginning
            with torch.autocast("cpu", torch.bfloat16), disable_input_dtype_casting(model):
                hidden, labels = answer_states(model, batch_of(case), case.prefix)
                total, _ = head_loss(model.get_output_embeddings(), hidden, labels)
            del hidden, labels
            (total / scored).backward()
            del total
            optimizer.step()
            optimizer.zero_grad()
    count = sum(p.numel() for p in trainable)
    tokens = case.rows * (case.length - case.prefix) + case.prefix
    parts = memory_parts(shape, train, count, tokens, case.quantize, Needs(), checkpointing=case.checkpointing)
    planned = (sum(parts.values()) - parts["overhead"]) / GIB
    simulated = live.peak / GIB
    return {
        "planned_gib": round(planned, 3),
        "simulated_gib": round(simulated, 3),
        "ratio": round(planned / simulated, 4),
    }


CASES = {
    "8b 1x205 dropout": Case(rows=1, length=205, dropout=0.1),
    "8b 8x205 dropout": Case(rows=8, length=205, dropout=0.1),
    "8b 8x384": Case(),
    "8b 4x384 dropout": Case(rows=4, dropout=0.1),
    "8b 8x384 checkpointing": Case(checkpointing=True),
    "8b 8x384 checkpointing dropout": Case(checkpointing=True, dropout=0.1),
    "8b 8x384 shared prefix": Case(prefix=48),
    "8b 3072 packed": Case(packed=True),
    "8b nf4 1x384": Case(rows=1, quantize="nf4"),
    "8b nf4 8x384 dropout": Case(quantize="nf4", dropout=0.1),
    "8b nf4 8x384 checkpointing": Case(quantize="nf4", checkpointing=True, dropout=0.1),
    "8b nf4 8x205 shared prefix": Case(length=205, quantize="nf4", prefix=48),
    "14b nf4 4x384": Case("Qwen/Qwen3-14B", rows=4, quantize="nf4", dropout=0.1),
    "14b 2x384": Case("Qwen/Qwen3-14B", rows=2),
    "32b nf4 4x384 checkpointing": Case("Qwen/Qwen3-32B", rows=4, quantize="nf4", checkpointing=True),
}
assert {case.model for case in CASES.values()} <= QWEN3.keys()
assert CONTEXT_GIB > 0
