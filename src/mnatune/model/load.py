"""Loading tokenizers, bases and adapters with Transformers and PEFT, on whatever device there is.

torch and transformers are imported inside the functions: `mnatune --help` and the data stages never load them.
Code from a model repository is never run, and weights are safetensors only.
"""

import gc
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

from ..runs.errors import DataError, EnvironmentFault, UsageError
from ..runs.recipe import bundled
from ..runs.workspace import file_hash, fingerprint, value_hash
from .base_shape import first_line, not_loaded, refuse_unknown_shape
from .chat_format import answer_ends, chat_format, turn_end_id
from .chat_template import try_template
from .mixed_adapters import MixedAdapters
from .quantized import keep_as_quantised, quantization, refuse_old_torchao

STARTER = "starter"
FORBIDDEN_CONFIG_KEYS = ("auto_map", "_attn_implementation_internal")
MIXED = "*"  # in place of a slot: each row has its own adapter
UNKNOWN = "?"  # PEFT changed which adapter is on; the next `activate` sets it


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
                fault = "pickled weights can run code and are refused"
                raise DataError(fault, where=str(file), next_step="convert to safetensors")
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
    """The model's tokenizer, whose chat template and padding are checked; `eos_token` is the family's turn end.

    Raises:
        EnvironmentFault: it is not there.
        DataError: its dialogues cannot be trained, or padding and turn end are one token.
    """
    from transformers import AutoTokenizer

    path = model_path(model_id)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise not_loaded(f"the tokenizer of {model_id!r}", error) from error
    if isinstance(tokenizer.chat_template, str):
        try_template(tokenizer.chat_template, path)
    try:
        form = chat_format(tokenizer)
    except DataError as error:
        raise DataError(error.what, where=path, next_step=error.next_step) from error
    if tokenizer.pad_token_id is None:
        _choose_padding(tokenizer, form.turn_end)
    if tokenizer.pad_token_id in (None, turn_end_id(tokenizer)):
        raise DataError("padding and turn end are the same token: a model trained so never stops", where=path)
    if tokenizer.eos_token != form.turn_end:
        tokenizer.eos_token = form.turn_end  # Gemma names another: trainers and servers stop at this one
    return tokenizer


def _choose_padding(tokenizer: Any, turn_end: str) -> None:
    """Name a control token that ends no turn as padding, for families that name none (Llama)."""
    own = [tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token]
    known = tokenizer.get_added_vocab()
    for text in ("<|finetune_right_pad_id|>", *own):
        if text and text != turn_end and (text in known or text in own):
            tokenizer.pad_token = text
            return


