"""What can be wrong with a file of rows: each fault has a kind, a place and a sentence.

Three levels: "file" (it cannot be read, or not to its end), "rejected" (a row that a run would not
use) and "warning" (a row or file that a run uses, but should it?).

What is covered: telling a file that is not what its name says by its first bytes; naming the usual
mistakes in a broken line. What is not: reading (`readers.py`), deciding (`check.py`).
"""

import gzip
import json
import re
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, cast

from aha.data import readers
from aha.data.readers import MAX_LINE

Level = Literal["file", "rejected", "warning"]
SHOWN = 3
"""Faults of one kind that are kept as examples."""
HEAD = 4096
"""Bytes by which a file is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    level: Level
    kind: str
    """A short stable name, e.g. "not JSON"; all of them are in docs/data_check.md."""
    file: str
    line: int = 0
    """From 1, as in `readers.Row`; 0 is the file as a whole."""
    reason: str
    column: str = ""
    split: str = ""

    def __str__(self) -> str:
        line = f":{self.line}" if self.line else ""
        column = f"column '{self.column}': " if self.column else ""
        return f"{self.file}{line}: {column}{self.reason}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Tally:
    """Counts of faults by level and kind, with a few examples; every fault also goes to `sink`."""

    sink: Callable[[Fault], None] | None = None
    counts: Counter[tuple[Level, str]] = field(default_factory=Counter)
    first: dict[tuple[Level, str], list[Fault]] = field(default_factory=dict)

    def add(self, fault: Fault) -> None:
        place = (fault.level, fault.kind)
        self.counts[place] += 1
        shown = self.first.setdefault(place, [])
        if len(shown) < SHOWN:
            shown.append(fault)
        if self.sink is not None:
            self.sink(fault)

    def total(self, level: Level) -> int:
        return sum(count for (found, _), count in self.counts.items() if found == level)


_KINDS: tuple[tuple[str, str], ...] = (
    (r"^line over|field larger than", "line too long"),
    (r"^invalid UTF-8", "encoding"),
    (r"^lone surrogate", "lone surrogate"),
    (r"^NUL byte", "NUL byte"),
    (r"^not JSON", "not JSON"),
    (r"^not an object", "not an object"),
    (r"^not CSV", "not CSV"),
    (r"fields under a header of", "wrong field count"),
    (r"^missing key", "missing key"),
    (r"^wrong type: .*, tests are needed$", "tests"),
    (r"^wrong type", "wrong type"),
    (
        r"^empty list of messages|^a list, but not|^several turns|parts that are not text",
        "messages",
    ),
    (r"^empty$", "empty"),
    (r"^no grader for kind", "unknown kind"),
    (r"^tests: ", "tests"),
    (r"^options: ", "options"),
    (r"^knights: ", "knights"),
    (r"^tolerance: ", "tolerance"),
    (r"number that can be compared|digits", "number"),
    (r"^id '", "duplicate id"),
    (r"above max_prompt_", "too long"),
    (r"contains the control token", "control token"),
    (r"chat", "chat template"),
    (r"^no column is known", "no such column"),
    (r"nested too deeply", "nested too deeply"),
)


def kind_of(reason: str) -> str:
    """The kind of a broken row, from the sentence of the reader; "other" if it is a new one."""
    return next((kind for told, kind in _KINDS if re.search(told, reason)), "other")


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"BZh", "bzip2 data: decompress it, or write .gz"),
    (b"\xfd7zXZ\x00", "xz data: decompress it, or write .gz"),
    (b"\x28\xb5\x2f\xfd", "zstd data: decompress it, or write .gz"),
    (b"Rar!", "a rar archive: unpack it"),
    (b"SQLite format 3\0", "an SQLite data base: export its table as .csv"),
    (b"ARROW1", "Arrow data: write it as .parquet"),
    (b"%PDF-", "a PDF"),
    (b"\x80\x04\x95", "a Python pickle, which is never loaded: write it as .jsonl"),
    (b"\x80\x05\x95", "a Python pickle, which is never loaded: write it as .jsonl"),
    (
        b"version https://git-lfs.github.com/spec",
        "a git-lfs pointer, not the data: run `git lfs pull`",
    ),
)
_PAGE = re.compile(rb"\s*(?:<!doctype html|<html|<head|<body|<\?xml|<error)", re.IGNORECASE)


def sniff(path: Path) -> tuple[str, str] | None:
    """(kind, what is wrong) if the first bytes show that no row can be had; None otherwise.

    Raises:
        OSError: the file cannot be looked at.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        return "not a file", "neither a file nor a folder (a pipe or a device?): write it to a file"
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "empty file", "the file is empty (0 bytes)"
    kind, zipped = readers.suffix(path), path.name.lower().endswith(".gz")
    if wrong := _other_format(head, kind):
        return "wrong format", wrong
    if zipped:
        try:
            with gzip.open(path, "rb") as packed:
                head = packed.read(HEAD)
        except (OSError, EOFError, zlib.error):
            return None  # the reader says what and where
        if not head:
            return "empty file", "nothing is inside the gzip file"
        if wrong := _other_format(head, kind.removesuffix(".gz")):
            return "wrong format", f"inside the gzip file is {wrong}"
    if kind != ".parquet" and (wrong := _other_text(head)):
        return "encoding", wrong
    return None


