"""Both databases: SQLite in a file, and a PostgreSQL cluster of our own on loopback where PostgreSQL is installed."""

import glob
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest
from made_feedback import mask

from mnatune.service.feedback.store import FeedbackStore


def _tool(name):
    return shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)


def _as_postgres(command):
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


@pytest.fixture(scope="session")
def postgres():
    """URL prefix of a temporary cluster; its data folder is removed afterwards."""
    initdb, control = _tool("initdb"), _tool("pg_ctl")
    if not initdb or not control:
        pytest.skip("PostgreSQL is not installed: initdb and pg_ctl are missing")
    folder = Path(tempfile.mkdtemp(prefix="mnatune-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        data = str(folder / "data")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        quiet = {"check": True, "capture_output": True, "cwd": folder}
        subprocess.run(_as_postgres([initdb, "-D", data, "-U", "mnatune", "-A", "trust", "-E", "UTF8", "-N"]), **quiet)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        start = [control, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # it would inherit a pipe
        subprocess.run(_as_postgres(start), check=True, cwd=folder, **silent)
        try:
            yield f"postgresql://mnatune@127.0.0.1:{port}"
        finally:
            subprocess.run(_as_postgres([control, "-D", data, "-m", "immediate", "stop"]), **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres):
    """URL of a fresh, empty database."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgres}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """A fresh database of each kind in turn."""
    return f"sqlite:///{tmp_path}/feedback.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def store(url):
    store = FeedbackStore(url, mask)
    yield store
    store.close()
