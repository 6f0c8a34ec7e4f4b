"""Checks on HWP files: the flags of closed ones, and the words that a second, independent reader (unhwp) finds."""

import re
import struct
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..runs.errors import needs
from .blocks import Reading, Unreadable
from .office_model import with_numbers

WORD = re.compile(r"[0-9A-Za-z가-힣]+")
NUMBER = re.compile(
    r"^[(<\[]?(?:제?\d+(?:[.\-]\d+)*(?:조|장|절|관|항)?|[ivxlc]+|[IVXLC]+|[가-힣a-zA-Z①-⑳㉠-㉭])[.)>\]]{0,2}$"
)
MOST_DIFFERENCE = 0.02  # share of differing words above which a file is flagged
DISAGREE = "readers-disagree"
SIGNATURE = b"HWP Document File"
PASSWORD, DISTRIBUTED, DRM = 1 << 1, 1 << 2, 1 << 4


def refuse_closed_hwp(data: bytes) -> None:
    """Refuse files that their header marks as encrypted or for distribution only (배포용).

    Raises:
        Unreadable: with the reason.
    """
    at = data.find(SIGNATURE)
    if at < 0 or at + 40 > len(data):
        return
    version, flags = struct.unpack_from("<II", data, at + 32)
    if version >> 24 != 5:
        raise Unreadable(f"HWP version {version >> 24}.x")
    if flags & PASSWORD:
        raise Unreadable("encrypted")
    if flags & DRM:
        raise Unreadable("DRM")
    if flags & DISTRIBUTED:
        raise Unreadable("for distribution only (배포용)")


def refuse_closed_hwpx(path: Path) -> None:
    """Refuse an encrypted HWPX package, which says so in its manifest."""
    with zipfile.ZipFile(path) as archive:
        try:
            manifest = archive.read("META-INF/manifest.xml")
        except KeyError:
            return
    if b"encryption-data" in manifest:
        raise Unreadable("encrypted")


def compare(reading: Reading, path: Path) -> float | None:
    """The share of words on which the two readers differ; None if unhwp has no build for this machine.

    Only unhwp computes automatic numbers (제1조, 가.); they are inserted into the reading before it is compared.
    """
    try:
        with needs("unhwp", "documents"):
            import unhwp
    except OSError:
        return None
    try:
        text = unhwp.extract_text(str(path))
    except (unhwp.UnhwpError, OSError):
        reading.flags.append(DISAGREE)
        return 1.0
    reading.left_out["numbers restored"] += with_numbers(reading, _numbered(text))
    ours = _words("\n".join([*(block.text for block in reading.blocks), *reading.running]))
    ours -= _words("\n".join(reading.repeated))
    theirs = _words(text)
    union = (ours | theirs).total()
    differing = (ours | theirs).total() - (ours & theirs).total()
    share = differing / union if union else 0.0
    if share > MOST_DIFFERENCE:
        reading.flags.append(DISAGREE)
    return share


def _numbered(text: str) -> Iterator[tuple[str, str]]:
    """(number, text) of the lines that begin with a number."""
    for line in text.split("\n"):
        number, space, rest = line.strip().partition(" ")
        if space and len(number) <= 12 and NUMBER.match(number):
            yield number, rest


def _words(text: str) -> Counter[str]:
    return Counter(WORD.findall(unicodedata.normalize("NFC", text)))
