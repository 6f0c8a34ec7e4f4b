"""mnatune: make a Korean M&A, finance and law expert model, and prove that it is better.

Each stage of the journey is a function of the same name:

    import mnatune

    recipe = mnatune.load_recipe("quickstart")
    mnatune.read(recipe, "runs/quickstart")
    mnatune.curate(recipe, "runs/quickstart")

Names are loaded when first used, so that importing mnatune costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .journey import collect, compose, curate, evaluate, judge, read, report, run, synthesize, train
    from .models.hf import ChatModel
    from .pack import Pack
    from .recipe import Recipe, load_recipe
    from .records import QA, Document, Source, read_qa
    from .workspace import Manifest, Run

__version__ = "0.1.0"

_HOMES = {
    "ChatModel": "models.hf",
    "Document": "records",
    "Manifest": "workspace",
    "Pack": "pack",
    "QA": "records",
    "Recipe": "recipe",
    "Run": "workspace",
    "Source": "records",
    "collect": "journey",
    "compose": "journey",
    "curate": "journey",
    "evaluate": "journey",
    "judge": "journey",
    "load_recipe": "recipe",
    "read": "journey",
    "read_qa": "records",
    "report": "journey",
    "run": "journey",
    "synthesize": "journey",
    "train": "journey",
}

__all__ = [
    "QA",
    "ChatModel",
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
