"""AI Hub 71748 in its own layout, and at least 25 archives that are broken or hostile."""

import io
import json
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hostile_zips import (
    GOOD,
    bad_crc,
    bomb,
    cut,
    damaged_data,
    damaged_header,
    duplicate,
    encrypted,
    garbage_before,
    long_header,
    lying_bomb,
    nested,
    other_method,
    overflowing_zip64,
    overlapping,
    patched,
    plain,
    quoted_overlap,
    streamed,
    symlink,
)
from hub import document, good, member, write_zip

from mnatune.runs.errors import DataError
from mnatune.runs.workers import spread
from mnatune.stages.read import tasks, zips

BASE = "dataset/data"


def labels(rows):
    return json.dumps({"dataset_info": {}, "data_info": rows}, ensure_ascii=False).encode()


def sft(n, category="사회"):
    return {
        "data_id": f"s{n}",
        "data_category": {"main": "문어체", "middle": category},
        "question": f"라벨 질문 {n}",
        "answer": {"answer_count": 3, "contents": f"라벨 답변 {n}"},
    }


def rm(n):
    row = {"data_id": f"r{n}", "data_category": {"main": "문어체", "middle": "인문"}, "question": f"순위 질문 {n}"}
    for place, rank in enumerate((3, 1, 5, 2, 4), 1):
        row[f"answer{place:02d}"] = {"answer_count": 1, "ranking": rank, "contents": f"답 {n} 순위 {rank}"}
    return row


def tree(root: Path) -> Path:
    write_zip(
        root / BASE / "Other/Other.zip",
        {"/SL000.json": good(0, 3), "/SL001.json": good(1, 2), "/README_설명.json": b'{"dataset_info": 1}'},
    )
    side = root / BASE / "Training"
    write_zip(
        side / "02.라벨링데이터/TL_02.RLHF데이터.zip",
        {"/RMlabel.json": labels([rm(0), rm(1)]), "/SFTlabel.json": labels([sft(0), sft(1), sft(2)])},
    )
    write_zip(side / "01.원천데이터/TS_02.RLHF데이터.zip", {"/RMdata.json": labels([{"question": "답이 없다"}])})
    write_zip(
        root / BASE / "Validation/02.라벨링데이터/VL.zip",
        {"/SFTlabel.json": labels([sft(9)]), "/RMlabel.json": labels([rm(9)])},
    )
    return root


def test_layout_of_71748(tmp_path, reading):
    rows, manifest, _ = reading({"kind": "archive", "path": str(tree(tmp_path / "hub"))})
    facts = manifest.per_source["aihub-71748"]
    assert facts["rows"] == len(rows) == manifest.rows_in == manifest.rows_out == 12
    assert (facts["split/train"], facts["split/valid"]) == (10, 2)
    assert (facts["layout/corpus"], facts["layout/labels"]) == (5, 7)
    assert facts["members_skipped"] == {"no question-answer records": 1}
    assert facts["archives_skipped"] == {"source side, no labels": 1}
    ranked = next(row for row in rows if row.question == "순위 질문 1")
    assert ranked.answer == "답 1 순위 1"
    assert ranked.alternatives == [f"답 1 순위 {n}" for n in (2, 3, 4, 5)]
    corpus = [row for row in rows if row.group == "doc-0"]
    assert [row.source.index for row in corpus] == [0, 1, 2]
    assert {row.source.member for row in corpus} == {"SL000.json"}
    assert corpus[0].source.split == "train"
    assert corpus[0].source.archive == f"{BASE}/Other/Other.zip"
    assert corpus[0].source.licence.startswith("AI Hub")
    assert corpus[0].category == "사회"


