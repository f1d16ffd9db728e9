"""Where problems come from: WHERE[?key=value&...] -> Prompts, every row counted.

    countdown?numbers=4            a procedural task (tasks/)
    gym:chain_sum?max_terms=3      a task of reasoning-gym (tasks/gym.py)
    problems.jsonl.gz?gold=key     a file
    folder?n=500                   a folder: files named after the split
    openai/gsm8k?name=main         a data set of the hub, through `datasets`

Kept + broken = read, to the row. Broken rows are reported with file, line, column and reason; above
`max_bad_share` of them the source is refused. Not covered: prompts that are too long in tokens
(`lengths.py`), right answers that are wrong in the data, several sources and overlap between
training and held-out problems (`problems.py`).
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aha.config import DataConfig
from aha.data import columns, query, readers
from aha.data.readers import BadRow, Row
from aha.data.tasks import TASKS, gym, problems
from aha.errors import ConfigError, DataError
from aha.records import Prompt

TRAIN = ("train", "training")
HELDOUT = ("heldout", "test", "validation", "valid", "val", "dev", "eval")
"""Names of the held-out split; of several in a folder, the first is taken."""
ROW_KEYS = (
    *("question", "gold", "kind", "lang", "domain", "id", "split", "n", "name"),
    *("tolerance", "shuffle", "area"),
)
SHOWN = 5
"""Broken rows that an error lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A source's problems, and what became of every row."""

    source: str
    split: str
    prompts: list[Prompt]
    mapping: dict[str, str] = field(default_factory=dict)
    """Role -> column, e.g. {"question": "problem", "gold": "answer"}; {} for tasks."""
    read: int = 0
    """Rows read: len(prompts) + len(bad). For tasks: problems drawn."""
    bad: list[BadRow] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a user should know, in plain words."""

    def sentence(self) -> str:
        """One line for the console and the log."""
        said = f"{self.source} ({self.split}): {len(self.prompts)} problems"
        if self.mapping:
            roles = ", ".join(f"{role} from '{column}'" for role, column in self.mapping.items())
            said += f" of {self.read} rows, {len(self.bad)} broken; {roles}"
        return "; ".join([said, *self.notes])


@dataclass(slots=True)
class _Input:
    """Rows that share a file or a data set, and how to name those without an id."""

    rows: Iterator[Row | BadRow]
    stem: str
    source: str


def load(source: str, *, split: str, config: DataConfig, most: int | None = None) -> Loaded:
    """All problems of one split of a source; of the first rows only, if `most` says how many problems.

    `split` is `train` or `heldout` (or one of its other names: test, validation, ...). A file or a
    source with its own `split=` is one split, so it serves as held-out part only if `data.heldout`
    names it.

    Raises:
        ConfigError: a key that is unknown or cannot be, a task that cannot be made.
        DataError: nothing there, unreadable, empty, no known columns, too many broken rows.
    """
    asked = query.parse(source)
    query.take_weight(asked)  # of no account to one source
    side: Literal["train", "heldout"] = _side(split)
    if side == "heldout" and not config.heldout and "split" in asked.keys:
        raise DataError(
            f"{source} is one split only, and it is the training data; "
            "name held-out problems with --set data.heldout=SOURCE"
        )
    if asked.where in TASKS or asked.where.startswith(gym.PREFIX):
        return _load_task(source, asked, side, most)
    query.refuse_unknown(asked.keys, ROW_KEYS, where=f"data source {asked.where}")
    limit = _least(limit_of(asked), most)
    columns.fixed(asked.keys, where=source)
    inputs, files = inputs_of(asked, side, config, source)
    return _collect(source, side, asked, inputs, files=files, limit=limit, config=config)


def _side(split: str) -> Literal["train", "heldout"]:
    if split in TRAIN:
        return "train"
    if split in HELDOUT:
        return "heldout"
    raise ConfigError(f"split={split}: write train or heldout ({', '.join(HELDOUT[1:])})")


def limit_of(asked: query.Query) -> int | None:
    if "n" not in asked.keys:
        return None
    limit = query.integer(asked.keys["n"], where=f"{asked.where}?n")
    if limit < 1:
        raise ConfigError(f"{asked.where}?n={limit}: write 1 or more")
    return limit


def _least(limit: int | None, most: int | None) -> int | None:
    given = [number for number in (limit, most) if number is not None]
    return min(given, default=None)


def _load_task(
    source: str, asked: query.Query, side: Literal["train", "heldout"], most: int | None
) -> Loaded:
    keys = dict(asked.keys)
    limit = limit_of(asked)
    keys.pop("n", None)
    side = _side(keys.pop("split", side))
    made: Any
    if asked.where in TASKS:
        task = TASKS[asked.where]
        made = query.settings(task.settings, keys, where=asked.where)
    else:
        task, made = gym.task(asked.where, keys)
    usual = task.usual[0] if side == "train" else task.usual[1]
    wanted = _least(limit or usual, most) or usual
    prompts, drawn = problems(task, made, split=side, n=wanted)
    notes = []
    if len(prompts) < (limit or 0):
        notes.append(
            f"only {len(prompts)} different {side} problems exist with these settings, "
            f"{limit} were asked for"
        )
    return Loaded(source=source, split=side, prompts=prompts, read=drawn, notes=notes)


def inputs_of(
    asked: query.Query, side: str, config: DataConfig, source: str
) -> tuple[list[_Input], list[str]]:
    """What to read, and the files among it."""
    path = Path(asked.where).expanduser()
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        raise DataError(f"cannot look at {path}: {error.strerror or error}") from error
    if not is_folder and (is_there or readers.suffix(path) or looks_like_a_path(asked.where)):
        if "name" in asked.keys or "split" in asked.keys:
            raise ConfigError(f"{source}: name= and split= are for folders and hub data sets")
        if not is_there:
            raise DataError(
                f"no data at {path}{_near(path)}; a source is a file, a folder, a task "
                f"({', '.join(TASKS)}, {gym.PREFIX}NAME) or a hub id (ORG/NAME)"
            )
        if side == "heldout" and not config.heldout:
            raise DataError(
                f"{path} is one file without a held-out part; "
                "name held-out problems with --set data.heldout=SOURCE"
            )
        files = [path]
    elif is_folder:
        if "name" in asked.keys:
            raise ConfigError(f"{source}: name= is for hub data sets")
        files = files_of_split(path, asked.keys.get("split", side))
    else:
        return [_from_hub(asked, side)], []
    stems = [readers.stem(file) for file in files]
    return [
        _Input(
            rows=readers.read(file),
            stem=stem if stems.count(stem) == 1 else file.name,
            source=file.name if not is_folder else f"{path.name}/{file.name}",
        )
        for file, stem in zip(files, stems, strict=True)
    ], [str(file) for file in files]


def looks_like_a_path(where: str) -> bool:
    return where.startswith((".", "/", "~")) or where.count("/") > 1 or "\\" in where


def _near(path: Path) -> str:
    try:
        names = [name.name for name in path.parent.iterdir()]
    except OSError:
        return f" (and no folder {path.parent})"
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _is_data(file: Path) -> bool:
    """Not the decisions of people about another file (review.py)."""
    return bool(readers.suffix(file)) and not file.name.endswith(".review.jsonl")


def files_of_split(folder: Path, split: str) -> list[Path]:
    """The files of a folder whose stem begins with the split's name, or of its folder `data`."""
    try:
        there = sorted(file for file in folder.iterdir() if _is_data(file))
        if not there and (folder / "data").is_dir():
            folder = folder / "data"
            there = sorted(file for file in folder.iterdir() if _is_data(file))
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror or error}") from error
    for name in TRAIN if split in TRAIN else HELDOUT if split == "heldout" else (split,):
        starts = re.compile(rf"{re.escape(name)}(?![a-z])", re.IGNORECASE)
        if found := [file for file in there if starts.match(file.name)]:
            return found
    names = ", ".join(file.name for file in there[:8]) or "no data files"
    raise DataError(
        f"{folder} has no file for the split {split} (it has: {names}); name a file {split}.jsonl, "
        "or name the file itself as the source"
    )


