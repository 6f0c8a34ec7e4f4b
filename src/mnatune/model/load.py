"""Loading and generating with Transformers and PEFT, in process, on whatever device there is.

torch and transformers are imported inside the functions: `mnatune --help` and the data stages never load them.
Code from a model repository is never run, and weights are safetensors only.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from copy import copy
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..runs.errors import DataError, EnvironmentFault, UsageError, missing_extra
from ..runs.recipe import GenerationSection, bundled
from ..runs.workspace import file_hash, fingerprint, value_hash
from .prompt import Message, prompt_ids, turn_end_id

STARTER = "starter"
OLDEST_TORCHAO = (0, 16)
FORBIDDEN_CONFIG_KEYS = ("auto_map", "_attn_implementation_internal")
GREEDY = GenerationSection(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer.

    Attributes:
        text: without special tokens.
        ids: the new tokens, the end token included if it came.
        stopped: True if the model ended its turn by itself within the limit.
    """

    text: str
    ids: list[int]
    stopped: bool


def model_path(model_id: str) -> str:
    """The local folder of `starter`, or the id itself; a local folder is checked by `refuse_unsafe`.

    Raises:
        UsageError: there is no such folder, or the id climbs with "..", which no hub id does.
        DataError: the folder could run code.
    """
    path = str(bundled("starter") / "model") if model_id == STARTER else model_id
    if ".." in Path(path).parts:
        raise UsageError(f"a model path with '..' is refused: {model_id!r}", next_step="write the folder's full path")
    if Path(path).is_dir():
        refuse_unsafe(Path(path))
    elif path.startswith((".", "/", "~")):
        raise UsageError(f"there is no model folder {model_id!r}")
    return path


def refuse_unsafe(folder: Path) -> None:
    """Refuse a model or adapter folder that could run code: pickled weights, or a configuration that names code."""
    for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"):
        for file in folder.glob(pattern):
            if file.name != "training_args.bin":
                raise DataError(
                    "pickled weights can run code and are refused", where=str(file), next_step="convert to safetensors"
                )
    for name in ("config.json", "adapter_config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            try:
                keys = _all_keys(json.loads((folder / name).read_text(encoding="utf-8")))
            except (ValueError, RecursionError) as error:
                raise DataError(f"not a JSON file: {error}", where=str(folder / name)) from error
            for key in keys.intersection(FORBIDDEN_CONFIG_KEYS):
                raise DataError(f"{key!r} in the configuration would run code and is refused", where=str(folder / name))


def _all_keys(tree: Any) -> set[str]:
    """Every key of a JSON value, at any depth; parsed, since an escaped key would not be found in the text."""
    if isinstance(tree, dict):
        return set(tree).union(*(_all_keys(value) for value in tree.values()))
    return set().union(*(_all_keys(value) for value in tree)) if isinstance(tree, list) else set()


def load_tokenizer(model_id: str, revision: str | None = None) -> Any:
    """The model's tokenizer, checked to have a turn end distinct from padding."""
    from transformers import AutoTokenizer

    path = model_path(model_id)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            f"the tokenizer of {model_id!r} cannot be loaded: {_first_line(error)}",
            next_step="check the name and the network (mnatune doctor), or use model.id: starter",
        ) from error
    end = turn_end_id(tokenizer)
    if tokenizer.pad_token_id in (None, end):
        raise DataError("padding and turn end are the same token: a model trained so never stops", where=path)
    return tokenizer


def load_base(model_id: str, revision: str | None = None, *, quantize: str = "none", dtype: str = "auto") -> Any:
    """The base model on the best device of this machine.

    Args:
        quantize: "none", "nf4" (bitsandbytes, double quantisation, bf16 compute; a CPU has kernels for it too) or
            "fp8" (torchao, CUDA only).
        dtype: "auto" is bf16 on CUDA and fp32 on CPU.
    """
    import torch
    from transformers import AutoModelForCausalLM

    cuda = torch.cuda.is_available()
    _refuse_old_torchao()
    if quantize == "fp8" and not cuda:
        raise EnvironmentFault(
            "train.quantize: fp8 needs a CUDA device", next_step="set train.quantize: none or nf4, or run on a GPU"
        )
    wanted = {"auto": torch.bfloat16 if cuda else torch.float32, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    options: dict[str, Any] = {"dtype": wanted, "trust_remote_code": False, "use_safetensors": True}
    if cuda:
        options["device_map"] = {"": torch.cuda.current_device()}
    if quantize != "none":
        options["quantization_config"] = _quantization(quantize)
    try:
        return AutoModelForCausalLM.from_pretrained(model_path(model_id), revision=revision, **options)
    except torch.cuda.OutOfMemoryError as error:
        raise EnvironmentFault(
            f"{model_id} does not fit the GPU's memory",
            next_step="set train.quantize: nf4, or see mnatune train --plan",
        ) from error
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            f"the model {model_id!r} cannot be loaded: {_first_line(error)}",
            next_step="check the name and the network (mnatune doctor), or use model.id: starter",
        ) from error


