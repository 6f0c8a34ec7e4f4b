"""Curating rows with the bundled pack."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe, bundled
from mnatune.runs.records import iter_qa
from mnatune.runs.workspace import Manifest, Run
from mnatune.stages.curate import curate
from mnatune.stages.read import read


class Outcome:
    """What came out of a curation."""

    def __init__(self, run: Run, manifest: Manifest) -> None:
        folder = run.folder("curate")
        self.folder, self.manifest = folder, manifest
        self.rows = list(iter_qa(folder / "qa.parquet"))
        self.dropped = list(iter_qa(folder / "dropped.parquet"))
        self.clusters = {row["id"]: row["cluster"] for row in iter_qa(folder / "clusters.parquet")}

    def reasons(self) -> dict[str, str]:
        """Question → why it was dropped."""
        return {row["question"]: row["drop_reason"] for row in self.dropped}


Curating = Callable[..., Outcome]


@pytest.fixture
def curating(tmp_path: Path) -> Curating:
    """Curate rows given as dicts of a QA file; several lists become several sources."""

    def go(*sources: list[dict[str, Any]], licences: tuple[str, ...] = (), **section: Any) -> Outcome:
        named = []
        for number, rows in enumerate(sources):
            path = tmp_path / f"source{number}.jsonl"
            path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
            licence = licences[number] if licences else ""
            named.append({"kind": "qa", "path": str(path), "licence": licence})
        recipe = Recipe.model_validate({"name": "test", "read": {"sources": named}, "curate": section})
        run, pack = Run(tmp_path / "run"), Pack(bundled("packs") / "mna_ko")
        run.perform("read", {}, {}, 42, "", lambda place: read(Job(recipe, pack, run, place)), force=True)
        manifest, _ = run.perform(
            "curate", {}, {}, 42, "", lambda place: curate(Job(recipe, pack, run, place)), force=True
        )
        return Outcome(run, manifest)

    return go
