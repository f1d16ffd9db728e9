"""Files of rows, read as a stream: each row comes out as an object or as a reason why not.

    .jsonl  .json  .csv, each also with .gz    .parquet

What is covered: a broken row (not JSON, not an object, invalid UTF-8, longer than 16 MiB, wrong
number of fields) is reported with its line and the others go on. A broken file (missing, no
permission, truncated gzip, damaged parquet) is a DataError. What is not: a .json file is one value
and is read at once, so it has no broken rows, and at most 1 GiB.
"""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from aha.errors import DataError

MAX_LINE = 16 * 2**20
"""Bytes in one line."""
MAX_JSON = 2**30
"""Bytes in one .json file."""
SAMPLE = 64
"""Objects that columns are chosen from."""
AHEAD = 10_000
"""Rows among which they are looked for."""
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """An object of a file. `line` counts from 1; in parquet and .json files it counts rows."""

    file: str
    line: int
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, and why."""

    file: str
    line: int
    reason: str
    column: str = ""

    def __str__(self) -> str:
        column = f"column '{self.column}': " if self.column else ""
        return f"{self.file}:{self.line}: {column}{self.reason}"


def suffix(path: Path) -> str:
    """The known suffix of a file name, or ""."""
    name = path.name.lower()
    return next((known for known in SUFFIXES if name.endswith(known)), "")


def stem(path: Path) -> str:
    """The file name without its known suffix."""
    return path.name[: len(path.name) - len(suffix(path))]


def peek(
    rows: Iterator[Row | BadRow], *, wait: bool = False
) -> tuple[Iterator[Row | BadRow], list[Row]]:
    """All rows again, and the first objects among them: at most `SAMPLE` of the first `AHEAD` rows.

    `wait`: where these are all broken, go on to the first object; all rows before it are held.
    """
    ahead: list[Row | BadRow] = []
    sample: list[Row] = []
    for row in rows:
        ahead.append(row)
        if isinstance(row, Row):
            sample.append(row)
        if len(sample) == SAMPLE or (len(ahead) >= AHEAD and (sample or not wait)):
            break
    return chain(ahead, rows), sample


def read(path: Path) -> Iterator[Row | BadRow]:
    """The rows of one file, in order. Blank lines are no rows.

    Raises:
        DataError: the file cannot be read as what its suffix says; names file and remedy.
    """
    kind = suffix(path).removesuffix(".gz")
    if not kind:
        raise DataError(f"{path}: a data file ends in {', '.join(SUFFIXES)}")
    try:
        if kind == ".parquet":
            yield from _parquet(path)
        else:
            reader = {".jsonl": _jsonl, ".json": _json, ".csv": _csv}[kind]
            with _open(path) as file:
                yield from reader(path, file)
    except FileNotFoundError:
        raise DataError(f"no file at {path}") from None
    except PermissionError:
        raise DataError(f"no permission to read {path}; change its mode or copy it") from None
    except (EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip stream is cut or damaged ({error}); copy it again"
        ) from error
    except gzip.BadGzipFile as error:
        raise DataError(f"{path} is not a whole gzip file ({error}); copy it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _open(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def _lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Line number and content; None for a line that is too long (it is skipped, not kept)."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        else:
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _jsonl(path: Path, file: IO[bytes]) -> Iterator[Row | BadRow]:
    for number, line in _lines(path, file):
        if line is None:
            yield BadRow(str(path), number, f"line over {MAX_LINE // 2**20} MiB")
        elif line.strip():
            yield _object(str(path), number, line)


def _object(file: str, number: int, line: bytes) -> Row | BadRow:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadRow(file, number, f"invalid UTF-8 at byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return BadRow(file, number, f"not JSON: {error.msg} at character {error.colno}")
    except RecursionError:
        return BadRow(file, number, "not JSON that can be read: nested too deeply")
    except ValueError as error:  # an integer of thousands of digits
        return BadRow(file, number, f"not JSON that can be read: {error}")
    if not isinstance(value, dict):
        return BadRow(file, number, f"not an object but {_named(value)}")
    return Row(file, number, value)


def _json(path: Path, file: IO[bytes]) -> Iterator[Row | BadRow]:
    """One list of objects, an object with one list of them, or lines after all."""
    data = file.read(MAX_JSON + 1)
    if not data.strip():
        return
    if len(data) > MAX_JSON:
        raise DataError(
            f"{path} is over {MAX_JSON // 2**30} GiB; write it as .jsonl, one row a line"
        )
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        lines = data.removeprefix(codecs.BOM_UTF8)
        if error.msg == "Extra data" and lines.lstrip().startswith(b"{"):
            yield from _jsonl(path, io.BytesIO(lines))
            return
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON that can be read: {error}") from error
    rows = rows_of(value)
    if rows is None:
        raise DataError(f"{path}: a list of objects is needed, not {_named(value)}")
    for number, item in enumerate(rows, 1):
        if isinstance(item, dict):
            yield Row(str(path), number, item)
        else:
            yield BadRow(str(path), number, f"not an object but {_named(item)}")


def rows_of(value: Any) -> list[Any] | None:
    """The rows of what a .json file holds: a list, an object's only list, or the object itself."""
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        return lists[0] if len(lists) == 1 else [value]
    return value if isinstance(value, list) else None


def _csv(path: Path, file: IO[bytes]) -> Iterator[Row | BadRow]:
    """Rows under a header line. Bytes that are not UTF-8 arrive as lone surrogates."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    limit = csv.field_size_limit(MAX_LINE)
    try:
        rows = csv.reader(text, strict=True)
        header: list[str] = []
        while True:
            line = rows.line_num + 1
            try:
                fields = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(str(path), line, f"not CSV: {error}")
                continue
            if not fields:
                continue
            if not header:
                header = [name.strip() for name in fields]
                if len(set(header)) < len(header) or "" in header:
                    raise DataError(f"{path}:{line}: the header has an empty or repeated name")
            elif len(fields) != len(header):
                reason = f"{len(fields)} fields under a header of {len(header)}"
                yield BadRow(str(path), line, reason)
            else:
                yield Row(str(path), line, dict(zip(header, fields, strict=True)))
    finally:
        csv.field_size_limit(limit)
        text.detach()


def _parquet(path: Path) -> Iterator[Row | BadRow]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with path.open("rb") as file, pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=256):
                for place in range(batch.num_rows):
                    number += 1
                    try:
                        value = batch.slice(place, 1).to_pylist()[0]
                    except UnicodeDecodeError:
                        yield BadRow(str(path), number, "invalid UTF-8")
                    else:
                        yield Row(str(path), number, value)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a whole parquet file: {error}") from error


def _named(value: Any) -> str:
    """What a JSON value is called, for messages."""
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value), "a list" if isinstance(value, list) else type(value).__name__)
