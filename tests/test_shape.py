"""The shape of the code: layers, light imports, sizes."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.metadata import packages_distributions
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
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("mnatune")):
            base = home[: len(home) - node.level] if node.level else ()
            path = (*base, *(node.module or "").split(".")[0 if node.level else 1 :]) if node.module else base
            inner = {(*path, alias.name) for alias in node.names}
            modules = {place for place in inner if place_of(place)}
            found |= modules | ({path} if len(modules) < len(inner) and path else set())
            found |= inner if not path else set()
    return found


def rank(module: tuple[str, ...], order: dict[str, int]) -> int:
    """Rank of a module: its own, or its room's."""
    return order[".".join(module[:2])] if ".".join(module[:2]) in order else order[module[0]]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_imports_go_to_the_right_only(file: Path) -> None:
    order = ranks()
    home = file.relative_to(PACKAGE).with_suffix("").parts
    if home in (("__init__",), ("__main__",)):
        return
    for path in imports(file):
        if path[0] in ("__init__", "__version__"):
            continue
        if path[0] == home[0] == "stages":
            assert path[1:2] == home[1:2], f"stage {home[1]} imports stage {path[1]}"
        elif path[0] != home[0] or rank(path, order) != rank(home, order):
            assert rank(path, order) > rank(home, order), (
                f"{'.'.join(home)} imports {'.'.join(path)}: upward or sideways"
            )


def test_no_import_cycle() -> None:
    """Not between rooms, and not inside one; imports inside functions count too."""
    graph = {}
    for file in FILES:
        home = file.relative_to(PACKAGE).with_suffix("").parts
        graph[home] = {place for path in imports(file) if (place := place_of(path)) not in (None, home)}
    done: set[tuple[str, ...]] = set()

    def walk(module: tuple[str, ...], trail: list[tuple[str, ...]]) -> None:
        assert module not in trail, " → ".join(".".join(step) for step in [*trail[trail.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                walk(other, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        walk(module, [])


def place_of(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """The file that an imported path names: a module, or a package's `__init__`."""
    for parts in (path, (*path, "__init__")):
        if PACKAGE.joinpath(*parts).with_suffix(".py").is_file():
            return parts
    return None


def test_the_house_has_the_rooms_it_says() -> None:
    rooms = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert len(rooms) <= 12, rooms
    stages = {path.name for path in (PACKAGE / "stages").iterdir()} - {"__pycache__", "__init__.py"}
    from mnatune.runs.workspace import STAGES

    assert stages == set(STAGES)


def test_no_two_classes_and_no_two_files_share_a_name() -> None:
    classes = Counter(
        node.name for file in FILES for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)
    )
    files = Counter(file.name for file in FILES if file.name != "__init__.py")
    assert [name for name, count in (classes + files).items() if count > 1] == []


def test_models_are_loaded_in_one_file() -> None:
    loaders = [f.name for f in FILES if "AutoModelForCausalLM.from_pretrained(" in f.read_text(encoding="utf-8")]
    assert loaders == ["load.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_files_and_functions_stay_small(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert file.stem not in ("utils", "common", "helpers", "misc")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 60, f"{node.name} is too long"
            assert node.returns is not None, f"{node.name} has no return type"


def test_the_light_path_stays_light() -> None:
    code = "import sys; import mnatune, mnatune.cli, mnatune.runs.journey; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint(HEAVY), loaded.intersection(HEAVY)


def test_what_a_plain_install_runs_imports_only_what_it_brings() -> None:
    """Packages of the extras are imported at the head of a file only in the rooms that an extra is for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.split(r"[>=\[]", line)[0].lower() for line in project["dependencies"]} | {"markupsafe"}  # jinja2's own
    homes = packages_distributions()
    foreign = [
        f"{file.relative_to(PACKAGE)}: {top}"
        for file in FILES
        if not str(file.relative_to(PACKAGE)).startswith(("service/", "stages/collect/"))
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        for top in heads(node)
        if top not in sys.stdlib_module_names and not {home.lower() for home in homes.get(top, [top])} & core
    ]
    assert not foreign


def heads(node: ast.stmt) -> list[str]:
    """Top packages that an absolute import names."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [str(node.module).partition(".")[0]] if isinstance(node, ast.ImportFrom) and not node.level else []


def test_public_names_are_sorted_and_exist() -> None:
    import mnatune

    assert mnatune.__all__ == sorted(mnatune.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n))
    assert all(getattr(mnatune, name) is not None for name in mnatune.__all__)


def test_no_test_imports_a_conftest() -> None:
    """Which one is found depends on what was collected before: helpers stand in files of their own."""
    files = (ROOT / "tests").rglob("*.py")
    assert not [file.name for file in files if re.search(r"^(?:from|import) conftest", file.read_text("utf-8"), re.M)]


def test_repository_speaks_of_the_product_alone() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    places = {"work": "main|shared", "tmp": "venv|parts|brief"}  # in parts, so that this file names no place either
    stain = re.compile("|".join(f"/{top}/(?:{below})" for top, below in places.items()))
    for name in listed.stdout.splitlines():
        file = ROOT / name
        if file.suffix in {".py", ".md", ".toml", ".yaml", ".js", ".html", ".css", ".json"} and file.is_file():
            assert not stain.search(file.read_text(encoding="utf-8", errors="ignore")), name
