"""What hostile parsers do, for the test of the sandbox: functions at the top level, as worker processes need them."""

import os
import socket
import subprocess
from pathlib import Path

from mnatune.documents import Unreadable
from mnatune.runs.errors import missing_extra


def good(number: int) -> int:
    return number * 2


def die(number: int) -> int:
    if number % 3 == 1:
        os._exit(7)
    return number


def hang(number: int) -> int:
    while number == 1:
        pass
    return number


def devour(number: int) -> int:
    return len(bytearray(4 << 30)) if number == 1 else number


def flood(number: int) -> str:
    return "가" * (1_000_000 if number == 1 else 1)


def recurse(number: int) -> int:
    return recurse(number + 1)


def refuse(number: int) -> int:
    raise Unreadable("encrypted")


def break_down(number: int) -> int:
    raise KeyError("x")


def lack(number: int) -> int:
    raise missing_extra("dochan", "documents")


def connect(number: int) -> object:
    return socket.create_connection(("127.0.0.1", 9))


def resolve(number: int) -> object:
    return socket.getaddrinfo("localhost", 80)


def start(number: int) -> object:
    return subprocess.run(["true"])


def write(path: Path) -> int:
    return path.write_bytes(b"x" * 10_000)


def remove(path: Path) -> None:
    path.unlink()
