"""Several models beside each other: a table for the terminal, and a page that prints on A4 and fetches nothing.

Each later model is compared with the first on the items that both have; `mnatune.stages.evaluate.compare` computes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runs.errors import UsageError
from ..runs.output_language import say
from ..runs.workspace import atomic_text
from . import korean
from .metric_table import areas
from .page import environment

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def comparison_text(found: Sequence[Mapping[str, Any]]) -> str:
    """The comparisons as tables, in the output's language."""
    parts = [f"A: {found[0]['a']}"]
    interval, corrected = say("difference (95% interval)", "차이 (95% 신뢰구간)"), "p(Holm)"
    least, metric = say("detectable", "최소 검출"), say("metric", "지표")
    for letter, one in zip(LETTERS[1:], found, strict=False):
        items = one["items"]
        parts += [
            f"\n{letter}: {one['b']}",
            say(
                f"items in common: held out {items['held_out']}, exam {items['exam']}",
                f"공통 문항: 보류 {items['held_out']}개, 시험 {items['exam']}개",
            ),
            f"{'A':>9} {letter:>9} {interval:<28} {corrected:>8} {least:>7}  {metric}",
            *(_line(row) for row in one["metrics"]),
        ]
    return "\n".join(parts)


def comparison_page(found: Sequence[Mapping[str, Any]]) -> str:
    """The comparisons as one HTML page in Korean."""
    shown = [
        {
            "letter": letter,
            "name": one["b"],
            "items": one["items"],
            "areas": {korean.name("areas", area): rows for area, rows in areas(one["metrics"], "domain").items()},
        }
        for letter, one in zip(LETTERS[1:], found, strict=False)
    ]
    template = environment().get_template("comparison.html.j2")
    return template.render(first=found[0]["a"], others=shown)


def write_comparison(found: Sequence[Mapping[str, Any]], wanted: Path | None = None) -> Path:
    """Write `comparison_page` into a file that did not exist; returns it.

    Args:
        wanted: the file; by default `compare-A-B.html` beside the first model's folder, with a number if that is taken.

    Raises:
        UsageError: the wanted file exists.
    """
    refuse_taken(wanted)
    path = wanted or _free(found)
    with atomic_text(path) as handle:
        handle.write(comparison_page(found))
    return path


def refuse_taken(wanted: Path | None) -> None:
    """Refuse a file that exists: asked before hours are spent, and again before it is written."""
    if wanted is not None and wanted.exists():
        raise UsageError(f"{str(wanted)!r} exists already", next_step="choose a new --html, or remove it")


def _free(found: Sequence[Mapping[str, Any]]) -> Path:
    names = [str(found[0]["a"]), *(str(one["b"]) for one in found)]
    parts = [_short(name) for name in names]
    folder = Path(names[0]).parent if "://" not in names[0] else Path()
    stem = "compare-" + "-".join(parts)[:120]
    return next(
        path for n in range(1, 10_000) if not (path := folder / f"{stem}{f'-{n}' if n > 1 else ''}.html").exists()
    )


def _short(name: str) -> str:
    """A model's name as part of a file's name."""
    last = name.rpartition("#")[2] if "://" in name else Path(name).resolve().name
    return "".join(letter if letter.isalnum() or letter in "._" else "_" for letter in last) or "model"


def _line(row: Mapping[str, Any]) -> str:
    difference = row["difference"]
    low, high = difference["low"], difference["high"]
    interval = f"{difference['value']:+.2f}" + (f" ({low:+.2f} ~ {high:+.2f})" if low is not None else "")
    arrow = {"higher": "↑", "lower": "↓"}[row["kind"]]
    least = "-" if row["detectable"] is None else f"{row['detectable']:.2f}"
    values = f"{row['base']['value']:>9.2f} {row['tuned']['value']:>9.2f}"
    label = say(row["name"], row["label"])
    return f"{values} {interval:<32} {difference['p_holm']:>8.3f} {least:>9}  {label} {arrow}"
