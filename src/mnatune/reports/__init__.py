"""`report`: a run's manifests, tables and answers → one self-contained Korean page that a partner can read.

    report.html     at the run's root; no file beside it and no request to the network

The page names stages that have not been run. The page is a function of the run folder alone: reporting the same
run twice gives the same bytes.

Does not: compute metrics (that is `evaluate`), or change anything in the run but report.html.
"""

from pathlib import Path

from ..runs.errors import UsageError
from ..runs.workspace import STAGES, Run, atomic_text
from .terminal import summarize

__all__ = ["report", "summarize"]

NAME = "report.html"


def report(run: Run) -> Path:
    """Write `report.html` into the run's folder; returns its path.

    Raises:
        UsageError: no stage of the run is done.
        DataError: a manifest or a result file is damaged.
    """
    from .page import render

    if all(run.manifest(stage) is None for stage in STAGES):
        raise UsageError(
            "no stage of this run has been done", where=str(run.root), next_step=f"mnatune run RECIPE --out {run.root}"
        )
    path = run.root / NAME
    html = render(run).encode("utf-8", "replace").decode("utf-8")  # a lone surrogate in an answer becomes "?"
    with atomic_text(path) as handle:
        handle.write(html)
    return path
