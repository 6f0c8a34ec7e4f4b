"""Pushing a model folder with its card to the Hugging Face hub, privately unless said otherwise.

Does not: decide whether the training data's terms allow publication. The card states the sources; you decide.
"""

from pathlib import Path
from typing import Any

from ...runs.errors import DataError, EnvironmentFault
from ..load import refuse_unsafe

PUSHED = ("*.safetensors", "*.json", "*.jinja", "README.md", "*.txt")


def push(folder: Path, repo: str, *, public: bool = False, hub: Any = None) -> str:
    """Push a merged or adapter folder; returns its address.

    Args:
        hub: what stands for `huggingface_hub.HfApi` in tests.

    Raises:
        DataError: the folder has no card, or pickled weights.
        EnvironmentFault: no token, no network, or the hub refuses.
    """
    refuse_unsafe(folder)
    if not (folder / "README.md").is_file():
        raise DataError("a model is pushed with its card (README.md)", where=str(folder))
    if hub is None:
        from huggingface_hub import HfApi

        hub = HfApi()
    try:
        hub.create_repo(repo, private=not public, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repo, folder_path=str(folder), allow_patterns=list(PUSHED), commit_message="Upload by mnatune"
        )
    except Exception as error:  # the hub's client raises those of an HTTP client that is not ours to name
        reason = str(error).strip().split("\n", 1)[0]
        raise EnvironmentFault(f"the hub refused: {reason}", next_step="hf auth login, and check the name") from error
    return str(getattr(done, "commit_url", "") or f"https://huggingface.co/{repo}")
