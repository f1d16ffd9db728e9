"""Files of a run folder that may be missing, torn or damaged: what can be read, and what could not.

A run can be killed at any instant, and a report of it is wanted then most of all. Nothing here raises
because of what a file holds; each thing left out becomes a note, once.

Holds not: what the files mean (gather.py, rollouts.py).
"""

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MOST_TEXT = 200_000
"""Characters of a recipe or another small text that are kept."""


class Reader:
    """Reads below one folder; `notes` says what could not be read, in plain words."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []

    def rows(self, path: Path) -> Iterator[dict[str, Any]]:
        """Objects of a JSONL file, one line at a time; lines that are none are counted and skipped.

        A torn last line is what a kill leaves, and no note.
        """
        for row, _ in self.sized_rows(path):
            yield row

    def sized_rows(self, path: Path) -> Iterator[tuple[dict[str, Any], int]]:
        """(object, bytes of its line)."""
        damaged = 0
        try:
            with path.open("rb") as file:
                for raw in file:
                    row = _object(raw)
                    if row is not None:
                        yield row, len(raw)
                    elif raw.endswith(b"\n") and raw.strip():
                        damaged += 1
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(path, error.strerror or str(error))
        if damaged:
            self._note(path, f"{damaged} damaged lines left out")

    def json(self, path: Path, most: int = 1 << 30) -> Any:
        """The value of a JSON file of at most `most` bytes; None if there is none that can be read."""
        raw = self._bytes(path)
        if raw is None or len(raw) > most:
            return None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            self._note(path, f"not JSON ({type(error).__name__})")
            return None

    def table(self, path: Path) -> dict[str, Any]:
        """The object of a JSON file; {} if there is none."""
        value = self.json(path)
        return value if isinstance(value, dict) else {}

    def toml(self, path: Path) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text(path))
        except (ValueError, RecursionError) as error:
            self._note(path, f"not TOML ({type(error).__name__})")
            return {}

    def text(self, path: Path) -> str:
        """The beginning of a text file; "" if there is none."""
        raw = self._bytes(path) or b""
        return raw.decode("utf-8", "replace")[:MOST_TEXT]

    def _bytes(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note(path, error.strerror or str(error))
            return None

    def _note(self, path: Path, what: str) -> None:
        note = f"{path.relative_to(self.root)}: {what}"
        if note not in self.notes:
            self.notes.append(note)

    def unreadable(self, path: Path, error: Exception) -> None:
        """Note a file that another reader failed on."""
        self._note(path, f"cannot be read ({type(error).__name__})")


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A whole number of sensible size, or None."""
    found = number(value)
    return int(found) if found is not None and found == int(found) and abs(found) < 1e15 else None


def string(value: Any) -> str:
    """Text as it stands; anything else as JSON; "" for nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return "?"


def table(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def quantile(ordered: list[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed, as metrics count p95."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
