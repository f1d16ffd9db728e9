"""Source files: which packages of the index carry which model file.

Holds:          the table format (`sources.toml`), read and refused when it is not exact.
Holds not:      downloading (`get.py`), conversion (`gguf.py`).
Must stay true: a package is pinned by `==`, a file by its length and sha256; nothing else is read.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.errors import ConfigError

BUILT_IN = Path(__file__).with_name("sources.toml")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9._+!-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = {"packages", "member", "bytes", "sha256", "licence"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One model file and the packages that it is spread over."""

    name: str
    packages: tuple[str, ...]
    """Pinned requirements, in the order in which their members are joined."""
    member: str
    """Name or pattern (`*`, `?`) of the members inside each wheel."""
    bytes: int
    """Length of the joined file."""
    sha256: str
    """Of the joined file, 64 hexadecimal digits."""
    licence: str
    """Of the model, in words; stored beside it."""


def read(path: Path = BUILT_IN) -> dict[str, Source]:
    """The models that a source file describes, by name.

    Raises:
        ConfigError: the file is not there, is not TOML, or an entry is not exact.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no source file at {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the source file {path} cannot be read: {error}") from error
    return {name: _entry(name, table, f"{path}, [{name!r}]") for name, table in tables.items()}


def _entry(name: str, table: Any, where: str) -> Source:
    if not isinstance(table, dict) or not NAME.fullmatch(name):
        raise ConfigError(f'{where}: write a table ["name"] for each model; letters, digits, . _ -')
    if table.keys() != _KEYS:
        odd = sorted(table.keys() ^ _KEYS)
        quote = '; a name with a dot needs quotes: ["a-0.5b"]' if "packages" not in table else ""
        raise ConfigError(
            f"{where}: missing or unknown keys {odd}; it has exactly {sorted(_KEYS)}{quote}"
        )
    packages = table["packages"]
    if not isinstance(packages, list) or not packages:
        raise ConfigError(f'{where}: packages is a list of pinned packages, ["name==1.0"]')
    for package in packages:
        if not isinstance(package, str) or not _PINNED.fullmatch(package):
            raise ConfigError(f"{where}: {package!r} is not pinned; write it as name==version")
    size, digest = table["bytes"], table["sha256"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ConfigError(f"{where}: bytes is the length of the joined file, not {size!r}")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ConfigError(f"{where}: sha256 is 64 lower-case hexadecimal digits, not {digest!r}")
    for key in ("member", "licence"):
        if not isinstance(table[key], str) or not table[key]:
            raise ConfigError(f"{where}: {key} is a text, not {table[key]!r}")
    return Source(
        name=name,
        packages=tuple(packages),
        member=table["member"],
        bytes=size,
        sha256=digest,
        licence=table["licence"],
    )
