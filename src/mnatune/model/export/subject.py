"""What is exported: a base, an adapter on it, and the recipe and pack that say how it speaks."""

import re
from dataclasses import dataclass
from pathlib import Path

from ...pack import Pack
from ...runs.errors import UsageError
from ...runs.recipe import Recipe, load_recipe
from ...runs.workspace import Run
from ..registry import Registry


@dataclass(frozen=True)
class Subject:
    """A tuned model.

    Attributes:
        name: how servers call it.
        adapter: its adapter folder.
        recipe: the recipe it was trained by: base, think policy, generation.
    """

    name: str
    adapter: Path
    recipe: Recipe

    @property
    def system(self) -> str:
        """The system prompt that it was trained with."""
        return self.pack.system_prompt

    @property
    def pack(self) -> Pack:
        """The pack that it was trained with."""
        return Pack.load(self.recipe.pack)

    @classmethod
    def of_run(cls, run: Run) -> "Subject":
        """The adapter of a run."""
        adapter = run.require("train", "adapter")
        recipe = load_recipe(run.root / "recipe.lock.yaml")
        return cls(f"{served_name(recipe)}-tuned", adapter, recipe)

    @classmethod
    def of_model(cls, registry: Registry, name: str = "") -> "Subject":
        """A registered model; by default the one in production."""
        model = registry.get(name, verify=True) if name else registry.production()
        if model is None:
            step = "name one, or export a run: --run RUN"
            raise UsageError("no model is in production", where=str(registry.root), next_step=step)
        recipe = load_recipe(model.adapter.parent / "recipe.yaml")
        return cls(f"{served_name(recipe)}-tuned", model.adapter, recipe)


def served_name(recipe: Recipe) -> str:
    """The base's name for servers and files, such as "qwen3-8b": the last part of its id in plain letters."""
    return re.sub(r"[^a-z0-9._-]+", "-", Path(recipe.model.id).name.lower()).strip("-.") or "base"
