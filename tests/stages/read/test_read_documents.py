"""Folders of office files: every file is read or skipped for a reason, and every passage knows its place."""

import tarfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mnatune.runs.errors import DataError, EnvironmentFault
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.records import Document
from mnatune.stages.curate import curate
from mnatune.stages.read.preview import preview_text


@pytest.fixture
def room(office, tmp_path) -> Path:
    """A folder with a file of every kind, what cannot be read, a copy, and an archive."""
    root = tmp_path / "딜룸"
    (root / "계약").mkdir(parents=True)
    for number, (kind, write) in enumerate(office.WRITERS.items()):
        (root / "계약" / f"문서.{kind}").write_bytes(write(office.paper(number, 2)))
    (root / "사본.docx").write_bytes((root / "계약" / "문서.docx").read_bytes())
    (root / "스캔.pdf").write_bytes(office.pdf(office.paper(1, 2), text=False))
    (root / "배포용.hwp").write_bytes(office.hwp(office.paper(2, 2), flags=5))
    (root / "~$문서.docx").write_bytes(b"x")
    (root / "바로가기.txt").symlink_to(root / "계약" / "문서.txt")
    with zipfile.ZipFile(root / "묶음.zip", "w") as archive:
        archive.writestr("안/회의록.hwpx", office.hwpx(office.paper(99, 2)))
        archive.writestr("안/깨짐.docx", b"PK\3\4nothing")
        archive.writestr("__MACOSX/안/._회의록.hwpx", b"x")
        archive.writestr("더.zip", b"PK\3\4")
    return root


def documents(run, stage="read"):
    return [Document.from_row(row) for row in pq.read_table(run.folder(stage) / "documents.parquet").to_pylist()]


def test_every_file_has_one_fate(room, reading):
    _, manifest, run = reading({"kind": "documents", "path": str(room), "name": "딜룸", "licence": "사내"})
    facts = manifest.per_source["딜룸"]
    assert facts["members"] == 11
    assert facts["members_skipped"] == {
        "same content as another file": 1,
        "images without text": 1,
        "for distribution only (배포용)": 1,
        "file of the system": 2,
        "symbolic link": 1,
        "damaged file": 1,
        "nested archive": 1,
    }
    assert {name: n for name, n in facts.items() if name.startswith("layout/")} == {
        f"layout/{kind}": 2 if kind == "hwpx" else 1
        for kind in ("docx", "eml", "html", "hwp", "hwpx", "md", "pdf", "pptx", "txt", "xlsx")
    }
    assert facts["contents"]["pages"] >= 20
    assert facts["contents"]["attachments"] == 1
    found = documents(run)
    assert manifest.rows_out == facts["documents"] == len(found)
    assert all(d.source.place and d.source.licence == "사내" for d in found)
    assert {(d.source.archive, d.source.member) for d in found if "회의록" in d.source.member} == {
        ("묶음.zip", "안/회의록.hwpx")
    }
    groups = {d.group for d in found}
    assert len(groups) == 11


def test_a_single_archive_and_a_single_file(room, reading):
    _, manifest, run = reading({"kind": "documents", "path": str(room / "묶음.zip"), "name": "a"})
    assert manifest.per_source["a"]["members"] == 1
    _, manifest, run = reading({"kind": "documents", "path": str(room / "계약/문서.pdf"), "name": "a"})
    assert {d.source.place.endswith("쪽") for d in documents(run)} == {True}


def test_a_tar_of_documents(office, tmp_path, reading):
    (tmp_path / "a.docx").write_bytes(office.docx(office.paper(1, 2)))
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "a.docx", "딜룸/계약/a.docx")
    _, _, run = reading({"kind": "documents", "path": str(tmp_path / "x.tar"), "name": "a"})
    assert {(d.source.archive, d.source.member) for d in documents(run)} == {("x.tar", "딜룸/계약/a.docx")}


def test_a_folder_without_documents(tmp_path, reading):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.exe").write_bytes(b"MZ")
    with pytest.raises(DataError, match=r"nothing was read .* not a document \(1\)"):
        reading({"kind": "documents", "path": str(tmp_path / "x")})


def test_a_missing_package_is_named_with_its_pip_line(room, reading, tmp_path, monkeypatch):
    (tmp_path / "blocked" / "dochan").mkdir(parents=True)
    (tmp_path / "blocked" / "dochan" / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(str(tmp_path / "blocked"))
    with pytest.raises(EnvironmentFault, match="dochan") as caught:
        reading({"kind": "documents", "path": str(room), "name": "a"})
    assert caught.value.next_step == "pip install 'mnatune[documents]'"


def test_personal_data_is_masked_in_documents(office, tmp_path, reading, pack):
    part = office.Part(
        "연락처",
        ["담당자의 전화는 010-1234-5678이고 주민등록번호는 900101-1234567입니다."],
        [office.Grid([["이름", "전화"], ["담당", "010-9876-5432"]])],
    )
    (tmp_path / "x").mkdir()
    for kind in ("docx", "pdf", "xlsx"):
        (tmp_path / "x" / f"연락처 010-1234-5678.{kind}").write_bytes(
            office.WRITERS[kind](office.Paper("연락처 목록", [part]))
        )
    source = {"kind": "documents", "path": str(tmp_path / "x"), "name": "a"}
    _, _, run = reading(source)
    recipe = Recipe.model_validate({"name": "t", "read": {"sources": [source]}})
    run.perform("curate", {}, {}, 42, "", lambda place: curate(Job(recipe, pack, run, place)), force=True)
    raw, masked = ("\n".join(d.text for d in documents(run, stage)) for stage in ("read", "curate"))
    assert raw.count("010-9876-5432") == 3
    assert not {"010-1234-5678", "900101-1234567", "010-9876-5432"} & {
        n for n in ("010-1234-5678", "900101-1234567", "010-9876-5432") if n in masked
    }
    assert "| 이름 | 전화 |" in masked
    assert [d.source.place for d in documents(run)] == [d.source.place for d in documents(run, "curate")]
    assert {d.source.member for d in documents(run, "curate")} == {
        f"연락처 [전화번호].{k}" for k in ("docx", "pdf", "xlsx")
    }


def test_the_preview_says_what_a_folder_gives(room):
    told = preview_text(room)
    assert "11 files read, 8 skipped" in told
    assert "hwpx 2" in told
    assert "skipped: for distribution only (배포용)" in told
    for kind in ("[article]", "[table]"):
        assert kind in told
