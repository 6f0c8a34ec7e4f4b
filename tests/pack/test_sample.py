"""The sample archive: its traps are there, its counts are true, and reader and curator report them."""

import io
import json
import os
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mnatune.pack import Pack, sample
from mnatune.pack.sample import build_sample
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Run, read_jsonl
from mnatune.stages.curate import curate
from mnatune.stages.read import read
from mnatune.text.shingles import facts_of, resemblance


@pytest.fixture(scope="module")
def pack():
    return Pack.load("mna_ko")


@pytest.fixture(scope="module")
def tree(pack, tmp_path_factory):
    return build_sample(pack, tmp_path_factory.mktemp("sample") / "tree")


@pytest.fixture(scope="module")
def truth(tree):
    return json.loads((tree / "truth.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def small_pack(pack, tmp_path_factory):
    """A copy of the pack that may be changed."""
    root = tmp_path_factory.mktemp("pack") / "own"
    root.mkdir()
    for name in ("pack.yaml", "drops.yaml"):
        shutil.copy(pack.root / name, root / name)
    shutil.copytree(pack.root / "sample", root / "sample")
    return Pack(root)


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def members(data: bytes) -> dict[str, object]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: json.loads(archive.read(info)) for info in archive.infolist()}


def parts(tree: Path) -> dict[str, bytes]:
    (tar,) = tree.rglob("*.tar")
    with tarfile.open(tar) as opened:
        return {info.name: opened.extractfile(info).read() for info in opened}


def labels(tree: Path, name: str) -> list[dict]:
    (archive,) = tree.rglob(name)
    return [row for value in members(archive.read_bytes()).values() for row in value["data_info"]]


def best(row: dict) -> str:
    """The answer of a label row, by its ranking where there are several."""
    if "answer" in row:
        return row["answer"]["contents"]
    return next(row[f"answer{n:02d}"]["contents"] for n in range(1, 6) if row[f"answer{n:02d}"]["ranking"] == 1)


def documents(tree: Path) -> list[dict]:
    joined = [data for _, data in sorted(parts(tree).items(), key=lambda p: int(p[0].rsplit("part", 1)[1]))]
    archives = [p.read_bytes() for p in sorted(tree.rglob("Other*.zip"))] + [b"".join(joined)]
    return [doc for data in archives for value in members(data).values() if isinstance(value, list) for doc in value]


def test_the_bytes_depend_on_nothing_but_the_pack(pack, tree, tmp_path):
    assert files(build_sample(pack, tmp_path / "elsewhere")) == files(tree)


def test_members_carry_no_time_of_building(tree):
    for archive in tree.rglob("*.zip"):
        with zipfile.ZipFile(archive) as opened:
            assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_an_unchanged_sample_is_left_alone_and_a_changed_pack_builds_anew(small_pack, tmp_path):
    out = build_sample(small_pack, tmp_path / "tree")
    before = files(out)
    stamp = 1_000_000_000
    os.utime(out / "truth.json", (stamp, stamp))
    assert build_sample(small_pack, out) == out
    assert (out / "truth.json").stat().st_mtime == stamp
    rows = small_pack.root / "sample/rows.jsonl"
    text = rows.read_text(encoding="utf-8")
    rows.write_text(text.replace("지방의회가 하는", "지방의회가 맡아 하는"), encoding="utf-8")
    try:
        build_sample(small_pack, out)
    finally:
        rows.write_text(text, encoding="utf-8")
    assert files(out) != before


def test_what_is_no_sample_is_not_overwritten(pack, tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(UsageError, match="not be overwritten"):
        build_sample(pack, tmp_path)
    assert (tmp_path / "thesis.docx").exists()


def test_a_crash_leaves_nothing_behind(pack, tmp_path, monkeypatch):
    def half(root, layout, plan):
        (root / "data").mkdir(parents=True)
        raise OSError("the disk is full")

    monkeypatch.setattr(sample, "_write_tree", half)
    with pytest.raises(OSError, match="full"):
        build_sample(pack, tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_the_rows_cannot_meet_is_refused(small_pack, tmp_path):
    plan = small_pack.root / "sample/plan.yaml"
    text = plan.read_text(encoding="utf-8")
    plan.write_text(text.replace("rows: 1500", "rows: 15000"), encoding="utf-8")
    try:
        with pytest.raises(DataError, match="15000"):
            build_sample(small_pack, tmp_path / "tree")
    finally:
        plan.write_text(text, encoding="utf-8")


def test_truth_counts_what_lies_in_the_archives(tree, truth):
    docs = documents(tree)
    train, valid = labels(tree, "TL_*.zip"), labels(tree, "VL.zip")
    echoes = [sum(best(row).strip() == row["question"].strip() for row in rows) for rows in (train, valid)]
    wanted = [truth["rlhf_echo"], truth["val_echo"]]
    assert sum(len(doc["contents"][0]["QA"]) for doc in docs) == truth["other_qa"]
    assert (len(train), len(valid), echoes) == (truth["rlhf_rows"], truth["val_rows"], wanted)
    assert truth["rows"] == truth["other_qa"] + truth["rlhf_rows"] + truth["val_rows"] == 1500
    assert truth["after_category"] == truth["train_rows"] - truth["dropped_category"]
    assert len({doc["data_category"]["middle"] for doc in docs}) == 9


def test_every_trap_of_the_original_is_set(tree):
    (other,) = tree.rglob("Other.zip")
    assert all(name.startswith("/") for name in members(other.read_bytes()))
    assert sum(not isinstance(value, list) for value in members(other.read_bytes()).values()) == 1
    (training,) = tree.rglob("TL_*.zip")
    (validation,) = tree.rglob("VL.zip")
    assert list(members(training.read_bytes())) == ["/RMlabel.json", "/SFTlabel.json"]
    assert list(members(validation.read_bytes())) == ["/SFTlabel.json", "/RMlabel.json"]
    assert not any("answer" in row or "answer01" in row for row in labels(tree, "TS_*.zip"))


def test_the_best_answer_is_found_by_its_ranking_alone(tree):
    ranked = [row for row in labels(tree, "TL_*.zip") if "answer01" in row]
    first = {next(n for n in range(1, 6) if row[f"answer{n:02d}"]["ranking"] == 1) for row in ranked}
    assert first == {1, 2, 3, 4, 5}
    assert all(sorted(row[f"answer{n:02d}"]["ranking"] for n in range(1, 6)) == [1, 2, 3, 4, 5] for row in ranked)


def test_parts_lie_in_an_order_that_is_not_their_number(tree):
    numbers = [int(name.rsplit("part", 1)[1]) for name in parts(tree)]
    assert len(numbers) > 2
    assert numbers != sorted(numbers)


def test_one_member_name_is_cp949_without_the_utf8_flag(tree):
    (archive,) = tree.rglob("Other_03.zip")
    with zipfile.ZipFile(archive) as opened:
        (info,) = opened.infolist()
    assert not info.flag_bits & 0x800
    assert info.filename.encode("cp437").decode("cp949") == "/말뭉치_SL110.json"


def test_an_edit_that_changes_a_fact_makes_no_near_duplicate():
    answer = "결의일부터 20일 이내에 서면으로 청구하여야 합니다. " * 3
    row = sample.SampleRow("청구기간은 얼마인가요?", answer, "사회", "t", "mna", "d")
    plan = {"endings": ["", ""], "openings": [""], "particles": {}, "near_similarity": 0.5}
    harmless = {**plan, "replace": [["하여야", "해야"], ["인가요", "입니까"]]}
    harmful = {**plan, "replace": [["하여야", "해야"], ["20일", "30일"]]}
    assert sample._edited(row, harmless, random.Random(1)) is not None
    assert sample._edited(row, harmful, random.Random(1)) is None


def test_a_title_lies_on_one_side_of_the_published_split(tree):
    side = {"train": labels(tree, "TL_*.zip"), "valid": labels(tree, "VL.zip")}
    ids = {name: {row["data_id"] for row in rows} for name, rows in side.items()}
    others = {doc["data_id"] for doc in documents(tree)}
    assert not ids["train"] & ids["valid"]
    assert not ids["valid"] & others


def test_twins_look_alike_and_differ_in_their_numbers(pack):
    families: dict[str, list[str]] = {}
    for row in read_jsonl(pack.path("sample/twins.jsonl")):
        families.setdefault(row["twin"], []).append(f"{row['question']} {row['answer']}")
    for family in families.values():
        alike = [resemblance(a, b) for i, a in enumerate(family) for b in family[i + 1 :]]
        assert max(alike) >= 0.8
        assert all(facts_of(a) != facts_of(b) for i, a in enumerate(family) for b in family[i + 1 :])


def test_reader_and_curator_report_the_truth(pack, tree, truth, tmp_path):
    recipe = Recipe.model_validate({"name": "t", "read": {"sources": [{"kind": "archive", "path": str(tree)}]}})
    run = Run(tmp_path)
    done = {
        name: run.perform(name, {}, {}, 0, "", lambda place, f=stage: f(Job(recipe, pack, run, place)))[0]
        for name, stage in (("read", read), ("curate", curate))
    }
    facts = done["read"].per_source["aihub-71748"]
    assert done["read"].rows_out == truth["rows"]
    assert facts["split/valid"] == truth["val_rows"]
    beside = 1  # truth.json itself lies loose beside the archives
    assert facts["members_skipped"] == {"no question-answer records": truth["non_qa_members"] + beside}
    assert facts["archives_skipped"]["source side, no labels"] == truth["archives_without_labels"]
    dropped = done["curate"].dropped
    assert dropped["echo"] == truth["rlhf_echo"] + truth["val_echo"]
    assert dropped["duplicate"] == truth["exact_dups"]
    assert dropped["near-duplicate"] == truth["near_dups"]
    kept = pq.read_table(tmp_path / "2-curate/qa.parquet").column("question").to_pylist()
    assert {row["question"] for row in read_jsonl(pack.path("sample/twins.jsonl"))} <= set(kept)
