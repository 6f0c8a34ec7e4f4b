"""The shape of the code: layers, light imports, sizes."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mnatune"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "daft", "vllm", "pandas", "sqlalchemy", "fastapi")


def ranks() -> dict[str, int]:
    """Module → rank, from the line after the `ranks` mark of docs/architecture.md; 0 is the top."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    line = text.split("<!-- ranks -->\n`", 1)[1].split("`", 1)[0]
    return {name.strip(): rank for rank, names in enumerate(line.split(">")) for name in names.split(",")}


def imports(file: Path) -> set[tuple[str, ...]]:
    """Modules of mnatune that a file imports, as paths below the package."""
    home = file.relative_to(PACKAGE).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = home[: len(home) - node.level]
            path = (*base, *(node.module or "").split(".")) if node.module else base
            found |= {path} if path else {(alias.name,) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mnatune"):
            path = tuple((node.module or "").split(".")[1:])
            found |= {path} if path else {(alias.name,) for alias in node.names}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_imports_go_to_the_right_only(file: Path) -> None:
    order = ranks()
    home = file.relative_to(PACKAGE).with_suffix("").parts
    if home in (("__init__",), ("__main__",)):
        return
    for path in imports(file):
        top = path[0]
        if top in ("__init__", "__version__"):
            continue
        assert top in order, f"{top} has no rank in docs/architecture.md"
        if top == home[0]:
            if top == "stages" and len(path) > 1 and len(home) > 1:
                assert path[1] == home[1], f"stage {home[1]} imports stage {path[1]}"
            continue
        assert order[top] > order[home[0]], f"{'.'.join(home)} imports {'.'.join(path)}: upward or sideways"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_files_and_functions_stay_small(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 420
    assert file.stem not in ("utils", "common", "helpers", "misc")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 66, f"{node.name} is too long"
            assert node.returns is not None, f"{node.name} has no return type"


def test_the_light_path_stays_light() -> None:
    code = "import sys; import mnatune, mnatune.cli, mnatune.journey; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint(HEAVY), loaded.intersection(HEAVY)


def test_public_names_are_sorted_and_exist() -> None:
    import mnatune

    assert mnatune.__all__ == sorted(mnatune.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n))
    assert all(getattr(mnatune, name) is not None for name in mnatune.__all__)


def test_repository_speaks_of_the_product_alone() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    stain = re.compile(r"/work/(?:main|shared)|/tmp/(?:venv|parts|brief)")
    for name in listed.stdout.splitlines():
        file = ROOT / name
        if (
            file.suffix in {".py", ".md", ".toml", ".yaml", ".js", ".html", ".css", ".json"}
            and file.is_file()
            and name != "tests/test_shape.py"
        ):
            assert not stain.search(file.read_text(encoding="utf-8", errors="ignore")), name
