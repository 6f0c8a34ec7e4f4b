"""Answers of a bare base, kept beside the runs: a second run over the same base and questions need not ask them again.

They lie in `base-answers/` in the folder that holds the run, one file for each set of questions, and may be removed at
any time. A file is found by the hash of everything that decides an answer: the base's weights, quantisation and
number format, the machine's kind of device, every prompt as token ids, the sampling, the engine's code and the
versions of what computes. If any of it differs, the base is asked.

Does not: keep answers of adapters or served models, or likelihoods, which one forward pass gives.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...model.engine.protocol import Answer, Sampling
from ...model.load import LoadedModel, model_path
from ...runs.workspace import atomic_text, code_hash, file_hash, value_hash

FOLDER = "base-answers"
COMPUTING = ("torch", "transformers", "tokenizers", "peft", "bitsandbytes", "torchao")


@dataclass
class BaseAnswers:
    """The kept answers of one base in this process.

    Attributes:
        folder: where they lie.
        identity: what decides an answer besides the question and the sampling; None: the base cannot be told from
            another, so nothing is kept.
        reused: how many were found.
    """

    folder: Path
    identity: Mapping[str, Any] | None
    reused: int = field(default=0)

    def key(
        self, prompts: Mapping[str, Sequence[int]], sampling: Mapping[str, Sampling], watched: Sequence[int]
    ) -> str:
        """Hash of a set of questions under this identity.

        Args:
            prompts: token ids by question id; order and company count, since a batch of another width adds floats in
                another order.
            sampling: by question id.
            watched: tokens whose logits are wanted.
        """
        asked = [[name, list(ids), asdict(sampling[name])] for name, ids in prompts.items()]
        return value_hash([self.identity, asked, list(watched)])

    def find(self, key: str) -> dict[str, Answer] | None:
        """The answers by question id, if all are there; a file that cannot be read counts as none."""
        if self.identity is None:
            return None
        try:
            rows = [json.loads(line) for line in self._path(key).read_text(encoding="utf-8").splitlines()]
            found = {row.pop("id"): Answer(**row) for row in rows}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self.reused += len(found)
        return found

    def keep(self, key: str, found: Mapping[str, Answer]) -> None:
        """Write a complete set; where nothing can be written, nothing is kept."""
        if self.identity is None:
            return
        try:
            with atomic_text(self._path(key)) as handle:
                for name, answer in found.items():
                    handle.write(json.dumps({"id": name, **asdict(answer)}, ensure_ascii=False) + "\n")
        except OSError:
            return

    def _path(self, key: str) -> Path:
        return self.folder / f"{key[:40]}.jsonl"


def base_identity(loaded: LoadedModel, quantize: str) -> dict[str, Any] | None:
    """What decides a loaded base's answers besides questions and sampling; None if its weights have no name.

    A local folder is named by the hash of its files, a model of the hub by the commit that was loaded.
    """
    import torch

    folder = Path(model_path(loaded.model_id))
    commit = getattr(loaded.config, "_commit_hash", None)
    if folder.is_dir():
        files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.jinja")])
        weights: Any = {file.name: file_hash(file) for file in files}
    elif commit:
        weights = f"{loaded.model_id}@{commit}"
    else:
        return None
    cuda = loaded.device.type == "cuda"
    return {
        "weights": weights,
        "quantize": quantize,
        "dtype": str(loaded.causal.dtype),
        "device": torch.cuda.get_device_name(loaded.device) if cuda else f"{loaded.device.type} {platform.machine()}",
        "code": code_hash("model"),
        "versions": {name: _version(name) for name in COMPUTING},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
