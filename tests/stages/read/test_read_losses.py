"""Nothing is lost without a word: damaged tars, records that may not be read, rows of the wrong kind, names of any encoding."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hub import document, good, member, write_zip

from mnatune.stages.read import members, split
from mnatune.stages.read.markdown import joined
from mnatune.stages.read.split import split_records
from mnatune.stages.read.tars import tar_parts

CUT, HEADER = "cut: the tar's end mark is missing", "damaged header in a tar"


def tar_of(path: Path, files: dict[str, bytes]) -> dict[str, int]:
    """Write a tar; returns where each header stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    places = {}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            places[name] = archive.offset
            archive.addfile(info, io.BytesIO(data))
    return places


def labels(*rows):
    return json.dumps({"data_info": list(rows)}, ensure_ascii=False).encode()


def ranked(ranks):
    row = {"data_id": "r", "data_category": {"middle": "인문"}, "question": "순위를 묻는 질문인가요?"}
    return row | {f"answer{n:02d}": {"ranking": rank, "contents": f"{n}번째 답"} for n, rank in enumerate(ranks, 1)}


FILES = {f"Training/d{n}.json": good(n, 3) for n in range(4)}


@pytest.mark.parametrize(
    ("harm", "left", "reason"),
    [
        (lambda data, at: data[: at + 150] + b"X" + data[at + 151 :], 9, HEADER),
        (lambda data, at: data[:at] + bytes(512) + data[at + 512 :], 9, HEADER),
        (lambda data, at: data[:at], 6, CUT),
        (lambda data, at: data[: at + 700], 7, CUT),
        (lambda data, at: data, 12, ""),
    ],
    ids=["flipped header", "zeroed header", "cut between members", "cut within a member", "whole"],
)
def test_a_damaged_tar_is_read_on_and_told(harm, left, reason, tmp_path, reading):
    path = tmp_path / "hub/a.tar"
    at = tar_of(path, FILES)["Training/d2.json"]
    path.write_bytes(harm(path.read_bytes(), at))
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    facts = manifest.per_source["aihub-71748"]
    assert left - 2 <= len(rows) <= left
    assert facts["archives_damaged"] == ({reason: 1} if reason else {})
    assert bool(facts["warnings"]) == bool(reason)


def test_files_of_equal_names_in_two_tars_are_both_read(tmp_path, reading):
    for name, number in (("a", 1), ("b", 2)):
        data = write_zip(tmp_path / f"{name}.zip", {"/SL0.json": good(number, 3)}).read_bytes()
        tar_of(tmp_path / f"hub/{name}.tar", {"Training/TL.zip": data, "Validation/x.json": good(number + 4)})
    rows, *_ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    assert len({row.question for row in rows}) == 10
    assert {row.source.split for row in rows} == {"train", "valid"}