@pytest.mark.parametrize("numbering", ["offsets", "ordinals"])
def test_parts_and_tar_are_joined_without_a_copy(tmp_path, reading, numbering):
    whole = write_zip(tmp_path / "whole/Other.zip", {f"/SL{n:03d}.json": good(n, 3) for n in range(12)}).read_bytes()
    size = len(whole) // 3 + 1
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    named = {
        f"Other/Other.zip.part{n * size if numbering == 'offsets' else n}": piece for n, piece in enumerate(pieces)
    }
    (tmp_path / "tar").mkdir()
    with tarfile.open(tmp_path / "tar/download.tar", "w") as archive:
        for name, piece in sorted(named.items(), reverse=True):
            info = tarfile.TarInfo(name)
            info.size = len(piece)
            archive.addfile(info, io.BytesIO(piece))
    for name, piece in named.items():
        (tmp_path / "parts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "parts" / name).write_bytes(piece)
    plain, *_ = reading({"kind": "archive", "path": str(tmp_path / "whole")})
    for folder in ("tar", "parts"):
        rows, *_ = reading({"kind": "archive", "path": str(tmp_path / folder)})
        assert [row.id for row in rows] == [row.id for row in plain]
        assert len(rows) == 36


def test_a_missing_part_costs_what_follows_it(tmp_path, reading):
    whole = write_zip(
        tmp_path / "whole.zip", {f"/SL{n:03d}.json": good(n, 9) for n in range(30)}, zipfile.ZIP_STORED
    ).read_bytes()
    third = len(whole) // 3
    for n in (0, 2):
        (tmp_path / "hub").mkdir(exist_ok=True)
        (tmp_path / f"hub/Other.zip.part{n * third}").write_bytes(whole[n * third : (n + 1) * third])
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    facts = manifest.per_source["aihub-71748"]
    assert 40 < len(rows) < 120
    assert facts["archives_damaged"] == {f"part {third} is missing": 1}
    assert facts["members_skipped"] == {"truncated": 1}


def test_names_in_cp949_and_nfd(tmp_path, reading):
    path = tmp_path / "Other.zip"
    marks = b"XXXXXXXXXXXX"
    write_zip(path, {marks.decode() + ".json": good(1)})
    path.write_bytes(path.read_bytes().replace(marks, "회의록말뭉치".encode("cp949")))
    rows, *_ = reading({"kind": "archive", "path": str(path)})
    assert rows[0].source.member == "회의록말뭉치.json"
    import unicodedata

    write_zip(path, {unicodedata.normalize("NFD", "/회의록.json"): good(1)})
    rows, *_ = reading({"kind": "archive", "path": str(path)})
    assert rows[0].source.member == "회의록.json"


def test_loose_files_are_read_where_there_is_no_zip(tmp_path, reading):
    for n in range(3):
        (tmp_path / f"hub/Other/SL{n}.json").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"hub/Other/SL{n}.json").write_bytes(good(n))
    rows, *_ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    assert [row.source.member for row in rows] == ["SL0.json"] * 2 + ["SL1.json"] * 2 + ["SL2.json"] * 2


def record(text: str) -> bytes:
    return text.encode()


HEAD, TAIL = member(document(7, [("앞", "앞의 답")]))[:-1], b"," + member(document(8, [("뒤", "뒤의 답")]))[1:]
DOCUMENT = '{"data_id":"x","data_category":{"middle":"사회"},"contents":[{"QA":[%s]}]}'


def between(text: str | bytes) -> bytes:
    """A member with a broken record between two good ones."""
    return HEAD + b"," + (text.encode() if isinstance(text, str) else text) + TAIL