def _from_hub(asked: query.Query, side: str) -> _Input:
    """A data set of the hub. Data only: `datasets` runs no code of a data set."""
    where, split = asked.where, asked.keys.get("split", "")
    near = difflib.get_close_matches(where, TASKS, n=1)
    if near or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", where):
        hint = f"did you mean the task '{near[0]}'?" if near else "check the name"
        raise DataError(f"no task, file, folder or hub id is called {where!r}; {hint}")
    import datasets

    names = (split,) if split else TRAIN[:1] if side == "train" else HELDOUT[1:4]
    said: list[str] = []
    for name in names:
        try:
            table = datasets.load_dataset(where, name=asked.keys.get("name"), split=name)
        except ValueError as error:  # unknown split, or unknown configuration
            said.append(str(error).split("\n")[0])
            if "split" not in said[-1].lower():
                break
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"cannot fetch {where} from the hub ({type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else 'no reason given'}). Without a "
                "network, use a copy: --set data.train=FOLDER (and data.heldout)"
            ) from error
        else:
            rows = (Row(f"{where} {name}", n, dict(value)) for n, value in enumerate(table, 1))
            return _Input(rows=rows, stem=f"{where.split('/')[-1]}-{name}", source=where)
    raise DataError(
        f"{where} cannot be used: {'; '.join(said)}. Choose with ?name=CONFIGURATION&split=SPLIT"
    )