def attach_adapter(
    model: Any, adapter: Path, model_id: str, name: str = "default", *, revision: str | None = None,
    trainable: bool = False,
) -> Any:  # fmt: skip
    """The base with a LoRA adapter on it; refuses pickles and an adapter that was made for another base.

    A model that carries an adapter already gets this one beside it under `name`; `set_adapter` chooses between them.

    Args:
        revision: of the base, if the recipe pins one.
        trainable: go on training the adapter; by default it is frozen.

    Raises:
        DataError: the folder holds no adapter, could run code, or belongs to another base.
    """
    from peft import PeftModel

    refuse_unsafe(adapter)
    config = adapter / "adapter_config.json"
    if not config.is_file() or not (adapter / "adapter_model.safetensors").is_file():
        raise DataError("not an adapter folder (adapter_config.json and adapter_model.safetensors)", where=str(adapter))
    lineage = adapter / "mnatune.json"
    if lineage.is_file():
        made_for = str(json.loads(lineage.read_text(encoding="utf-8")).get("base_sha256", ""))
        if not _may_be_same(made_for, base_fingerprint(model_id, revision)):
            raise DataError(
                "the adapter was made for another base model",
                where=str(adapter),
                next_step="give the base it names in mnatune.json",
            )
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(adapter), adapter_name=name, is_trainable=trainable)
            return model
        return PeftModel.from_pretrained(model, str(adapter), adapter_name=name, is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError) as error:
        raise DataError(f"the adapter does not fit {model_id}: {_first_line(error)}", where=str(adapter)) from error


@cache
def cache_argument() -> str:
    """The name under which a model's forward takes its key-value cache: Transformers 5.24 made `past_key_values` `cache`.

    Goes when transformers >= 5.24 is required.
    """
    from inspect import signature

    from transformers import Qwen3Model

    return "cache" if "cache" in signature(Qwen3Model.forward).parameters else "past_key_values"


def base_fingerprint(model_id: str, revision: str | None = None) -> str:
    """Hash that identifies a local base (its config, and size and edges of its weights).

    A hub id stands for itself, with the revision if the recipe pins one.
    """
    path = Path(model_path(model_id))
    if not path.is_dir():
        return f"hub:{model_id}@{revision}" if revision else f"hub:{model_id}"
    weights = {p.name: fingerprint(p) for p in sorted(path.glob("*.safetensors"))}
    return value_hash({"config": file_hash(path / "config.json"), "weights": weights})


def _may_be_same(made_for: str, base: str) -> bool:
    """False if two fingerprints tell two bases apart.

    A hub id and a local copy of it cannot be compared, nor can a pinned revision and whatever is the newest.
    """
    hub = made_for.startswith("hub:"), base.startswith("hub:")
    if not made_for or hub[0] != hub[1]:
        return True
    (one, pin), (other, wanted) = (text.partition("@")[::2] for text in (made_for, base))
    return one == other and (pin == wanted or not (pin and wanted))


