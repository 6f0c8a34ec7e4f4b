"""Renders the page from the sections' content, with inlined scripts and no network access.

Text from models and data is kept inert in three ways: Jinja2 escapes it, the script sets it by `textContent` only, and
a Content-Security-Policy lets no script run but the two whose hashes it names.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..runs.workspace import STAGES, Run
from . import korean
from .charts import FONT, PALETTE, Caption, Chart, Series, bars, columns
from .corpus import LENGTH_BARS, LENGTH_STEPS, Composition, composition
from .findings import Evaluation, evaluation, headline
from .funnel import Funnel, funnel
from .judge_section import judging
from .metric_table import MetricRow, areas, row, topics
from .next_steps import next_steps
from .provenance import provenance
from .side_by_side import answers, embedded
from .training import Training, training
from .worsened import decline

CATEGORIES = 16  # bars of the chart of categories; the rest is one bar


def render(run: Run) -> str:
    """The whole page as HTML."""
    from plotly.offline import get_plotlyjs

    found = evaluation(run)
    rows, data, judge, train = funnel(run), composition(run), judging(run), training(run)
    texts = answers(run, found) if found else None
    origin = provenance(run)
    browser, left_out = embedded(texts.everything) if texts else ([], 0)
    charts = [*_data_charts(data), *(judge.charts if judge else []), *(train.curves + train.system if train else [])]
    figures = [{"id": chart.caption.id, "height": chart.height, **chart.figure} for chart in charts]
    script = resources.files(__package__).joinpath("templates/page.js").read_text(encoding="utf-8")
    plotly = str(get_plotlyjs()).replace("</script", "<\\/script")
    table = areas(found.metrics["metrics"], found.primary) if found else {}
    flat = [one for part in table.values() for one in part]
    context = {
        "name": run_name(run),
        "date": korean.date(max((link.started for link in origin.links), default="")),
        "policy": _policy(plotly, script),
        "headline": headline(run, found),
        "key_figures": _key_figures(rows, train, found),
        "facts": _facts(run),
        "funnel": rows,
        "data": data,
        "charts": {chart.caption.id: chart for chart in charts},
        "judging": judge,
        "training": train,
        "evaluation": found,
        "decline": decline(run) if found else None,
        "steps": next_steps(run, found) if found else [],
        "terms": _terms(flat),
        "areas": table,
        "topics": topics(found.metrics.get("topics", []), flat, found.primary) if found else None,
        "answers": texts,
        "browsable": len(browser),
        "left_out": left_out,
        "provenance": origin,
        "missing": [stage for stage in STAGES if run.manifest(stage) is None],
        "plotly": Markup(plotly),
        "script": Markup(script),
        "embedded": Markup(_json({"charts": figures, "palette": PALETTE, "items": browser})),
    }
    return environment().get_template("page.html.j2").render(context)


def run_name(run: Run) -> str:
    """The recipe's name of the run, or the folder's."""
    import yaml

    lock = run.root / "recipe.lock.yaml"
    if lock.is_file():
        recipe = yaml.safe_load(lock.read_text(encoding="utf-8"))
        if isinstance(recipe, dict) and recipe.get("name"):
            return str(recipe["name"])
    return run.root.resolve().name


def environment() -> Environment:
    """Where the templates are found; everything put into them is escaped."""
    environment = Environment(
        loader=PackageLoader("mnatune.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(korean=korean, palette=PALETTE, font=Markup(FONT))
    return environment


def _policy(*scripts: str) -> str:
    """A policy under which only these inline scripts run and nothing is fetched."""
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{h}'" for h in hashes)
    others = "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {allowed}; {others}"


def _json(value: Any) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _key_figures(rows: Funnel, train: Training | None, found: Evaluation | None) -> list[tuple[str, str, str]]:
    """(label, value, remark) of the figures under the headline."""
    steps = {step.stage: step for step in rows.done}
    figures = []
    if "read" in steps:
        figures.append(("읽은 행", korean.rough(steps["read"].rows_out), "원본 데이터"))
    if "compose" in steps and steps["compose"].manifest:
        splits = steps["compose"].manifest.facts.get("splits") or {}
        held_out = " · ".join(
            f"{korean.name('splits', s)} {korean.count(splits[s])}" for s in ("valid", "test") if s in splits
        )
        figures.append(("학습 행", korean.rough(splits.get("train", steps["compose"].rows_out)), held_out))
    if train:
        figures.append(("학습 시간", train.highlights["걸린 시간"], f"{train.highlights['스텝']} 스텝"))
    if found and (metric := found.primary_metric):
        part = row(metric, found.primary)
        figures.append((part.label, f"{part.base.text} → {part.tuned.text}", f"문항 {korean.count(part.tuned.n)}개"))
    return figures


def _terms(rows: Sequence[MetricRow]) -> dict[str, str]:
    """The glossary: general terms, then the measures of this run."""
    meanings = korean.wording()["glossary"]
    return korean.wording()["terms"] | {one.label: meanings[one.name] for one in rows if one.name in meanings}


def _facts(run: Run) -> list[tuple[str, str]]:
    """(label, value) of the line under the title."""
    train = run.manifest("train")
    last = next((found for stage in reversed(STAGES) if (found := run.manifest(stage))), None)
    model = str(train.section.get("model", {}).get("id", "")) if train else ""
    facts = [
        ("모델", model),
        ("시드", str(last.seed) if last else ""),
        ("버전", last.versions.get("mnatune", "") if last else ""),
    ]
    return [(label, value) for label, value in facts if value]


def _data_charts(data: Composition | None) -> list[Chart]:
    if data is None:
        return []
    ranked = sorted(set(data.kept) | set(data.dropped), key=lambda c: (-data.kept[c], -data.dropped[c], c))
    shown, rest = ranked[:CATEGORIES], ranked[CATEGORIES:]
    labels = [category or "분류 없음" for category in shown]
    kept, dropped = ([counts[c] for c in shown] for counts in (data.kept, data.dropped))
    if rest:
        labels.append(f"그 밖의 분류 {len(rest)}개")
        kept.append(sum(data.kept[c] for c in rest))
        dropped.append(sum(data.dropped[c] for c in rest))
    total = sum(data.kept.values())
    most = f" 가장 많은 것은 ‘{labels[0]}’({korean.percent(kept[0], total)})입니다." if kept and total else ""
    series = [Series("남긴 행", labels, kept)]
    if any(dropped):
        series.append(Series("제외한 행", labels, dropped, "base"))
    caption = Caption("categories", "분류별 행", f"남긴 {korean.count(total)}행의 분류입니다.{most}")
    return [
        bars(caption, series),
        _lengths(data, "question", "질문", "base"),
        _lengths(data, "answer", "답변", "accent"),
    ]


def _lengths(data: Composition, key: str, title: str, role: str) -> Chart:
    """The histogram of lengths, without the empty bars at the end."""
    values, step = data.lengths[key], LENGTH_STEPS[key]
    used = max((at for at, rows in enumerate(values) if rows), default=0) + 1
    longest = f" 맨 오른쪽 막대는 {korean.count((LENGTH_BARS - 1) * step)}자 이상을 모두 더한 것입니다."
    summary = f"중앙값 {korean.count(data.medians[key])}자.{longest if values[-1] else ''}"
    series = Series(title, range(0, used * step, step), values[:used], role)
    return columns(Caption(f"length-{key}", f"{title} 길이", summary), [series], unit="자", step=step)