def load_base(model_id: str, revision: str | None = None, *, quantize: str = "none", dtype: str = "auto") -> Any:
    """The base model on the best device of this machine.

    Args:
        quantize: "none", "nf4" (bitsandbytes, double quantisation, bf16 compute; a CPU has kernels for it too) or
            "fp8" (torchao, CUDA only).
        dtype: "auto" is bf16 on CUDA and fp32 on CPU.

    Raises:
        DataError: its weights are damaged.
        EnvironmentFault: it cannot be had, or does not fit this machine.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    cuda = torch.cuda.is_available()
    refuse_old_torchao()
    if quantize == "fp8" and not cuda:
        step = "set train.quantize: none or nf4, or run on a GPU"
        raise EnvironmentFault("train.quantize: fp8 needs a CUDA device", next_step=step)
    wanted = {"auto": torch.bfloat16 if cuda else torch.float32, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    options: dict[str, Any] = {"dtype": wanted, "trust_remote_code": False, "use_safetensors": True}
    if cuda:
        options["device_map"] = {"": torch.cuda.current_device()}
    if quantize != "none":
        options["quantization_config"] = quantization(quantize)
    refuse_unknown_shape(model_path(model_id), revision)
    try:
        model = AutoModelForCausalLM.from_pretrained(model_path(model_id), revision=revision, **options)
    except torch.cuda.OutOfMemoryError as error:
        step = "set train.quantize: nf4, or see mnatune train --plan"
        raise EnvironmentFault(f"{model_id} does not fit the GPU's memory", next_step=step) from error
    except SafetensorError as error:
        raise DataError(
            f"the model's weights are damaged or cut off: {first_line(error)}",
            where=model_id,
            next_step="copy or download the model again",
        ) from error
    except (OSError, ValueError) as error:
        raise not_loaded(f"the model {model_id!r}", error) from error
    keep_as_quantised(model)
    return model


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
    from safetensors import SafetensorError

    check_adapter(adapter, model_id, revision)
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(adapter), adapter_name=name, is_trainable=trainable)
            return model
        return PeftModel.from_pretrained(model, str(adapter), adapter_name=name, is_trainable=trainable)
    except SafetensorError as error:
        raise DataError(
            f"the adapter's weights are damaged or cut off: {first_line(error)}",
            where=str(adapter),
            next_step="copy the adapter again, or train it again",
        ) from error
    except (RuntimeError, ValueError, KeyError) as error:
        raise DataError(f"the adapter does not fit {model_id}: {first_line(error)}", where=str(adapter)) from error


def check_adapter(adapter: Path, model_id: str, revision: str | None = None) -> None:
    """Raise `DataError` for a folder that holds no adapter, could run code, or belongs to another base."""
    refuse_unsafe(adapter)
    config = adapter / "adapter_config.json"
    if not config.is_file() or not (adapter / "adapter_model.safetensors").is_file():
        raise DataError("not an adapter folder (adapter_config.json and adapter_model.safetensors)", where=str(adapter))
    made_for = str(adapter_facts(adapter).get("base_sha256", ""))
    if made_for and not _may_be_same(made_for, base_fingerprint(model_id, revision)):
        step = "give the base it names in mnatune.json"
        raise DataError("the adapter was made for another base model", where=str(adapter), next_step=step)


def base_quantization(adapter: Path, stated: str) -> str:
    """How the base was quantised when this adapter was trained; `stated`, the recipe's word, if the adapter lacks it.

    The two differ where nf4 was chosen to fit `train.memory_gb`.
    """
    return str(adapter_facts(adapter).get("quantize", stated))


def adapter_facts(adapter: Path) -> dict[str, Any]:
    """What training has noted of an adapter in its mnatune.json; empty without it."""
    path = adapter / "mnatune.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


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
    if hub[0] != hub[1]:
        return True
    (one, pin), (other, wanted) = (text.partition("@")[::2] for text in (made_for, base))
    return one == other and (pin == wanted or not (pin and wanted))


class LoadedModel:
    """A base model in memory, and any number of adapters over it: one is on for all rows, or each row has its own.

    Whoever makes one closes it. Attributes of the model itself are those of the causal language model under PEFT's
    wrapping.

    Attributes:
        model_id, revision: the base.
        ends: tokens that end an answer: the turn end, and what the base's own generation settings stop at.
        pad: padding token. context: tokens of prompt and answer at most.
    """

    def __init__(self, model_id: str, revision: str | None = None, *, quantize: str = "none") -> None:
        self.model_id = model_id
        self.revision = revision
        tokenizer = load_tokenizer(model_id, revision)  # first: what cannot be used is refused before weights are read
        self._take(load_base(model_id, revision, quantize=quantize).eval(), tokenizer)

    @classmethod
    def over(cls, model: Any, tokenizer: Any) -> Self:
        """A causal language model that somebody else has loaded and keeps, with the adapters in it as they are."""
        loaded = cls.__new__(cls)
        loaded.model_id, loaded.revision = str(model.config.name_or_path), None
        loaded._take(model, tokenizer)
        return loaded

    def _take(self, model: Any, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.pad = int(tokenizer.pad_token_id)
        self._model = self._causal = model  # PEFT wraps the first; adapters are put into the second
        self.ends = answer_ends(model, tokenizer)
        self.context = int(model.config.max_position_embeddings)
        self._wrapped = False  # by PEFT, with the first adapter
        self._slots = 0
        self._active: str | None = None
        self._rows: tuple[str | None, ...] = ()  # with several adapters at work: each row's
        self._mixed = MixedAdapters()

    @property
    def causal(self) -> Any:
        """The causal language model; adapters that are on work in it."""
        return self._causal

    @property
    def backbone(self) -> Any:
        """The decoder without its LM head: token ids to hidden states."""
        return self.causal.base_model

    @property
    def head(self) -> Any:
        """The LM head: hidden states to logits."""
        return self.causal.get_output_embeddings()

    @property
    def config(self) -> Any:
        """Transformers' configuration of the base."""
        return self._model.config

    @property
    def device(self) -> Any:
        """The torch device that token ids go to."""
        return self._model.device

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes of a token's keys and values in all layers."""
        config = self.config
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        width = int(config.num_hidden_layers * config.num_key_value_heads * size)
        return 2 * width * int(self.causal.dtype.itemsize)

    def new_slot(self) -> str:
        """A name that no adapter has had."""
        self._slots += 1
        return f"slot-{self._slots}"

    def attach(self, adapter: Path, slot: str) -> None:
        """Load an adapter beside those that are there, to be put on by its slot.

        Raises:
            DataError: it is unsafe, broken or made for another base; nothing has changed then.
        """
        try:
            self._model = attach_adapter(self._model, adapter, self.model_id, slot, revision=self.revision).eval()
            self._wrapped, self._active = True, UNKNOWN
            self._mixed.take_up(self._model)
            self._mixed.refuse_spoilt(slot, adapter)
        except BaseException:
            if self._wrapped and slot in self._model.peft_config:  # PEFT keeps what it could not fill
                self.detach(slot)
            raise

    def detach(self, slot: str) -> None:
        """Unload an adapter."""
        others = [name for name in self._model.peft_config if name != slot]
        self.activate(others[0] if others else None)  # PEFT warns where it deletes what is on
        self._model.delete_adapter(slot)
        self._active = UNKNOWN
        self._mixed.take_up(self._model)

    def activate(self, slot: str | None) -> None:
        """Put one adapter on for all rows, or all off."""
        if self._active == slot or not self._wrapped:
            return
        self._mixed.rest()
        if slot is None:
            self._model.base_model.disable_adapter_layers()
        else:
            self._model.base_model.enable_adapter_layers()
            self._model.set_adapter(slot)
        self._active = slot

    def activate_rows(self, slots: Sequence[str | None]) -> None:
        """Give each row of the next batches its own adapter, or none; all of them must be such that `mixes`."""
        if self._active != MIXED or self._rows != tuple(slots):
            if self._active != MIXED:
                self.activate(None)
            self._mixed.name(slots, self.device)
            self._active, self._rows = MIXED, tuple(slots)

    def mixes(self, slot: str | None) -> bool:
        """Whether rows of this adapter can share a batch with others."""
        return slot is None or slot in self._mixed.slots

    def close(self) -> None:
        """Give the memory back."""
        self._model = self._causal = None
        self._mixed = MixedAdapters()
        release()


def release() -> None:
    """Give unreferenced memory, reference cycles included, back to the device, so that the next model finds it free."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