class ChatModel:
    """A base model, with an adapter or without, that answers dialogues in batches.

    Args:
        adapter: adapter folder; None serves the base alone.
    """

    def __init__(self, model_id: str, adapter: Path | None = None, revision: str | None = None) -> None:
        self.model_id = model_id
        self.revision = revision
        self.adapter = adapter
        self.tokenizer = load_tokenizer(model_id, revision)
        model = load_base(model_id, revision)
        self.model = attach_adapter(model, adapter, model_id, revision=revision) if adapter else model
        self.model.eval()
        self.end = turn_end_id(self.tokenizer)
        self.context = int(self.model.config.max_position_embeddings)
        self._name = "default"

    def beside(self, adapter: Path) -> "ChatModel":
        """Another adapter over the same base in the same memory; each of the two chooses its own when it answers."""
        if self.adapter is None:
            raise UsageError("this model has no adapter", next_step="open it with its first adapter")
        other = copy(self)
        other.adapter, other._name = adapter, f"beside-{len(self.model.peft_config)}"
        attach_adapter(self.model, adapter, self.model_id, other._name, revision=self.revision)
        self.model.eval()
        return other

    @contextmanager
    def variant(self, tuned: bool) -> Iterator[Any]:
        """The underlying model with the adapter on (tuned) or off (base)."""
        if tuned and self.adapter is None:
            raise UsageError("this model has no adapter", next_step="train one, or ask the base")
        if tuned and self.model.active_adapter != self._name:
            self.model.set_adapter(self._name)
        with self.model.disable_adapter() if self.adapter and not tuned else nullcontext():
            yield self.model

    def answer(
        self,
        dialogues: Sequence[Sequence[Message]],
        *,
        tuned: bool = True,
        generation: GenerationSection = GREEDY,
        batch_tokens: int = 8192,
        seed: int = 0,
    ) -> list[Answer]:
        """Answers in the order of the dialogues.

        Prompts are answered in batches of like length (left-padded), at most `batch_tokens` prompt-and-answer tokens
        each, so that little is spent on padding.
        """
        prompts = [prompt_ids(self.tokenizer, d) for d in dialogues]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
        answers: dict[int, Answer] = {}
        with self.variant(tuned) as model:
            while order:
                width = len(prompts[order[0]]) + generation.max_new_tokens
                size = max(1, batch_tokens // width)
                batch, order = order[:size], order[size:]
                found = self._generate(model, [prompts[i] for i in batch], generation, seed)
                for i, answer in zip(batch, found, strict=True):
                    answers[i] = answer
        return [answers[i] for i in range(len(prompts))]

    def _generate(self, model: Any, prompts: list[list[int]], generation: GenerationSection, seed: int) -> list[Answer]:
        import torch

        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
        if generation.temperature > 0:
            torch.manual_seed(seed)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=mask, **generation_options(generation), **self.special_ids()
            )
        return [self._answer(row) for row in out[:, width:].tolist()]

    def special_ids(self) -> dict[str, Any]:
        """End and padding ids for `generate`."""
        return {"eos_token_id": [self.end], "pad_token_id": self.tokenizer.pad_token_id}

    def _answer(self, ids: list[int]) -> Answer:
        stopped = self.end in ids
        kept = ids[: ids.index(self.end) + 1] if stopped else ids
        return Answer(self.tokenizer.decode(kept, skip_special_tokens=True).strip(), kept, stopped)


def generation_options(generation: GenerationSection) -> dict[str, Any]:
    """The recipe's sampling values as keyword arguments of `generate`.

    Every value is given: what is left out, or None, would be filled in from the model's own generation_config.json.
    """
    options: dict[str, Any] = {
        "max_new_tokens": generation.max_new_tokens,
        "repetition_penalty": generation.repetition_penalty,
    }
    if generation.temperature == 0:
        return {**options, "do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {
        **options,
        "do_sample": True,
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "top_k": generation.top_k,
    }


def _quantization(kind: str) -> Any:
    import torch
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if kind == "nf4":
        if find_spec("bitsandbytes") is None:
            raise missing_extra("bitsandbytes", "quantize")
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    if find_spec("torchao") is None:
        raise missing_extra("torchao", "quantize")
    from torchao.quantization import Float8WeightOnlyConfig

    return TorchAoConfig(Float8WeightOnlyConfig())


def _refuse_old_torchao() -> None:
    """PEFT raises at any adapter, quantised base or not, where a torchao before 0.16 is installed."""
    with suppress(PackageNotFoundError):
        found = version("torchao")
        if tuple(int(part) for part in found.split("+")[0].split(".")[:2]) < OLDEST_TORCHAO:
            raise EnvironmentFault(
                f"torchao {found} is installed, and PEFT does not work with one before 0.16",
                next_step="pip install --upgrade 'torchao>=0.16', or pip uninstall torchao",
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
