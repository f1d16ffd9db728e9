"""What there is to read in a source: its splits and their files, not yet read.

    splits("mine.jsonl", "train", config)    one split of one file
    splits("folder", "heldout", config)      test*.jsonl, validation*.parquet ... of a folder

Uses the rules of `sources.py`; but where a run takes the first held-out split of a folder, this
lists all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aha.config import DataConfig
from aha.data import columns, query, readers, sources
from aha.data.readers import BadRow, Row
from aha.data.tasks import gym
from aha.errors import DataError
from aha.records import Prompt

Side = Literal["train", "heldout", "named"]
"""The training or the held-out part of a source, or a source that is named as held-out data."""


@dataclass(slots=True, kw_only=True)
class Split:
    """One split of a source. kept + rejected = read."""

    name: str
    source: str
    files: list[str]
    mapping: dict[str, str] = field(default_factory=dict)
    """Role -> column, of the last file."""
    read: int = 0
    kept: int = 0
    rejected: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Part:
    """One file, one split of a hub data set, or the problems of a task."""

    name: str
    rows: Iterator[Row | BadRow] = field(default_factory=lambda: iter(()))
    prompts: list[Prompt] = field(default_factory=list)
    """Problems of a task: made, so there are no rows."""
    stem: str = ""
    source: str = ""
    path: Path | None = None


Found = tuple[Split, list[Part]]


def splits(source: str, side: Side, config: DataConfig) -> tuple[list[Found], str]:
    """The splits of one side of a source, and why there is none though there should be, or "".

    Raises:
        ConfigError: a source or a key that cannot be.
    """
    asked = query.parse(source)
    if is_made(asked.where):
        return _made(source, side, config)
    query.take_weight(asked)  # of no account to one source
    query.refuse_unknown(asked.keys, sources.ROW_KEYS, where=f"data source {asked.where}")
    columns.fixed(asked.keys, where=source)
    limit(source)
    path = Path(asked.where).expanduser()
    folder = _is_folder(path)
    one = "split" in asked.keys or (not folder and _is_file(asked.where, path))
    if one and side == "heldout":
        return [], ""
    names = ("train",) if side == "train" else ("heldout",) if one else sources.HELDOUT
    found, why = _of_names(source, asked, names if folder else names[:1], config)
    missing_is_fine = side == "heldout" or (side == "train" and folder and _has_heldout(path))
    return found, "" if found or missing_is_fine else why


def limit(source: str) -> int | None:
    """The `n` of a source of rows: problems, at most."""
    asked = query.parse(source)
    return None if is_made(asked.where) else sources.limit_of(asked)


def is_made(where: str) -> bool:
    """Whether problems are made by a task, and not read."""
    return where in sources.TASKS or where.startswith(gym.PREFIX)


def _of_names(
    source: str, asked: query.Query, names: tuple[str, ...], config: DataConfig
) -> tuple[list[Found], str]:
    found: list[Found] = []
    seen: set[str] = set()
    why = ""
    config = config.model_copy(update={"heldout": source})  # so that one file serves as well
    for name in names:
        try:
            inputs, files = sources.inputs_of(asked, name, config, source)
        except DataError as error:
            why = why or str(error)
            continue
        if set(files) & seen:
            continue
        seen |= set(files)
        paths: list[Path | None] = [Path(file) for file in files]
        parts = [
            Part(
                name=str(path or asked.where),
                rows=each.rows,
                stem=each.stem,
                source=each.source,
                path=path,
            )
            for each, path in zip(inputs, paths or [None], strict=True)
        ]
        found.append((Split(name=name, source=source, files=files), parts))
    return found, why


def _made(source: str, side: Side, config: DataConfig) -> tuple[list[Found], str]:
    config = config.model_copy(update={"heldout": source if side == "named" else ""})
    try:
        made = sources.load(source, split="train" if side == "train" else "heldout", config=config)
    except DataError as error:
        return [], "" if side == "heldout" else str(error)
    split = Split(name=made.split, source=source, files=[], notes=list(made.notes))
    return [(split, [Part(name=source, prompts=made.prompts, source=source)])], ""


def _has_heldout(folder: Path) -> bool:
    """Whether a folder without training files has others: it may be held-out data."""
    try:
        sources.files_of_split(folder, "heldout")
    except DataError:
        return False
    return True


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_file(where: str, path: Path) -> bool:
    """Whether a source that is no folder means one file, and not a hub data set."""
    try:
        there = path.exists()
    except OSError:
        there = True
    return there or bool(readers.suffix(path)) or sources.looks_like_a_path(where)