def _other_format(head: bytes, kind: str) -> str:
    """What the bytes are, where that is not what the suffix `kind` says."""
    if head.startswith(b"\x1f\x8b"):
        return "" if kind.endswith(".gz") else "gzip data under a name without .gz: rename it"
    if head.startswith(b"PK\x03\x04"):
        locked = len(head) > 6 and head[6] & 1
        return f"a zip archive{' with a password' if locked else ''}: unpack it"
    if head.startswith(b"PAR1"):
        return "" if kind == ".parquet" else "parquet data: rename the file to .parquet"
    for magic, said in _MAGIC:
        if head.startswith(magic):
            return said
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it"
    if _PAGE.match(head):
        return "a web page (HTML or XML), perhaps the error page of a download: fetch it again"
    if kind.endswith(".gz"):
        return "not gzip data, although its name ends in .gz: rename it"
    if kind == ".parquet":
        return "not parquet data (it does not begin with PAR1)"
    return ""


def _other_text(head: bytes) -> str:
    said = "text in {}: save it as UTF-8"
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return said.format("UTF-32")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return said.format("UTF-16")
    start = head[:256]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if len(start) >= 8 and min(even, odd) == 0 and max(even, odd) > 0.4 * len(start) / 2:
        return said.format("UTF-16")
    return ""


def hint(line: bytes | None) -> str:
    """The usual mistake behind a line that is not a JSON object, in a few words; "" if none fits."""
    text = (line or b"").strip()
    if not text:
        return ""
    if not text.strip(b"\0"):
        return "only NUL bytes: a torn write"
    if text.startswith((b"#", b"//", b"/*", b"--")):
        return "a comment? JSON has none"
    if text.startswith((b"<<<<<<<", b"=======", b">>>>>>>")):
        return "a mark of a merge conflict"
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return "is it Latin-1, Windows-1252 or GBK? Save it as UTF-8"
    if decoded in ("[", "]", "],", "{", "}", "},"):
        return "JSON over several lines: name the file .json, or write one object a line"
    try:
        value = json.loads(decoded)
        return "a JSON array: name the file .json" if isinstance(value, list) else ""
    except RecursionError:
        return ""
    except json.JSONDecodeError as error:
        return _json_hint(decoded, error)
    except ValueError:
        return ""


def _json_hint(text: str, error: json.JSONDecodeError) -> str:
    at, message = error.pos, error.msg
    rest = text[at:]
    if message == "Extra data":
        if rest.startswith("{"):
            return "two objects on one line"
        if rest == ",":
            return "a comma after the object: part of a JSON array? Name the file .json"
        return "text after the object"
    if "trailing comma" in message or re.search(r",\s*[}\]]?\Z", text[: at + 1]):
        return "a comma before the end" if at < len(text) else "the line is cut"
    if rest.startswith("'"):
        return "single quotes: Python text, not JSON"
    if re.match(r"(?:True|False|None)\b", rest):
        return "Python's True, False or None: JSON writes true, false, null"
    if message.startswith("Unterminated string") or at >= len(text):
        return "the line is cut, or its object goes on in the next line"
    if message.startswith("Invalid control character"):
        return "a tab or another control character inside a string: write \\t, \\n"
    if message.startswith("Invalid \\"):
        return "a single backslash: JSON writes \\\\ (as in \\\\frac)"
    return ""


def file_notes(path: Path) -> Iterator[tuple[str, int, str]]:
    """(kind, line, what is odd) of a file as a whole."""
    if readers.suffix(path) == ".parquet":
        return
    lines = Lines(path)
    first = lines.get(1)
    lines.close()
    if first and first.startswith(b"\xef\xbb\xbf"):
        said = "the file begins with a byte order mark; other programs stumble over it"
        yield "byte order mark", 1, said


class Lines:
    """The raw lines of a text file, asked for by rising number."""

    def __init__(self, path: Path):
        zipped = path.name.lower().endswith(".gz")
        opened = gzip.open(path, "rb") if zipped else path.open("rb")  # noqa: SIM115  see close
        self._file = cast(IO[bytes], opened)
        self._at, self._line = 0, b""

    def get(self, number: int) -> bytes | None:
        """One line, of a giant one its first MAX_LINE bytes; None past the end or once passed."""
        try:
            while self._at < number:
                self._line = self._file.readline(MAX_LINE)
                if not self._line:
                    return None
                self._at += 1
                rest = self._line
                while rest and not rest.endswith(b"\n"):
                    rest = self._file.readline(MAX_LINE)
        except (OSError, EOFError, zlib.error):
            return None  # the reader reports it
        return self._line if self._at == number else None

    def close(self) -> None:
        self._file.close()
