"""Bytes of a Korean page to text, whatever the page declares.

UTF-8 is tried first, because Korean text of another encoding is practically never valid UTF-8; then cp949, which
contains euc-kr; then what the page declares. The declaration comes last, because it is often wrong.
"""

import codecs
import re

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
DECLARED = re.compile(rb"""charset\s*=\s*["']?\s*([a-zA-Z0-9_\-]+)""", re.IGNORECASE)
HEAD_BYTES = 4096
MOST_LOSS = 0.01  # share of characters that may be undecodable


def decode(body: bytes, header: str = "") -> tuple[str, str]:
    """The text and the encoding that was found, "" if none fits.

    Args:
        body: the page's bytes.
        header: its Content-Type.
    """
    for mark, name in BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace"), name
    candidates = ["utf-8", "cp949", *_declared(body, header)]
    for name in candidates:
        try:
            return body.decode(name), name
        except (UnicodeDecodeError, LookupError):
            continue
    texts = [(body.decode(name, "replace"), name) for name in candidates if _known(name)]
    text, name = min(texts, key=lambda found: found[0].count("\ufffd"))
    return text, name if text.count("\ufffd") <= MOST_LOSS * max(1, len(text)) else ""


def _declared(body: bytes, header: str) -> list[str]:
    found = DECLARED.search(header.encode("latin-1", "replace")) or DECLARED.search(body[:HEAD_BYTES])
    return [found.group(1).decode("ascii")] if found else []


def _known(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True