def test_links_and_sparse_files_of_a_tar(tmp_path, reading):
    path = tmp_path / "hub/a.tar"
    tar_of(path, {"Training/d0.json": good(0)})
    with tarfile.open(path, "a") as archive:
        for name, kind in (("Training/d1.json", tarfile.LNKTYPE), ("Training/d2.json", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "Training/d0.json"
            archive.addfile(info)
    sparse = tarfile.TarInfo("Training/d3.json")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with tarfile.open(path, "a") as archive:
        archive.addfile(sparse)
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    assert [row.source.member for row in rows] == ["d0.json"] * 2 + ["d1.json"] * 2
    skipped = manifest.per_source["aihub-71748"]["archives_skipped"]
    assert skipped == {"link or device in a tar": 1, "sparse file in a tar: unpack it first": 1}


def test_every_byte_of_a_tar_belongs_to_a_part(tmp_path):
    path = tmp_path / "a.tar"
    places = tar_of(path, FILES)
    data = path.read_bytes()
    for at in places.values():
        path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
        parts = list(tar_parts(path))
        assert sum(part.span is not None for part in parts) == 3
        assert [part.reason for part in parts if part.damage] == [HEADER]


def test_names_on_disk_in_cp949(tmp_path, reading):
    folder = tmp_path / "hub/Training"
    folder.mkdir(parents=True)
    raw = os.fsencode(folder) + b"/" + "회의록".encode("cp949") + b".json"
    with open(raw, "wb") as file:
        file.write(good(1))
    rows, *_ = reading({"kind": "archive", "path": str(tmp_path / "hub")})
    assert {row.source.member for row in rows} == {"회의록.json"}


WRONG = {
    "a number for a row": ('{"question":"q1","answer":"a1"},7,{"question":"q2","answer":"a2"}', 2, {"wrong-type": 1}),
    "a text for a row": ('"text",{"question":"q1","answer":"a1"}', 1, {"wrong-type": 1}),
    "a key twice": (
        '{"question":"q1","answer":"a1"},{"question":"q","answer":"a","answer":"b"},{"question":"q3","answer":"a3"}',
        2, {"duplicate-key": 1},
    ),
    "a list for an answer": ('{"question":"q1","answer":["a"]},{"question":"q2","answer":"a2"}', 1, {"wrong-type": 1}),
    "a comma too many": (",".join(['{"question":"q","answer":"a"}'] * 5) + ",,", 0, {"invalid-json": 5}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_row_costs_itself_and_not_its_document(name, tmp_path, reading):
    text, left, dropped = WRONG[name]
    odd = '{"data_id":"x","data_category":{"middle":"사회"},"contents":[{"QA":[' + text + "]}]}"
    data = member(document(7, [("앞", "앞의 답")]))[:-1] + b"," + odd.encode() + b"]"
    write_zip(tmp_path / "Other.zip", {"a.json": data})
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert len(rows) == 1 + left
    assert manifest.dropped == dropped


def test_a_record_beyond_the_limit_is_passed_over(tmp_path, reading, monkeypatch):
    for module in (split, members):
        monkeypatch.setattr(module, "RECORD_BYTES", 1 << 16)
    monkeypatch.setattr(split, "WINDOW", 1 << 12)
    monkeypatch.setattr(members, "WHOLE", 0)
    huge = document(1, [("큰 질문", 'a]}"\\' * 60_000)])
    data = member(document(0, [("앞", "앞의 답")]), huge, document(2, [("뒤", "뒤의 답")]))
    write_zip(tmp_path / "Other.zip", {"a.json": data}, 0)
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "Other.zip")})
    assert [row.question for row in rows] == ["앞", "뒤"]
    assert sum(manifest.dropped.values()) == 1


@pytest.mark.parametrize("tail", ["\\", '"', '\\"', "]}", "가"])
def test_skipping_ends_where_the_element_does(tail, monkeypatch):
    monkeypatch.setattr(split, "RECORD_BYTES", 64)
    for window in range(5, 40):
        monkeypatch.setattr(split, "WINDOW", window)
        records = [{"a": "x"}, {"a": ("b" + tail) * 200}, {"a": "y"}]
        found = list(split_records([json.dumps(records, ensure_ascii=False).encode()], []))
        assert [bytes(piece) for piece in found if not isinstance(piece, split.Broken)] == [
            b'{"a": "x"}',
            b'{"a": "y"}',
        ]
        assert sum(isinstance(piece, split.Broken) for piece in found) == 1


@pytest.mark.parametrize(
    ("ranks", "best"),
    [
        ((3, 1, 2), 2), (("3", "1", "2"), 2), ((3.0, 1.0, 2.0), 2), (("3위", "1위", "2위"), 2), (("３", "１", "２"), 2),
        ((3, None, 2), 0), ((1, 1, 2), 0), (("가", "나", "다"), 0), ((True, 2, 3), 0), ((2.5, 1, 3), 0),
    ],
)  # fmt: skip
def test_a_rank_is_read_or_the_row_is_dropped(ranks, best, tmp_path, reading):
    sure = {"data_id": "s", "data_category": {"middle": "인문"}, "question": "묻는가?", "answer": {"contents": "답"}}
    write_zip(tmp_path / "TL.zip", {"/label.json": labels(ranked(ranks), sure)})
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "TL.zip")})
    assert [row.answer for row in rows[:-1]] == ([f"{best}번째 답"] if best else [])
    assert manifest.dropped == ({} if best else {"unclear-ranking": 1})