EVIL = {
    "overlapping entries": (overlapping, 2, {"overlapping entries": 1}),
    "packed size over the next member": (quoted_overlap, 2, {"overlapping entries": 1}),
    "own header over the next member": (long_header, 2, {"overlapping entries": 1}),
    "a bomb of zeros": (bomb, 2, {"compressed more than 200:1": 1}),
    "zeros that declare to be small": (lying_bomb, 2, {"compressed more than 200:1": 1}),
    "nested archive": (nested, 2, {"nested archive": 1}),
    "dots in a name": (lambda: plain({**GOOD, "../../evil.json": good(2)}), 2, {"unsafe name": 1}),
    "dots behind a slash": (lambda: plain({**GOOD, "/../evil.json": good(2)}), 2, {"unsafe name": 1}),
    "dots in Windows": (lambda: plain({**GOOD, "a\\..\\..\\evil.json": good(2)}), 2, {"unsafe name": 1}),
    "drive name": (lambda: plain({**GOOD, "C:/evil.json": good(2)}), 2, {"unsafe name": 1}),
    "symbolic link": (symlink, 2, {"symbolic link": 1}),
    "duplicate name": (duplicate, 2, {"duplicate name": 1}),
    "encrypted": (encrypted, 2, {"encrypted": 1}),
    "bad CRC": (bad_crc, 2, {"bad CRC": 1}),
    "damaged data": (damaged_data, 2, {"damaged data": 1}),
    "damaged header": (damaged_header, 2, {"damaged header": 1}),
    "unsupported method": (other_method, 2, {"unsupported compression": 1}),
    "cut at 50 %": (lambda: cut(0.5), None, {"truncated": 1}),
    "cut at 99 %": (lambda: cut(0.99), 320, {}),
    "garbage before": (garbage_before, 2, {}),
    "directory end beyond the file": (overflowing_zip64, 2, {}),
    "streamed and cut": (streamed, 4, {}),
    "leading slash is no attack": (lambda: plain({"/good.json": good(1)}), 2, {}),
    "not JSON by name": (lambda: plain({**GOOD, "notes.txt": b"x", "folder/": b""}), 2, {"not a JSON member": 1}),
    "not JSON by text": (lambda: plain({**GOOD, "odd.json": b"<html>"}), 2, {"no question-answer records": 1}),
    "empty member": (lambda: plain({**GOOD, "empty.json": b""}), 2, {"no question-answer records": 1}),
    "empty list": (lambda: plain({**GOOD, "empty.json": b"[]"}), 2, {"no question-answer records": 1}),
    "list of something else": (
        lambda: plain({**GOOD, "odd.json": b'[{"a": 1}]'}),
        2,
        {"no question-answer records": 1},
    ),
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_archive(name, tmp_path, reading):
    build, count, skipped = EVIL[name]
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/Other.zip").write_bytes(build())
    before = sorted(tmp_path.rglob("*"))
    rows, manifest, run = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    facts = manifest.per_source["aihub-71748"]
    assert len(rows) == count if count is not None else 100 < len(rows) < 200
    assert facts["members_skipped"] == skipped
    assert not [p for p in sorted(tmp_path.rglob("*")) if p not in before and run.root not in (p, *p.parents)]


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: b"", "not a zip"), (lambda: b"this is no zip" * 99, "not a zip"), (lambda: plain({}), "empty archive"),
        (lambda: cut(0.005), "cut or damaged"), (lambda: plain({"a.json": b"{}"}), "no question-answer records"),
    ],
    ids=["empty file", "no zip", "empty zip", "cut at once", "no rows"],
)  # fmt: skip
def test_an_archive_without_rows_is_one_clear_error(build, reason, tmp_path, reading):
    (tmp_path / "Other.zip").write_bytes(build())
    with pytest.raises(DataError, match="no question-answer row was found") as caught:
        reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert reason in str(caught.value)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "run/1-read/manifest.json").exists()


def test_an_unknown_layout_shows_the_first_records_shape(tmp_path, reading):
    odd = {"dataset": {"items": [{"물음": "무엇?", "대답": ["이것", "저것"], "n": 1}]}}
    write_zip(tmp_path / "set.zip", {"a.json": json.dumps(odd, ensure_ascii=False).encode()})
    with pytest.raises(DataError) as caught:
        reading({"kind": "archive", "path": str(tmp_path / "set.zip")})
    assert "{dataset: {items: [{물음: text, 대답: [text], n: number}]}}" in str(caught.value)


def test_many_members(tmp_path, reading):
    """As many as 70,000 would: more than one task, and the order of the rows stays."""
    members = {f"{n:05d}.json": good(n, 1) for n in range(tasks.TASK_MEMBERS + 700)}
    write_zip(tmp_path / "Other.zip", members, zipfile.ZIP_STORED)
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert [row.group for row in rows] == [f"doc-{n}" for n in range(len(members))]
    assert manifest.per_source["aihub-71748"]["members"] == len(members)


