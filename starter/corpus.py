"""Read the pre-training corpus, and draw the line between training and held-out documents once for all scripts."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

HELD_OUT_PER_MILLE = 10


def read_corpus(path: Path) -> Iterator[dict]:
    """Rows {kind, id, text} of a JSON Lines file, plain or compressed with zstd."""
    if path.suffix == ".zst":
        import zstandard

        with path.open("rb") as raw:
            stream = zstandard.ZstdDecompressor().stream_reader(raw)
            yield from map(json.loads, io.TextIOWrapper(stream, encoding="utf-8"))
    else:
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def is_held_out(identifier: str) -> bool:
    """True for about one document in a hundred, by its id alone: all parts of one decision fall on one side."""
    digest = hashlib.sha256(identifier.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 1000 < HELD_OUT_PER_MILLE
