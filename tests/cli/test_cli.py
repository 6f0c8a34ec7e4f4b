"""Exit codes and messages for everything a user can get wrong."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a child process."""
    return subprocess.run([sys.executable, "-m", "mnatune", *words], capture_output=True, text=True)


def recipe(folder: Path, source: Path, kind: str = "qa") -> str:
    """A recipe with one source."""
    file = folder / "r.yaml"
    file.write_text(
        f"name: x\nmodel:\n  id: starter\nread:\n  sources:\n  - kind: {kind}\n    path: {source}\n", encoding="utf-8"
    )
    return str(file)


def test_version_and_help() -> None:
    assert command("--version").stdout.startswith("mnatune ")
    assert "evaluate" in command("--help").stdout


@pytest.mark.parametrize("words", [["nosuch"], ["run"], ["run", "nosuch"], ["run", "quickstart", "--set", "train.epoch=1"],
                                   ["report", "nosuch"], ["ask", "질문", "--run", "nosuch"], ["evaluate"],
                                   ["evaluate", "--compare", "nosuch", "http://127.0.0.1:9/v1#m"],
                                   ["evaluate", "quickstart", "--labels", "nosuch.csv"]])  # fmt: skip
def test_wrong_usage_exits_2_with_one_message(words: list[str]) -> None:
    done = command(*words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_missing_source_exits_2(tmp_path: Path) -> None:
    done = command("read", recipe(tmp_path, tmp_path / "none.csv"), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "none.csv" in done.stderr


@pytest.mark.parametrize("content", ["제목,내용\n가,나\n", "", "\ufeff"])
def test_csv_without_an_answer_column_exits_3(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(content, encoding="utf-8")
    done = command("read", recipe(tmp_path, file), "--out", str(tmp_path / "run"))
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("error:") == 1
    assert "a.csv" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_source_of_broken_zips_only_exits_3(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "Other.zip", "w") as archive:
        archive.writestr("/a.json", "[]" * 100)
    whole = (folder / "Other.zip").read_bytes()
    (folder / "Other.zip").write_bytes(whole[: len(whole) // 2])
    done = command("read", recipe(tmp_path, folder, "archive"), "--out", str(tmp_path / "run"))
    assert done.returncode == 3, (done.stdout, done.stderr)
    assert "damaged" in done.stderr
    assert str(folder) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stage_before_its_time_names_the_command(tmp_path: Path) -> None:
    done = command("judge", "quickstart", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "mnatune curate" in done.stderr


def test_init_copies_an_editable_start(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert command("init", str(folder)).returncode == 0
    assert (folder / "recipes" / "quickstart.yaml").exists()
    assert "pack: packs/mna_ko" in (folder / "recipes" / "quickstart.yaml").read_text(encoding="utf-8")
    assert (folder / "packs" / "mna_ko" / "pack.yaml").exists()
    again = command("init", str(folder))
    assert again.returncode == 2


def test_doctor_is_content_with_the_quickstart() -> None:
    done = command("doctor", "quickstart")
    assert done.returncode == 0, done.stdout
    assert "tokenizer" in done.stdout


def test_doctor_names_a_cure_where_there_is_no_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("has a GPU")
    done = command("doctor", "qwen3-8b-qlora")
    assert done.returncode == 4
    assert "cure:" in done.stdout
