"""Charts as plotly figures in JSON: bars and lines in one restrained style.

Colours are those of the light palette; the page swaps them for the dark one where the reader prefers that. Every chart
carries a sentence of what it shows, for screen readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import korean

# role → (light, dark); the style sheet takes its colours from here too
PALETTE = {
    "ink": ("#1b2430", "#e7ebf0"),
    "muted": ("#5d6b7a", "#9aa7b5"),
    "rule": ("#dfe4ea", "#2d3743"),
    "paper": ("#ffffff", "#12171d"),
    "wash": ("#f5f7f9", "#1a2129"),
    "accent": ("#1f5c99", "#7db5ec"),
    "accent_soft": ("#dbe8f5", "#1d3550"),
    "base": ("#8a97a6", "#76838f"),
    "good": ("#1c7a54", "#5fc79a"),
    "good_soft": ("#dff2e9", "#163a2b"),
    "bad": ("#b03a2e", "#f0897d"),
    "bad_soft": ("#fae4e1", "#46211d"),
    "warn": ("#8a5a00", "#e0b45c"),
    "warn_soft": ("#fbf0d9", "#3d2f12"),
}
LIGHT = {role: colours[0] for role, colours in PALETTE.items()}
FONT = (
    "Pretendard, 'Apple SD Gothic Neo', 'Noto Sans KR', 'Noto Sans CJK KR', 'Malgun Gothic', "
    "'NanumBarunGothic', 'Nanum Gothic', system-ui, sans-serif"
)


@dataclass(frozen=True, slots=True)
class Series:
    """One line or set of bars.

    Attributes:
        role: colour, a key of `PALETTE`.
        dots: markers on the line (few points).
    """

    label: str
    x: Sequence[Any]
    y: Sequence[float | None]
    role: str = "accent"
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Caption:
    """What a chart is called (`id` is unique on the page), and what it shows, in a sentence."""

    id: str
    title: str
    summary: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure ready for the page; `figure` is plotly's data and layout."""

    caption: Caption
    figure: dict[str, Any]
    height: int


def lines(
    caption: Caption, series: Sequence[Series], *, x_title: str, tick: str = "", from_zero: bool = False
) -> Chart:
    """Curves over a common x axis. `tick` is a d3 format of the y axis, which starts at 0 if `from_zero`."""
    traces = [
        {
            "type": "scatter",
            "x": list(one.x),
            "y": list(one.y),
            "name": one.label,
            "mode": "lines+markers" if one.dots else "lines",
            "line": {"color": LIGHT[one.role], "width": 2 if one.dots else 1.5},
            "marker": {"size": 6},
            "hovertemplate": f"%{{x:,}} · %{{y{':' + tick if tick else ''}}}<extra>{one.label}</extra>",
        }
        for one in series
    ]
    x_axis = _axis(x_title, showgrid=False)
    y_axis = _axis(tickformat=tick or ",~r", rangemode="tozero" if from_zero else "normal")
    return Chart(caption, _figure(traces, x_axis, y_axis), height=240)


def columns(caption: Caption, series: Sequence[Series], *, unit: str, step: int, mark: float | None = None) -> Chart:
    """A histogram, stacked; each `x` is the lower edge of a bar `step` wide, `mark` draws a dashed vertical line."""
    place = f"%{{x:,}}{unit}{'부터' if step > 1 else ''} · %{{y:,}}행"
    traces = [_bar(one, one.x, one.y, place) | {"offset": 0, "width": 0.88 * step} for one in series]
    x_axis = _axis(showgrid=False, ticksuffix=unit, rangemode="tozero")
    figure = _figure(traces, x_axis, _axis(rangemode="tozero"), barmode="stack")
    if mark is not None:
        line = {"color": LIGHT["warn"], "width": 2, "dash": "dash"}
        ends = {"x0": mark, "x1": mark, "y0": 0, "y1": 1, "xref": "x", "yref": "y domain"}
        figure["layout"]["shapes"] = [{"type": "line", "line": line, **ends}]
    return Chart(caption, figure, height=280)


def bars(caption: Caption, series: Sequence[Series]) -> Chart:
    """Horizontal stacked bars; the labels are the series' `x`, in reading order."""
    traces = [_bar(one, one.y, one.x, "%{y} · %{x:,}행") | {"orientation": "h"} for one in series]
    rows = len(series[0].x) if series else 0
    y_axis = _axis(autorange="reversed", showgrid=False, ticksuffix="  ", type="category", tickformat="")
    figure = _figure(traces, _axis(rangemode="tozero", nticks=5), y_axis, barmode="stack", bargap=0.28)
    return Chart(caption, figure, height=90 + 26 * rows)


def in_units(values: Sequence[float | None], unit: str) -> tuple[list[float | None], str]:
    """Large counts in 만 or 억, so that axes stay readable: the values and their unit ("만 토큰")."""
    top = max((abs(v) for v in values if v is not None), default=0)
    for size, name in korean.UNITS:
        if top >= 10 * size:
            return [None if v is None else v / size for v in values], f"{name} {unit}"
    return list(values), unit


def _bar(one: Series, x: Sequence[Any], y: Sequence[Any], place: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "x": list(x),
        "y": list(y),
        "name": one.label,
        "marker": {"color": LIGHT[one.role], "line": {"width": 0}},
        "hovertemplate": f"{place}<extra>{one.label}</extra>",
    }


def _figure(
    traces: list[dict[str, Any]], x_axis: dict[str, Any], y_axis: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """Plotly's data and layout, with a legend if there are several traces."""
    legend = len(traces) > 1
    layout = {
        "font": {"family": FONT, "size": 12, "color": LIGHT["ink"]},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 12, "t": 34 if legend else 10, "b": 8},
        "showlegend": legend,
        "legend": {
            "orientation": "h",
            "traceorder": "normal",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"color": LIGHT["muted"]},
        },
        "hoverlabel": {"font": {"family": FONT}},
        "dragmode": False,
        "xaxis": x_axis,
        "yaxis": y_axis,
    }
    return {"data": traces, "layout": layout | more}


def _axis(title: str = "", **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"color": LIGHT["muted"], "size": 11}, "standoff": 6},
        "automargin": True,
        "gridcolor": LIGHT["rule"],
        "linecolor": LIGHT["rule"],
        "zerolinecolor": LIGHT["rule"],
        "tickfont": {"color": LIGHT["muted"], "size": 11},
        "fixedrange": True,
        "exponentformat": "none",
        "tickformat": ",~r",
        **more,
    }
