"""The whole journey on the bundled sample with the bundled starter, made small; notebooks and commands on its result."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mnatune
from mnatune.runs.workspace import STAGES, Run, file_hash

SMALL = [
    "compose.max_rows=80",
    "train.log_every=2",
    "train.checkpoint_every=2",
    "train.learning_rate=5e-3",
    "evaluate.items=6",
    "generation.max_new_tokens=48",
]
ROOT = Path(__file__).parents[2]


# Loaded by every Python process that starts with it on its path: notes and refuses what would leave this machine.
WATCH = """
import os, sys
def watch(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = args[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        host = args[1][0] if isinstance(args[1], tuple) else None
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host and host not in ("localhost", "::1", "0.0.0.0", "::") and not host.startswith("127."):
        with open(os.environ["MNATUNE_TEST_WATCHED"], "a") as log:
            log.write(f"{event} {host} {sys.argv}\\n")
        raise OSError(f"{host}: not from this machine")
sys.addaudithook(watch)
"""


def command(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a child process."""
    return subprocess.run([sys.executable, "-m", "mnatune", *words], capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """An environment whose Python processes may not leave this machine, and the file that names each try."""
    folder = tmp_path_factory.mktemp("watch")
    (folder / "sitecustomize.py").write_text(WATCH)
    log = folder / "tried.txt"
    kept = {
        k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY")
    }
    path = os.pathsep.join([str(folder), *(p for p in sys.path if p)])
    return {**kept, "PYTHONPATH": path, "MNATUNE_TEST_WATCHED": str(log)}, log


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, watched: tuple[dict[str, str], Path]) -> Path:
    """A finished small run, made by the command line."""
    out = tmp_path_factory.mktemp("journey") / "run"
    options = (w for s in SMALL for w in ("--set", s))
    done = command("run", "quickstart", "--out", str(out), *options, env=watched[0])
    assert done.returncode == 0, done.stderr
    return out


def results(run: Path) -> dict[str, str]:
    """Hashes of the data files of every stage before training's own state."""
    names = ("1-read", "2-curate", "4-judge", "5-compose")
    files = [p for name in names for p in sorted((run / name).rglob("*")) if p.is_file() and p.name != "manifest.json"]
    return {p.relative_to(run).as_posix(): file_hash(p) for p in files}


@pytest.mark.slow
def test_journey_ends_with_a_report_and_a_verdict(finished: Path) -> None:
    run = Run(finished)
    for stage in ("read", "curate", "judge", "compose", "train", "evaluate"):
        assert run.manifest(stage) is not None
    assert (finished / "report.html").stat().st_size > 100_000
    assert json.loads((finished / "7-evaluate" / "verdict.json").read_text(encoding="utf-8"))["verdict"] in (
        "promote",
        "hold",
        "reject",
    )


@pytest.mark.slow
def test_tuning_lowers_the_held_out_loss(finished: Path) -> None:
    report = json.loads((finished / "7-evaluate" / "metrics.json").read_text(encoding="utf-8"))
    loss = next(metric for metric in report["metrics"] if metric["name"] == "loss")
    assert loss["tuned"]["value"] < loss["base"]["value"] - 0.1


@pytest.mark.slow
def test_rows_are_accounted_for(finished: Path) -> None:
    run = Run(finished)
    for stage in ("curate", "judge", "compose"):
        manifest = run.manifest(stage)
        assert manifest is not None
        assert manifest.rows_in == manifest.rows_out + sum(manifest.dropped.values())


@pytest.mark.slow
def test_second_run_skips_everything(finished: Path) -> None:
    done = command("run", "quickstart", "--out", str(finished), *(w for s in SMALL for w in ("--set", s)))
    assert done.returncode == 0
    assert done.stdout.count("skipped") == 6


@pytest.mark.slow
def test_run_killed_in_every_stage_continues_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    """SIGKILL as soon as a stage's folder appears, stage after stage; then compare with the run left alone."""
    out = tmp_path / "run"
    options = ["quickstart", "--out", str(out), *(w for s in SMALL for w in ("--set", s))]
    for stage in ("read", "curate", "judge", "compose"):
        child = subprocess.Popen([sys.executable, "-m", "mnatune", stage, *options], stdout=subprocess.DEVNULL)
        folder = Run(out).folder(stage)
        while not folder.exists() and child.poll() is None:
            os.sched_yield()
        child.kill()
        child.wait()
        assert not (folder / "manifest.json").exists()
        assert command(stage, *options).returncode == 0
    assert results(out) == results(finished)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ai_hub_data_preprocessing", "qwen3_finetune"])
def test_notebook_runs_top_to_bottom(finished: Path, tmp_path: Path, name: str) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "notebooks are stored without outputs"
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    environment = {**os.environ, "MNATUNE_RUN": str(copy)}
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute(
        env=environment
    )


@pytest.mark.slow
def test_ask_answers(finished: Path, watched: tuple[dict[str, str], Path]) -> None:
    done = command("ask", "합병이란 무엇인가요?", "--run", str(finished), "--greedy", env=watched[0])
    assert done.returncode == 0
    assert any("가" <= letter <= "힣" for letter in done.stdout)


@pytest.mark.slow
def test_nothing_leaves_the_machine(finished: Path, watched: tuple[dict[str, str], Path]) -> None:
    """Neither a lookup nor a connection beyond loopback in any stage, the report, workers included."""
    environment, log = watched
    tried = log.read_text() if log.is_file() else ""
    assert tried == ""
    caught = "import socket; socket.getaddrinfo('example.com', 80)"
    assert subprocess.run([sys.executable, "-c", caught], env=environment, capture_output=True).returncode == 1
    assert "socket.getaddrinfo example.com" in log.read_text()  # the watch itself works
    log.unlink()


def test_python_functions_carry_the_stages_names() -> None:
    for stage in STAGES:
        function = getattr(mnatune, stage)
        assert function.__name__ == stage
