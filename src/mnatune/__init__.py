"""mnatune: make a Korean M&A, finance and law expert model, and prove that it is better.

Each stage of the journey is a function of the same name:

    import mnatune

    recipe = mnatune.load_recipe("quickstart")
    mnatune.read(recipe, "runs/quickstart")
    mnatune.curate(recipe, "runs/quickstart")

Names are loaded when first used, so that importing mnatune costs nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Some libraries report their use when they are imported. This runs before any of them, and child processes inherit it.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "DAFT_ANALYTICS_ENABLED": "0",
    "DAFT_PROGRESS_BAR": "0",  # mnatune shows its own
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "WANDB_ERROR_REPORTING": "false",
}

if TYPE_CHECKING:
    from .model.engine.local import open_engine
    from .pack import Pack
    from .runs.journey import collect, compose, curate, evaluate, judge, read, report, run, synthesize, train
    from .runs.recipe import Recipe, load_recipe
    from .runs.records import QA, Document, Source, read_qa
    from .runs.workspace import Manifest, Run

__version__ = "0.1.0"

_HOMES = {
    "Document": "runs.records",
    "Manifest": "runs.workspace",
    "Pack": "pack",
    "QA": "runs.records",
    "Recipe": "runs.recipe",
    "Run": "runs.workspace",
    "Source": "runs.records",
    "collect": "runs.journey",
    "compose": "runs.journey",
    "curate": "runs.journey",
    "evaluate": "runs.journey",
    "judge": "runs.journey",
    "load_recipe": "runs.recipe",
    "open_engine": "model.engine.local",
    "read": "runs.journey",
    "read_qa": "runs.records",
    "report": "runs.journey",
    "run": "runs.journey",
    "synthesize": "runs.journey",
    "train": "runs.journey",
}

__all__ = [
    "QA",
    "Document",
    "Manifest",
    "Pack",
    "Recipe",
    "Run",
    "Source",
    "collect",
    "compose",
    "curate",
    "evaluate",
    "judge",
    "load_recipe",
    "open_engine",
    "read",
    "read_qa",
    "report",
    "run",
    "synthesize",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mnatune' has no attribute {name!r}")