def test_unpacked_folders_beside_zips(tmp_path, reading):
    root = tmp_path / "hub"
    write_zip(root / "Training/TL_01.zip", {"/a.json": good(1), "/b.json": good(2)})
    (root / "Training/TL_02").mkdir()
    (root / "Training/TL_02/c.json").write_bytes(good(3))
    (root / "Training/TL_01").mkdir()
    for name, number in (("a", 1), ("b", 2)):
        (root / f"Training/TL_01/{name}.json").write_bytes(good(number))
    (root / "Validation").mkdir()
    (root / "Validation/d.json").write_bytes(good(4))
    (root / "읽어 보세요.txt").write_text("안내")
    rows, manifest, _ = reading({"kind": "archive", "path": str(root)})
    assert {(row.source.member, row.source.split) for row in rows} == {
        ("a.json", "train"),
        ("b.json", "train"),
        ("c.json", "train"),
        ("d.json", "valid"),
    }
    assert len(rows) == 8
    facts = manifest.per_source["aihub-71748"]
    assert facts["archives_skipped"] == {"unpacked copy of a zip that is read": 1, "not an archive": 1}
    assert any("읽어 보세요.txt" in warning for warning in facts["warnings"])


def test_the_sources_own_folder_names_the_split(tmp_path, reading):
    (tmp_path / "Validation").mkdir()
    (tmp_path / "Validation/d.json").write_bytes(good(4))
    rows, *_ = reading({"kind": "archive", "path": str(tmp_path / "Validation")})
    assert {row.source.split for row in rows} == {"valid"}


def test_a_cut_member_keeps_the_records_before_the_cut(tmp_path, reading):
    data = write_zip(
        tmp_path / "a.zip", {"/m.json": member(*(document(n, [(f"질문 {n}", "답")]) for n in range(40)))}, 0
    )
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    rows, manifest, _ = reading({"kind": "archive", "path": str(data)})
    assert 5 < len(rows) < 40
    assert manifest.per_source["aihub-71748"]["members_skipped"] == {"truncated": 1}
    assert manifest.dropped == {"truncated": 1}


def test_a_date_that_no_calendar_has_costs_the_date_alone(tmp_path, reading):
    head = "---\n제목: {}\n시행일자: {}\n---\n##### 제1조 (목적)\n\n이 법은 목적을 정한다.\n"
    for number, day in enumerate(("2020-02-30", "2020-03-01")):
        (tmp_path / f"법{number}.md").write_text(head.format(f"법{number}", day), encoding="utf-8")
    _, manifest, run = reading({"kind": "law", "path": str(tmp_path)})
    import pyarrow.parquet as pq

    dates = pq.read_table(run.folder("read") / "documents.parquet")["in_force"].to_pylist()
    assert dates == ["", "2020-03-01"]
    assert "2020-02-30" in "".join(next(iter(manifest.per_source.values()))["warnings"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("구 상법 제530조의2 제1항,\n제2항에 따라 무효이다.", "구 상법 제530조의2 제1항, 제2항에 따라 무효이다."),
        ("[1] 합병의 의미\n[2] 분할의 의미", "[1] 합병의 의미\n[2] 분할의 의미"),
        ("가. 영업양도의 의의\n나. 그 효과", "가. 영업양도의 의의\n나. 그 효과"),
        ("무효이다.\n다만 예외가 있다.", "무효이다.\n다만 예외가 있다."),
        ("할 수 있는지 여부(적극)\n분할의 경우", "할 수 있는지 여부(적극)\n분할의 경우"),
        ("법률(1999. 12. 31. 개정되기 전의 것)\n제3조에 의하면", "법률(1999. 12. 31. 개정되기 전의 것) 제3조에 의하면"),
        ("근거규정인\n약사법시행규칙 제24조는\n같은 법 제35조,", "근거규정인 약사법시행규칙 제24조는 같은 법 제35조,"),
        ("앞 문단이고\n\n뒤 문단이다.", "앞 문단이고\n\n뒤 문단이다."),
    ],
)
def test_line_breaks_within_a_sentence(text, wanted):
    assert joined(text) == wanted
    assert joined(wanted) == wanted
