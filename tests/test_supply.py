"""What is installed: pinned by hash, licensed for a closed building, and without copyleft of programs."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_docs import generator

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


def refused(licence: str) -> bool:
    """GPL or AGPL without another licence to choose; LGPL lets a program use a library."""
    choices = re.split(r" OR | / |;", licence)
    strong = [
        re.search(r"(?<![Ll])A?GPL|(?<!Lesser )(?<!Library )General Public License", choice) for choice in choices
    ]
    return all(strong)


@pytest.mark.parametrize(
    ("licence", "no"),
    [("GPL-3.0-or-later", True), ("AGPL-3.0", True), ("GNU Affero General Public License v3", True), ("GPLv2", True),
     ("GNU General Public License v3 (GPLv3)", True), ("MIT AND GPL-2.0-only", True), ("LGPL-3.0-only", False),
     ("GNU Lesser General Public License v2 or later (LGPLv2+)", False), ("MPL-1.1 OR GPL-2.0-only", False), ("MIT", False)],
)  # fmt: skip
def test_strong_copyleft_is_recognised(licence: str, no: bool) -> None:
    assert refused(licence) is no


def test_every_package_states_a_licence_and_none_is_gpl() -> None:
    found = generator().licences()
    assert len(found) > 100
    assert {name: licence for name, licence in found.items() if not licence} == {}
    assert {name: licence for name, licence in found.items() if refused(licence)} == {}
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8").splitlines()
    assert set(generator().licences_page().splitlines()) - set(page) == set(), "run `make docs`"


def pins(lock: Path) -> dict[str, str]:
    """Name → the block of a package in a lock file."""
    blocks = re.split(r"^(?=[a-z])", lock.read_text(encoding="utf-8"), flags=re.M)
    return {canonicalize_name(re.split(r"[=\[]", block)[0]): block for block in blocks if block.strip()}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_one_version_and_hashes(lock: Path) -> None:
    found = pins(lock)
    assert len(found) > 20
    for name, block in found.items():
        assert re.match(r"[a-z0-9.-]+(\[[a-z,-]+\])?==\S+( ; .+)? \\\n", block), name
        assert "--hash=sha256:" in block, name
        assert not re.search(r"https?://", block), name


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("dev.lock", ("dev", "serve", "collect", "documents", "judge")), ("serve.lock", ("serve", "postgres"))],
)
def test_a_lock_holds_what_the_project_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    found = pins(ROOT / "requirements" / lock)
    for line in wanted:
        need = Requirement(line)
        if need.name == "torch":  # its build depends on the machine
            continue
        version = re.search(r"==(\S+)", found[canonicalize_name(need.name)])
        assert version is not None
        assert version[1] in need.specifier, line
    assert not [name for name in found if name == "torch" or name.startswith("nvidia-")]
