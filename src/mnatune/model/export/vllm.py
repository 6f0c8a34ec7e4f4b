"""Everything that a vLLM server needs, in one folder: launch script, adapter, and the template with the think policy.

vLLM lives in an environment of its own; nothing is imported from it. Base and tuned model are served under their own
names from one copy of the weights. The template enforces the think policy, so that any client gets the training's
tokens; a gateway that has marked the turns already changes nothing.
"""

import json
import shlex
from pathlib import Path

from ...runs.errors import DataError
from ...runs.workspace import atomic_path
from ..load import load_tokenizer
from ..registry import copy_files
from .merged import TEMPLATE, policy_template, refuse_existing
from .subject import Subject, served_name

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM accepts as --max-lora-rank
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "mnatune.json")
SEQUENCES = 32
GPU_SHARE = 0.9


def write_vllm(subject: Subject, out: Path, context: int) -> Path:
    """Write the folder; returns it.

    Args:
        context: tokens of prompt and answer (`--max-model-len`).

    Raises:
        DataError: vLLM does not serve an adapter of this rank or with these parts.
    """
    refuse_existing(out)
    rank = served_rank(subject.adapter)
    tokenizer = load_tokenizer(subject.recipe.model.id, subject.recipe.model.revision)
    with atomic_path(out) as folder:
        copy_files(subject.adapter, folder / "adapter", ADAPTER_FILES)
        (folder / TEMPLATE).write_text(policy_template(tokenizer), encoding="utf-8")
        launch = folder / "launch.sh"
        launch.write_text(launch_script(subject, rank, context), encoding="utf-8")
        launch.chmod(0o755)
    return out


def served_rank(adapter: Path) -> int:
    """The --max-lora-rank that holds this adapter."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("use_dora") or config.get("modules_to_save"):
        fault = "vLLM serves neither DoRA nor whole trained modules"
        raise DataError(fault, where=str(adapter), next_step="mnatune export merged")
    rank = next((r for r in RANKS if r >= int(config["r"])), None)
    if rank is None:
        raise DataError(f"vLLM serves LoRA up to rank {RANKS[-1]}, not {config['r']}", where=str(adapter))
    return rank


def launch_script(subject: Subject, rank: int, context: int) -> str:
    """launch.sh: `$HOST`, `$PORT` and further options can be given; by default only this machine reaches the server."""
    recipe = subject.recipe
    generation = recipe.generation
    sampling = {
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "top_k": generation.top_k or -1,
        "repetition_penalty": generation.repetition_penalty,
    }
    options = {
        "--served-model-name": f"{served_name(recipe)}-base",
        **({"--revision": recipe.model.revision} if recipe.model.revision else {}),
        "--enable-lora": "",
        "--max-lora-rank": str(rank),
        "--max-model-len": str(context),
        "--max-num-seqs": str(SEQUENCES),
        "--gpu-memory-utilization": str(GPU_SHARE),
        "--dtype": "bfloat16",
        "--generation-config": "vllm",
        "--override-generation-config": json.dumps(sampling),
    }
    written = [f"{name} {shlex.quote(value)}" if value else name for name, value in options.items()]
    lines = " \\\n".join(f"  {option}" for option in written)
    name = shlex.quote(f"{subject.name}=") + '"$here/adapter"'
    return f"""#!/bin/sh
# Serves {served_name(recipe)}-base and {subject.name}. The base's weights come from the local hub cache.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export HF_HUB_OFFLINE="${{HF_HUB_OFFLINE:-1}}" VLLM_NO_USAGE_STATS=1 VLLM_MAX_N_SEQUENCES="${{VLLM_MAX_N_SEQUENCES:-4}}"
exec vllm serve {shlex.quote(recipe.model.id)} \\
{lines} \\
  --chat-template "$here/{TEMPLATE}" \\
  --lora-modules {name} \\
  --host "${{HOST:-127.0.0.1}}" --port "${{PORT:-8000}}" "$@"
"""
