"""Reading sources with the bundled pack's maps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe, bundled
from mnatune.runs.records import QA, read_qa
from mnatune.runs.workspace import Manifest, Run
from mnatune.stages.read import read

Reading = Callable[..., tuple[list[QA], Manifest, Run]]


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    """Read sources; returns the rows, the manifest and the run."""

    def go(*sources: dict[str, Any]) -> tuple[list[QA], Manifest, Run]:
        recipe = Recipe.model_validate({"name": "test", "read": {"sources": list(sources)}})
        run = Run(tmp_path / "run")
        pack = Pack(bundled("packs") / "mna_ko")
        manifest, _ = run.perform("read", {}, {}, 42, "", lambda place: read(Job(recipe, pack, run, place)), force=True)
        return read_qa(run.folder("read") / "qa"), manifest, run

    return go
