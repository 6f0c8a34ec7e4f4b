"""The tables of a law memory on disk: `law.json` and Parquet, read by column, long texts a group of rows at a time."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ..pack import Pack
from ..runs.errors import DataError
from ..runs.workspace import read_jsonl

VERSION = 6
REBUILD = "mnatune law build"
ROWS = 256  # rows per group of a table: what is unpacked to read one text


def read_facts(folder: Path) -> dict[str, Any]:
    """`law.json`, after a look at whether all files that it names have their size."""
    try:
        facts = json.loads((folder / "law.json").read_text(encoding="utf-8"))
        if facts["version"] != VERSION:
            raise DataError("a law memory of another version", where=str(folder), next_step=REBUILD)
        for name, size in facts["files"].items():
            if (folder / name).stat().st_size != size:
                raise DataError("the law memory is damaged", where=str(folder / name), next_step=REBUILD)
    except FileNotFoundError as error:
        raise DataError("there is no law memory here", where=str(error.filename), next_step=REBUILD) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the law memory is damaged: {error}", where=str(folder / "law.json"), next_step=REBUILD
        ) from None
    return dict(facts)


def pack_questions(pack: Pack) -> list[dict[str, Any]]:
    """The question-answer rows of a pack."""
    path = pack.root / "qa.jsonl"
    return list(read_jsonl(path)) if path.is_file() else []


def article_questions(pack: Pack) -> list[dict[str, Any]]:
    """What people ask who need an article but do not know its words, by article; empty if the pack has none.

    Raises:
        DataError: a row lacks the law, the article or the questions.
    """
    path = pack.root / "article_questions.jsonl"
    rows = list(read_jsonl(path)) if path.is_file() else []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {"law", "article", "questions"} <= row.keys():
            raise DataError(
                "no row of law, article and questions", where=f"{path}:{number}", next_step="mnatune pack check"
            )
    return rows


def questions_key(rows: Iterable[Mapping[str, Any]], asked: Iterable[Mapping[str, Any]]) -> str:
    """Tells whether a memory was built with these rows of questions and answers and of questions by article.

    The order of the rows and their topics do not matter.
    """
    told = [json.dumps([row["question"], row["answer"], row.get("source", "")]) for row in rows]
    told += [json.dumps([row["law"], row["article"], row["questions"]]) for row in asked]
    told.sort()
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


class Table:
    """A table of a memory: its small columns, and long texts by row, unpacked in groups; both read when they are needed."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path = path
        self._names = names
        self._columns: dict[str, list[Any]] = {}

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self._file.metadata.num_rows)

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._columns:
            self._columns[name] = self._column(name)
        return self._columns[name]

    def row(self, place: int) -> tuple[Any, ...]:
        """The small columns of a row."""
        return tuple(self[name][place] for name in self._names)

    def text(self, place: int, name: str) -> str:
        """A long text of a row."""
        return str(self._group(place // ROWS, name)[place % ROWS])

    def _column(self, name: str) -> list[Any]:
        """A column; equal texts are one object."""
        import numpy as np
        import pyarrow as pa

        try:
            values = self._file.read(columns=[name]).unify_dictionaries().column(0).combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from None
        if not pa.types.is_dictionary(values.type):
            return list(values.to_pylist())
        distinct = np.array(values.dictionary.to_pylist(), dtype=object)
        return list(distinct[values.indices.to_pylist()])  # to_numpy imports pandas: a fifth of the time to open

    @lru_cache(maxsize=64)  # noqa: B019
    def _group(self, group: int, name: str) -> list[str]:
        return list(self._file.read_row_group(group, columns=[name], use_threads=False).column(0).to_pylist())

    @cached_property
    def _file(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self._path, memory_map=True, read_dictionary=list(self._names))
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"the law memory is damaged: {error}", where=str(self._path), next_step=REBUILD)
