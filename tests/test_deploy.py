"""Deployment files: they name real options and images, open nothing by accident, and agree with the exports."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

DEPLOY = Path(__file__).parents[1] / "deploy"


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]


def options_of(*names):
    from mnatune.cli import app

    command = get_command(app)
    for name in names:
        command = command.commands[name]
    return {option for parameter in command.params for option in parameter.opts}


def test_the_gateway_is_started_with_options_that_exist(services):
    given = [word.partition("=")[0] for word in services["gateway"]["command"][1:]]
    assert services["gateway"]["command"][0] == "serve"
    assert set(given) <= options_of("serve")


@pytest.mark.parametrize(
    ("unit", "command"), [("mnatune.service", ("serve",)), ("mnatune-retain.service", ("feedback", "retain"))]
)
def test_the_units_are_started_with_options_that_exist(unit, command):
    text = (DEPLOY / unit).read_text().replace("\\\n", " ")
    words = shlex.split(re.search(r"^ExecStart=(.*)$", text, re.M)[1])
    assert tuple(words[1 : 1 + len(command)]) == command
    assert {word for word in words if word.startswith("--")} <= options_of(*command)


def test_only_the_gateway_can_be_reached_and_only_from_this_machine(services):
    assert services["gateway"]["ports"] == ["127.0.0.1:8080:8080"]
    networks = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["networks"]
    assert networks["back"] == {"internal": True}
    for name in ("vllm", "postgres"):
        assert "ports" not in services[name]
        assert services[name]["networks"] == ["back"]


def test_no_secret_and_no_floating_image(services):
    text = (DEPLOY / "compose.yaml").read_text() + (DEPLOY / "env.example").read_text()
    assert not re.search(r"PASSWORD[:=] *[A-Za-z0-9]", text)
    images = [service["image"] for service in services.values() if "build" not in service]
    images += [services["gateway"]["build"]["args"]["PYTHON_IMAGE"]]
    assert len(images) == len(services)
    assert all(re.fullmatch(r"\$\{\w+_IMAGE:\?pin it by digest in deploy/\.env\}", image) for image in images)


def test_the_image_runs_as_a_user_and_installs_by_hash():
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    assert {line.split()[1] for line in lines if line.startswith("FROM")} == {"${PYTHON_IMAGE}"}
    users = [number for number, line in enumerate(lines) if line.startswith("USER")]
    assert len(users) == 1
    assert not any(line.startswith(("RUN", "COPY", "FROM")) for line in lines[users[0] :])
    installs = [part for line in lines for part in line.split("&&") if "pip install" in part]
    assert len(installs) == 3
    assert all("--require-hashes" in i or "--no-deps" in i or "torch==" in i for i in installs)


def test_every_variable_is_explained(services):
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert used == set(re.findall(r"^#? ?(\w+)=", (DEPLOY / "env.example").read_text(), re.M))


def test_the_guide_names_commands_that_exist():
    text = (DEPLOY.parent / "docs" / "deploy.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]
    for line in lines:
        if line.startswith("mnatune "):
            words = shlex.split(line, comments=True)[1:]
            depth = 2 if words[0] in ("export", "feedback", "models", "keys", "law") else 1
            assert {w for w in words[depth:] if w.startswith("--")} <= options_of(*words[:depth]), line


@pytest.mark.parametrize("name", ["mnatune.service", "mnatune-retain.timer"])
def test_systemd_accepts_the_units(tmp_path, name):
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd is not installed: the unit cannot be verified")
    for file in DEPLOY.glob("mnatune*"):
        (tmp_path / file.name).write_text(file.read_text().replace("/opt/mnatune/bin/mnatune", "/bin/true"))
    done = subprocess.run([tool, "verify", str(tmp_path / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mnatune" not in done.stderr
