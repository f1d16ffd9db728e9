"""Replies that held a verdict, kept on disk: the same asking is not paid for twice.

One JSON line for each, appended and flushed; the key is a sha256 of everything that the verdict
depends on. A line that cannot be read (torn by a kill, or not ours) is skipped and counted; the
next line is then begun on a line of its own. Failures are never kept.

Several threads may share one cache; several processes may append to one file, each seeing what was
there when it was opened.
"""

import hashlib
import json
import re
import threading
from pathlib import Path
from typing import Any, BinaryIO

from aha.files import disk_trouble, json_line

_HEX = re.compile(r"[0-9a-f]{64}")


def key_of(*parts: Any) -> str:
    """sha256 (hex) of plain values, in their order."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class VerdictCache:
    """Replies by key.

    Raises:
        RunError: the file cannot be written; says why.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hits = 0
        """Lookups that were found."""
        self.misses = 0
        self.damaged = 0
        """Lines of the file that were skipped."""
        self._replies: dict[str, str] = {}
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._torn = False
        self._read()

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> str | None:
        """The reply that is kept under a key; counts a hit or a miss."""
        with self._lock:
            reply = self._replies.get(key)
            if reply is None:
                self.misses += 1
            else:
                self.hits += 1
            return reply

    def put(self, key: str, reply: str) -> None:
        """Keep a reply; it is on its way to the disk when this returns."""
        with self._lock, disk_trouble(self.path):
            if self._replies.get(key) == reply:
                return
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab")
            line = json_line({"key": key, "reply": reply}) + "\n"
            self._file.write(("\n" * self._torn + line).encode("utf-8"))
            self._file.flush()
            self._torn = False
            self._replies[key] = reply

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in data.split(b"\n"):
            if not line:
                continue
            try:
                row = json.loads(line.decode("utf-8"))
                key, reply = row["key"], row["reply"]
                whole = isinstance(reply, str) and _HEX.fullmatch(key)
            except (ValueError, KeyError, TypeError, RecursionError):
                whole = None
            if whole:
                self._replies[key] = reply
            else:
                self.damaged += 1