def test_more_members_than_the_limit(tmp_path):
    from mnatune.stages.read.archive import find_archives

    write_zip(tmp_path / "Other.zip", {f"{n}.json": b"[]" for n in range(9)})
    (archive,) = find_archives(tmp_path, ".json").archives
    assert zips.entries_of(archive, zips.Limits(members=8)) == ([], "more than 8 members")


TEXTS = {
    "NaN": (DOCUMENT % '{"question":"q","answer":NaN}', {"invalid-json": 1}),
    "Infinity": (DOCUMENT % '{"question":"q","answer":-Infinity}', {"invalid-json": 1}),
    "lone surrogate": (DOCUMENT % r'{"question":"q \ud800","answer":"a"}', {"invalid-json": 1}),
    "nested 10,000 deep": (DOCUMENT.replace("{", '{"deep":' + "[" * 10_000 + "]" * 10_000 + ",", 1) % "", {"too-deep": 1}),
    "duplicate key": (DOCUMENT % '{"question":"q","answer":"a","answer":"b"}', {"duplicate-key": 1}),
    "bad escape": (DOCUMENT % r'{"question":"\x","answer":"a"}', {"invalid-json": 1}),
    "trailing comma": (DOCUMENT % '{"question":"q","answer":"a",}', {"invalid-json": 1}),
    "neither UTF-8 nor cp949": (
        (DOCUMENT % '{"question":"@","answer":"a"}').encode().replace(b"@", b"\xff\xfe\xff"), {"undecodable-text": 1},
    ),
    "number for a document": ("17", {}),
    "text for contents": ('{"data_id":"x","contents":"text"}', {"wrong-type": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("whole", [tasks.WHOLE, 0], ids=["whole", "streamed"])
def test_a_broken_record_costs_only_itself(name, whole, tmp_path, reading, monkeypatch):
    """With members that are decoded at once and with members that are streamed."""
    monkeypatch.setattr("mnatune.stages.read.members.WHOLE", whole)
    text, dropped = TEXTS[name]
    write_zip(tmp_path / "Other.zip", {"a.json": between(text)})
    rows, manifest, run = reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert [row.question for row in rows] == ["앞", "뒤"]
    assert manifest.dropped == dropped
    assert manifest.rows_in == 2 + sum(dropped.values())
    from mnatune.runs.records import iter_qa

    lost = list(iter_qa(run.folder("read") / "dropped.parquet"))
    assert [row["drop_reason"] for row in lost] == list(dropped)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp949", "utf-16"])
def test_encodings(encoding, tmp_path, reading):
    write_zip(tmp_path / "Other.zip", {"a.json": good(1).decode().encode(encoding), "b.json": good(2)})
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert [row.answer for row in rows] == ["답변 1-0입니다.", "답변 1-1입니다.", "답변 2-0입니다.", "답변 2-1입니다."]
    assert not manifest.dropped


def test_mixed_encodings_in_one_member(tmp_path, reading):
    mixed = between((DOCUMENT % '{"question":"합병이란?","answer":"회사가 합하는 것"}').encode("cp949"))
    write_zip(tmp_path / "Other.zip", {"a.json": mixed})
    rows, *_ = reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert [row.question for row in rows] == ["앞", "합병이란?", "뒤"]


@pytest.mark.parametrize("end", [60, 200, -8, -1])
def test_a_member_cut_in_the_middle_of_a_row(end, tmp_path, reading):
    text = member(*(document(n, [(f"질문 {n}", f"답 {n}")]) for n in range(5)))
    write_zip(tmp_path / "Other.zip", {"a.json": text[:end], "b.json": good(1)})
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert manifest.dropped == {"truncated": 1}
    assert len(rows) >= 2


def test_rows_that_lack_something(tmp_path, reading):
    whole = document(1, [("q", "a")])
    rows = [
        {"question": "질문", "answer": "답", "extra": [1]}, {"answer": "답"}, {"question": "질문"}, {"question": None, "answer": "답"},
        {"question": 1, "answer": "답"}, {"question": "질문", "answer": ["답"]}, {"question": "", "answer": " "},
    ]  # fmt: skip
    without = {key: value for key, value in document(2, [("질문", "답")]).items() if key != "data_category"}
    odd = document(3, [("질문", "답")], category={"x": 1})
    whole["contents"][0]["QA"] = rows
    write_zip(tmp_path / "Other.zip", {"a.json": member(whole, without, odd)})
    kept, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert [(row.question, row.answer) for row in kept] == [("질문", "답"), ("", " ")]
    assert manifest.dropped == {"missing-question": 2, "missing-answer": 1, "wrong-type": 3, "missing-category": 1}


def test_streaming_gives_what_decoding_whole_gives(tmp_path, reading, monkeypatch):
    pairs = [(f'질문 "{n}" \\ [끝] {{', f"답 {n}]}}, {{") for n in range(300)]
    big = member(*(document(n, pairs[n * 10 : n * 10 + 10]) for n in range(30)))
    write_zip(tmp_path / "hub/Other.zip", {"big.json": big, "small.json": good(1)})
    write_zip(tmp_path / "hub/TL_x.zip", {"/SFTlabel.json": labels([sft(n) for n in range(50)])})
    whole, first, _ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    monkeypatch.setattr("mnatune.stages.read.members.WHOLE", 2000)
    monkeypatch.setattr("mnatune.stages.read.tasks.WHOLE", 2000)
    monkeypatch.setattr("mnatune.stages.read.zips.CHUNK", 97)
    streamed, second, _ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    assert streamed == whole
    assert first.per_source == second.per_source


def test_a_big_member_that_fails_at_its_end_leaves_no_row(tmp_path, reading, monkeypatch):
    monkeypatch.setattr("mnatune.stages.read.members.WHOLE", 2000)
    monkeypatch.setattr("mnatune.stages.read.tasks.WHOLE", 2000)
    data = patched(
        plain({**GOOD, "big.json": member(*(document(n, [("q", "a" * 900)]) for n in range(60)))}),
        "big.json",
        {16: b"\1\2\3\4"},
    )
    (tmp_path / "Other.zip").write_bytes(data)
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert len(rows) == 2
    assert manifest.per_source["aihub-71748"]["members_skipped"] == {"bad CRC": 1}


def test_processes_give_what_one_process_gives(tmp_path, reading, monkeypatch):
    monkeypatch.setattr(tasks, "TASK_BYTES", 3000)
    write_zip(tmp_path / "hub/Other.zip", {f"SL{n:03d}.json": good(n, 5) for n in range(12)})
    one, first, _ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    monkeypatch.setattr("mnatune.stages.read.PARALLEL_FROM", 0)
    monkeypatch.setattr("mnatune.stages.read.cores", lambda: 2)
    two, second, _ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    assert two == one
    assert {n: o["sha256"] for n, o in first.outputs.items()} == {n: o["sha256"] for n, o in second.outputs.items()}


def test_workers_raise_what_their_work_raises():
    assert list(spread(zlib.crc32, [(b"a",), (b"b",), (b"c",)], 2)) == [zlib.crc32(x) for x in (b"a", b"b", b"c")]
    with pytest.raises(RuntimeError, match="TypeError in a worker"):
        list(spread(zlib.crc32, [("text",), ("text",)], 2))


def test_a_whole_zip_beside_its_parts_is_read_once(tmp_path, reading):
    whole = write_zip(tmp_path / "hub/Other.zip", {f"/SL{n:03d}.json": good(n, 3) for n in range(4)}).read_bytes()
    half = len(whole) // 2
    for at, piece in ((0, whole[:half]), (half, whole[half:])):
        (tmp_path / f"hub/Other.zip.part{at}").write_bytes(piece)
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    assert len(rows) == 12
    facts = manifest.per_source["aihub-71748"]
    assert facts["archives_skipped"] == {"part of a zip that is there whole": 2}
    assert not facts["archives_damaged"]
