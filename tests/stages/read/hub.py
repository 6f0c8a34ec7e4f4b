"""Small archives in the layout of AI Hub 71748."""

import json
import zipfile
from pathlib import Path
from typing import Any


def document(number: int, pairs: list[tuple[Any, Any]], category: str = "사회") -> dict[str, Any]:
    """A document of Other.zip."""
    return {
        "data_id": f"doc-{number}",
        "data_title": f"회의록 {number}",
        "data_ccl": "CC BY",
        "data_category": {"main": "구어체", "middle": category, "sub": ""},
        "contents": [{"text": "본문 " * 5, "QA": [{"question": q, "answer": a} for q, a in pairs]}],
    }


def member(*documents: dict[str, Any]) -> bytes:
    """A member of Other.zip."""
    return json.dumps(list(documents), ensure_ascii=False).encode()


def good(number: int, rows: int = 2) -> bytes:
    """A whole member with `rows` rows of its own."""
    return member(
        document(number, [(f"질문 {number}-{n}은 무엇인가요?", f"답변 {number}-{n}입니다.") for n in range(rows)])
    )


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path
