"""The tables of a law memory on disk: `law.json` and Parquet, read by column, long texts a group of rows at a time."""

import json
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ..runs.errors import DataError

VERSION = 3
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


def read_columns(path: Path, names: tuple[str, ...]) -> list[list[Any]]:
    """Columns of a table; raises `DataError` if it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(names), memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"the law memory is damaged: {error}", where=str(path), next_step=REBUILD) from None
    return [table.column(name).to_pylist() for name in names]


class Table:
    """Small columns of a table in memory; long texts by row, unpacked in groups."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path = path
        self._names = names
        self._columns = dict(zip(names, read_columns(path, names), strict=True))
        self.rows = len(self._columns[names[0]])

    def __getitem__(self, name: str) -> list[Any]:
        return self._columns[name]

    def row(self, place: int) -> tuple[Any, ...]:
        """The small columns of a row."""
        return tuple(self._columns[name][place] for name in self._names)

    def text(self, place: int, name: str) -> str:
        """A long text of a row."""
        return str(self._group(place // ROWS, name)[place % ROWS])

    @lru_cache(maxsize=64)  # noqa: B019
    def _group(self, group: int, name: str) -> list[str]:
        return list(self._file.read_row_group(group, columns=[name]).column(0).to_pylist())

    @cached_property
    def _file(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self._path, memory_map=True)
