"""Atomic writing, manifests, and when a stage counts as done."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.workspace import Run, Stage, atomic_text, fingerprint, read_jsonl, value_hash, write_json, write_jsonl


def do(run: Run, text: str = "x", **changes: object) -> tuple[int, bool]:
    """Perform a small stage; returns how often its work ran, and whether it was skipped."""
    calls = []

    def work(stage: Stage) -> None:
        calls.append(1)
        write_json(stage.path("out.json"), text)
        stage.manifest.rows_out = 1

    arguments = {"section": {"a": 1}, "inputs": {"i": "1"}, "seed": 1, "code": "c"} | changes
    force = bool(arguments.pop("force", False))
    _, skipped = run.perform("read", work=work, force=force, **arguments)  # type: ignore[arg-type]
    return len(calls), skipped


def test_a_done_stage_is_skipped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert do(run) == (1, False)
    assert do(run) == (0, True)


@pytest.mark.parametrize(
    "change", [{"section": {"a": 2}}, {"inputs": {"i": "2"}}, {"seed": 2}, {"code": "d"}, {"force": True}]
)
def test_a_stage_runs_again_when_anything_it_depends_on_changed(tmp_path: Path, change: dict[str, object]) -> None:
    run = Run(tmp_path)
    do(run)
    assert do(run, **change) == (1, False)


@pytest.mark.parametrize("damage", ["remove", "change", "lengthen"])
def test_a_stage_runs_again_when_an_output_is_not_what_it_was(tmp_path: Path, damage: str) -> None:
    run = Run(tmp_path)
    do(run)
    file = run.folder("read") / "out.json"
    text = file.read_text()
    if damage == "remove":
        file.unlink()
    else:
        file.write_text(text.replace("x", "y") if damage == "change" else text + " ")
    assert do(run) == (1, False)
    assert json.loads(file.read_text()) == "x"


def test_a_crash_leaves_no_manifest_and_no_half_file(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def crash(stage: Stage) -> None:
        with atomic_text(stage.path("half.txt")) as handle:
            handle.write("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        run.perform("read", {}, {}, 1, "c", crash)
    assert run.manifest("read") is None
    assert [file.name for file in run.folder("read").iterdir()] == [".begun"]
    with pytest.raises(UsageError):
        run.require("read", "half.txt")


def test_an_earlier_crashs_partial_files_are_swept(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.folder("read").mkdir(parents=True)
    (run.folder("read") / ".out.json.123.partial").write_text("half")
    do(run)
    assert sorted(p.name for p in run.folder("read").iterdir()) == ["manifest.json", "out.json"]


def test_state_is_no_result(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def work(stage: Stage) -> None:
        for name in ("checkpoints/a", "state/b", "kept/c"):
            write_json(stage.path(name), 1)

    manifest, _ = run.perform("train", {}, {}, 1, "c", work)
    assert list(manifest.outputs) == ["kept/c"]


@given(st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_value_hash_ignores_key_order(value: object) -> None:
    def turned(v: object) -> object:
        if isinstance(v, dict):
            return {k: turned(v[k]) for k in reversed(v)}
        return [turned(x) for x in v] if isinstance(v, list) else v

    assert value_hash(value) == value_hash(turned(value))


def test_fingerprint_sees_a_small_file_whole_and_of_a_large_one_samples_and_size(tmp_path: Path) -> None:
    file = tmp_path / "a"
    contents = (b"a" * 50, b"b" + b"a" * 49, b"a" * 16 + b"b" + b"a" * 33, b"a" * 49 + b"b", b"a" * 51)
    for whole in (64, 16):
        prints = set()
        for content in contents:
            file.write_bytes(content)
            prints.add(fingerprint(file, whole=whole, sample=4))
        assert len(prints) == 5


def test_results_of_an_earlier_time_do_not_stay(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def work(names: list[str]) -> Callable[[Stage], None]:
        return lambda stage: [write_json(stage.path(name), 1) for name in names] and None

    run.perform("train", {"v": 1}, {}, 1, "c", work(["old.json", "sub/old.json", "metrics.jsonl", "checkpoints/a"]))
    manifest, _ = run.perform("train", {"v": 2}, {}, 1, "c", work(["new.json"]))
    assert sorted(manifest.outputs) == ["metrics.jsonl", "new.json"]
    assert (run.folder("train") / "checkpoints" / "a").exists()


def test_two_processes_do_not_work_in_one_run(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def work(stage: Stage) -> None:
        with pytest.raises(UsageError, match="another process"):
            Run(tmp_path).perform("curate", {}, {}, 1, "c", lambda place: None)

    run.perform("read", {}, {}, 1, "c", work)


def test_jsonl_names_the_broken_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    assert write_jsonl(file, [{"ㄱ": 1}, {"b": "나"}]) == 2
    assert read_jsonl(file) == [{"ㄱ": 1}, {"b": "나"}]
    file.write_text(file.read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    with pytest.raises(DataError, match="not a JSON line") as caught:
        read_jsonl(file)
    assert caught.value.where.endswith(":3")


def test_foreign_files_and_links_stay_and_are_named(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    do(run)
    outside = tmp_path / "papers"
    outside.mkdir()
    (outside / "contract.txt").write_text("계약")
    (run.folder("read") / "notes.txt").write_text("내 메모")
    (run.folder("read") / "linked").symlink_to(outside)
    for force in (False, True):
        with pytest.raises(UsageError, match="linked, notes"):
            do(run, section={"a": 2}, force=force)
    assert (outside / "contract.txt").read_text() == "계약"
    assert (run.folder("read") / "out.json").is_file()
    (run.folder("read") / "notes.txt").rename(tmp_path / "notes.txt")
    (run.folder("read") / "linked").unlink()
    assert do(run, section={"a": 2}) == (1, False)


def test_a_folder_that_is_no_stages_is_never_cleared(tmp_path: Path) -> None:
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "contract.txt").write_text("계약")
    run = Run(tmp_path / "run")
    run.root.mkdir()
    run.folder("read").symlink_to(papers)
    with pytest.raises(UsageError, match=r"contract\.txt"):
        do(run)
    assert [p.name for p in papers.iterdir()] == ["contract.txt"]


def test_state_behind_a_link_is_not_removed(tmp_path: Path) -> None:
    run, disk = Run(tmp_path / "run"), tmp_path / "disk"
    do(run)
    disk.mkdir()
    (disk / "step").touch()
    (run.folder("read") / "checkpoints").symlink_to(disk)
    do(run, force=True)
    assert (disk / "step").exists()


@pytest.mark.parametrize("force", [False, True])
def test_a_refused_stage_leaves_what_was_done_before(tmp_path: Path, force: bool) -> None:
    run, folder = Run(tmp_path / "run"), Run(tmp_path / "run").folder("read")

    def learn(stage: Stage) -> None:
        write_json(stage.path("checkpoints/step"), 1)
        write_json(stage.path("metrics.jsonl"), 1)

    run.perform("read", {"a": 2}, {}, 1, "c", learn)
    held = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def refuse(stage: Stage) -> None:
        (stage.path("metrics.jsonl")).write_text("")
        write_json(stage.path("half.json"), 1)
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        run.perform("read", {"a": 3}, {}, 1, "c", refuse, force=force)
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == held
    assert run.perform("read", {"a": 2}, {}, 1, "c", refuse)[1], "it is done"


def test_what_a_forced_stage_has_begun_to_keep_is_not_thrown_away(tmp_path: Path) -> None:
    run = Run(tmp_path)
    do(run)
    (run.folder("read") / "state").mkdir()
    (run.folder("read") / "state" / "ledger").write_text("old")

    def break_off(stage: Stage) -> None:
        stage.path("state").mkdir()
        stage.path("state/ledger").write_text("paid for")
        raise DataError("late")

    with pytest.raises(DataError, match="late"):
        run.perform("read", {}, {}, 1, "c", break_off, force=True)
    assert (run.folder("read") / "state" / "ledger").read_text() == "paid for"
    do(run)
    assert not (run.folder("read") / ".before").exists()


def test_an_interrupted_stage_clears_what_it_left(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def crash(stage: Stage) -> None:
        write_json(stage.path("half/part-0.json"), 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.perform("read", {}, {}, 1, "c", crash)
    do(run)
    assert list(run.manifest("read").outputs) == ["out.json"]  # type: ignore[union-attr]
    assert not (run.folder("read") / ".begun").exists()


def test_a_refused_process_writes_nothing(tmp_path: Path) -> None:
    import mnatune

    (tmp_path / "a.jsonl").write_text('{"question": "합병이란 무엇인가요?", "answer": "둘이 하나가 되는 것입니다."}')
    source = {"kind": "qa", "path": str(tmp_path / "a.jsonl")}
    recipe = mnatune.Recipe.model_validate({"name": "first", "read": {"sources": [source]}})
    mnatune.read(recipe, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    with Run(tmp_path / "run").alone(), pytest.raises(UsageError, match="another process"):
        mnatune.read(recipe.model_copy(update={"name": "second"}), tmp_path / "run")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before
