"""`mnatune runs`: which runs there are, what they came to, and by which settings they differ."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..runs.output_language import say
from .stages import AsJson, stage_name

if TYPE_CHECKING:
    from ..runs.workspace import Run

HERE = Path("runs")


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder that holds run folders.")] = HERE, as_json: AsJson = False
) -> None:
    """List runs with their verdicts, and the settings that differ between them."""
    from ..runs.workspace import Run

    there = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [facts for path in there if path.is_dir() and (facts := facts_of(Run(path)))]
    settings = differing({row["run"]: row.pop("settings") for row in found})
    if as_json:
        typer.echo(json.dumps({"runs": found, "settings": settings}, ensure_ascii=False))
        return
    if not found:
        typer.echo(say(f"no run in {folder}", f"{folder}에 실행이 없습니다"))
        return
    typer.echo(say("run  last stage  rows trained on  verdict  figure", "실행  마지막 단계  학습 행  판정  수치"))
    for row in found:
        last = stage_name(row["stages"][-1]) if row["stages"] else "-"
        verdict = say(row["verdict"], row.get("label") or row["verdict"])
        typer.echo(f"{row['run']}  {last}  {row['rows'] or '-'}  {verdict or '-'}  {_figure(row) or '-'}")
    for key, values in settings.items():
        typer.echo(f"\n{key}")
        for name, value in values.items():
            typer.echo(f"  {name}  {json.dumps(value, ensure_ascii=False)}")


def facts_of(run: "Run") -> dict[str, Any]:
    """What a run's own files say of it; empty if the folder is no run."""
    from ..runs.workspace import STAGES
    from ..runs.yaml_text import parse_yaml

    lock = run.root / "recipe.lock.yaml"
    if not lock.is_file():
        return {}
    manifests = {stage: manifest for stage in STAGES if (manifest := run.manifest(stage))}
    facts: dict[str, Any] = {
        "run": run.root.name,
        "stages": list(manifests),
        "rows": manifests["train"].rows_in if "train" in manifests else None,
        "verdict": "",
        "settings": parse_yaml(lock.read_text(encoding="utf-8")) or {},
    }
    if "evaluate" in manifests:
        verdict, metrics = (
            json.loads((run.folder("evaluate") / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("verdict", "metrics")
        )
        row = next((row for row in metrics["metrics"] if row["name"] == verdict["primary"]), None)
        values = {side: row[side]["value"] for side in ("base", "tuned")} if row else {}
        named = {"primary_label": row["label"]} if row and "label" in row else {}
        facts |= {key: verdict.get(key, "") for key in ("verdict", "label", "primary")} | named | values
    return facts


def differing(settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Dotted key → run → value, for the keys in which not all runs agree; the run's name is no setting."""
    flat = {run: dict(_leaves(tree)) for run, tree in settings.items()}
    keys = {key for leaves in flat.values() for key in leaves} - {"name"}
    rows = {key: {run: leaves.get(key) for run, leaves in flat.items()} for key in sorted(keys)}
    return {key: row for key, row in rows.items() if len({json.dumps(value) for value in row.values()}) > 1}


def _leaves(tree: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        found += _leaves(value, f"{path}{key}.") if isinstance(value, dict) and value else [(f"{path}{key}", value)]
    return found


def _figure(row: dict[str, Any]) -> str:
    if row.get("base") is None or row.get("tuned") is None:
        return ""
    name = say(row["primary"], row.get("primary_label", row["primary"]))
    return f"{name} {row['base']:.2f} -> {row['tuned']:.2f}"