def _collect(
    source: str,
    side: str,
    asked: query.Query,
    inputs: list[_Input],
    *,
    files: list[str],
    limit: int | None,
    config: DataConfig,
) -> Loaded:
    """Read until the end or the limit; count what is broken; refuse what is too broken."""
    prompts: list[Prompt] = []
    bad: list[BadRow] = []
    ids: dict[str, str] = {}
    systems = 0
    mapping: dict[str, str] = {}
    make: columns.Columns | None = None
    told: dict[str, None] = {}

    def bound(sample: list[Row], where: str) -> columns.Columns:
        made = columns.bind([row.value for row in sample], asked.keys, where=where)
        if note := made.note():
            told[note] = None
        return made

    def refuse_if_broken() -> None:
        read = len(prompts) + len(bad)
        if bad and len(bad) > config.max_bad_share * read:
            raise DataError(_too_broken(source, bad, read, config.max_bad_share))

    for each in inputs:
        if limit is not None and len(prompts) >= limit:
            break
        rows, sample = readers.peek(each.rows)
        if sample:  # files of one source may name their columns differently
            make = bound(sample, each.source)
        for row in rows:
            if isinstance(row, Row):
                if make is None:  # thousands of broken rows came first
                    make = bound([row], each.source)
                mapping = make.mapping
                prompt = make.prompt(row, spare_id=f"{each.stem}-{row.line}", source=each.source)
                if isinstance(prompt, Prompt):
                    if side == "heldout":  # no text that is learned may hold it: overlap.py
                        prompt = make.worked(prompt, row)
                    if prompt.id not in ids:
                        ids[prompt.id] = f"{row.file}:{row.line}"
                        prompts.append(prompt)
                        systems += columns.has_system(row.value.get(mapping["question"]))
                        if limit is not None and len(prompts) >= limit:
                            break
                        continue
                    reason = f"id '{prompt.id}' is already that of {ids[prompt.id]}"
                    bad.append(BadRow(row.file, row.line, reason, mapping.get("id", "")))
                else:
                    bad.append(prompt)
            else:
                bad.append(row)
            if len(bad) % 10_000 == 0:  # hopeless: do not hold a whole broken file
                refuse_if_broken()
    refuse_if_broken()
    if not prompts:
        what = "; ".join(str(row) for row in bad[:SHOWN]) or "no rows"
        raise DataError(f"{source} ({side}) holds no problem: {what}")
    notes = list(told)
    if limit is not None and len(prompts) < limit:
        notes.append(f"n={limit} was asked for, but it has only {len(prompts)} usable rows")
    if options := {"choices", "options"} & prompts[0].columns.keys():
        notes.append(
            f"column '{options.pop()}' is not part of the question: models will not see it"
        )
    if systems:
        notes.append(f"{systems} rows have a system message, which is not used; set data.system")
    return Loaded(
        source=source,
        split=side,
        prompts=prompts,
        mapping=mapping,
        read=len(prompts) + len(bad),
        bad=bad,
        files=files,
        notes=notes,
    )


def _too_broken(source: str, bad: list[BadRow], read: int, bound: float) -> str:
    listed = "\n".join(f"  {row}" for row in bad[:SHOWN])
    more = f"\n  ... and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    enough = f"{len(bad) / read + 0.01:.2f}"
    return (
        f"{source}: {len(bad)} of {read} rows are broken, above max_bad_share={bound:g}. Mend "
        f"them, or accept that they are left out with --set data.max_bad_share={enough}\n"
        f"{listed}{more}"
    )
