"""Documentation that cannot lie: generated pages are current, links lead somewhere, both READMEs name the same commands."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "starter" / "README.md"]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "function"), [("recipe.md", "recipe_page"), ("cli.md", "cli_page")])
def test_generated_pages_are_current(page: str, function: str) -> None:
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert written == getattr(generator(), function)(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_place_was_left_to_be_filled(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^[A-Z][A-Z_]{3,}$|\b(?:TODO|FIXME|TBD)\b", text, re.M) == []


def test_both_readmes_show_the_same_commands() -> None:
    def commands(name: str) -> list[str]:
        blocks = re.findall(r"```bash\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
        return [re.sub(r"\s*#.*", "", line).strip() for block in blocks for line in block.splitlines()]

    assert commands("README.md") == commands("README.en.md")


def test_readme_commands_exist() -> None:
    import typer

    from mnatune.cli import app

    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"mnatune ([a-z]+) ", text)) <= known
