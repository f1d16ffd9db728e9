"""`gym:NAME`: any task of the package reasoning-gym (extra `gym`) as a task of ours.

The package makes a problem from (configuration, seed, index) and scores answers by a rule of each
task. Query keys are the fields of the task's configuration, read by their types. Problems come in
chunks of 500, the package's usual size: the first chunk has the seed itself, so `gym:NAME?seed=7`
begins with the package's own data set of seed 7; each later chunk has a seed made from it.

gold is two JSON lines: {"task", "keys"}, and the entry that the scorer needs, or, where that is too
long or has values that JSON cannot hold, how to make it again. The grader is rewards/gym.py.

Not covered: the tasks of UNUSABLE; tasks that are not the same
in every Python process unless PYTHONHASHSEED=0 (refused without it); problems that are the same in
other words (one text is one problem).
"""

import contextlib
import datetime
import difflib
import enum
import hashlib
import io
import json
import sys
import types
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from random import Random
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from aha.data import query
from aha.data.tasks.split import Item, Task
from aha.errors import ConfigError, DataError
from aha.records import Prompt

PREFIX = "gym:"
CHUNK = 500
"""Problems that are made with one seed."""
MAX_GOLD = 16_384
"""Characters of a gold; longer entries are made again by the grader."""
OURS = ("n", "seed", "size", "split", "weight")
"""Keys with a meaning of ours; a task's own field of that name is written `task.NAME`."""
UNUSABLE = {
    "boxnet": "its scorer fails on every answer that is not of its form",
    "coin_flip": "its scorer gives the full mark for the first digit of the answer",
    "composite": "name its parts as a list of sources, with weights",
    "game_of_life_halting": "its scorer calls every answer right",
}
UNSTEADY = (
    "codeio",
    "intermediate_integration",
    "isomorphic_strings",
    "knight_swap",
    "list_functions",
    "polynomial_multiplication",
    "quantum_lock",
    "ransom_note",
    "word_ladder",
)
"""Tasks of which some problems differ between processes: they go through sets, whose order Python
changes. Found by comparing up to 60 problems of each task under two hash seeds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A task and what the query says about it."""

    name: str
    keys: tuple[tuple[str, str], ...] = ()
    """Fields of the task's configuration, as written."""
    seed: int = 0


def task(source: str, keys: Mapping[str, str]) -> tuple[Task, Settings]:
    """The task of a source `gym:NAME` and its settings, both checked by making the data set.

    Raises:
        ConfigError: no such task or key, a value that the task refuses, or the extra is missing.
    """
    name = source.removeprefix(PREFIX)
    known = _registry()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean '{PREFIX}{near[0]}'?" if near else "its README lists the tasks"
        raise ConfigError(f"reasoning-gym has no task '{name}'; {hint} ({len(known)} are known)")
    if name in UNUSABLE:
        raise ConfigError(f"{source} cannot be a source: {UNUSABLE[name]}")
    if name in UNSTEADY and sys.flags.hash_randomization:
        raise ConfigError(
            f"{source}: the package makes other problems of this task in every process, so a resumed "
            "run would ask others; set the environment variable PYTHONHASHSEED=0 and start again"
        )
    own = dict(keys)
    seed = query.integer(own.pop("seed", "0"), where=f"{source}?seed")
    if not 0 <= seed < 2**31:
        raise ConfigError(f"{source}?seed={seed}: write 0 to {2**31 - 1}")
    settings = Settings(name, tuple(sorted(own.items())), seed)
    dataset(name, settings.keys, seed=seed, size=1)
    return Task(source, Settings, item, usual=(1000, 100), patience=1000), settings


@lru_cache(maxsize=32_768)
def item(settings: Settings, index: int) -> Item:
    """Problem number `index` of the stream of these settings: a pure function of both.

    Raises:
        DataError: the package fails at it.
    """
    chunk, place = divmod(index, CHUNK)
    seed = settings.seed
    if chunk:
        seed = Random(f"aha gym {settings.seed} {chunk}").getrandbits(31)
    source = PREFIX + settings.name
    try:
        made = dataset(settings.name, settings.keys, seed=seed, size=CHUNK)
        with contextlib.redirect_stdout(io.StringIO()):  # some tasks print while they work
            entry = made[place]
    except ConfigError:
        raise
    except Exception as error:
        raise DataError(
            f"{source}: reasoning-gym cannot make problem {index} of seed {settings.seed} "
            f"({type(error).__name__}: {error}); try other settings or another seed"
        ) from error
    question = str(entry["question"]).strip()
    prompt = Prompt(
        id=f"gym-{settings.name}-{settings.seed}-{index}",
        question=question,
        gold=_gold(settings, entry, seed, place),
        kind="gym",
        source=source,
        lang="en",
        domain=settings.name,
        columns={} if entry.get("answer") is None else {"answer": str(entry["answer"])},
    )
    return Item(prompt, canonical(source, question))


def canonical(source: str, question: str) -> str:
    """The question in one Unicode form and case, with single spaces: `gym:gcd:find the ...`."""
    plain = unicodedata.normalize("NFKC", question).casefold()
    return f"{source}:{' '.join(plain.split())}"


@lru_cache(maxsize=64)
def dataset(name: str, keys: tuple[tuple[str, str], ...], *, seed: int, size: int) -> Any:
    """A data set of the package (a `ProceduralDataset`).

    Raises:
        ConfigError: an unknown key, a value that cannot be read or that the task refuses.
    """
    where = PREFIX + name
    _, config = _registry()[name]
    hints = get_type_hints(config)
    known = {_written(field.name): field.name for field in fields(config)}
    known.pop("task.seed", None)
    known.pop("task.size", None)
    query.refuse_unknown(dict(keys), [*known, "seed", "n", "split", "weight"], where=where)
    values: dict[str, Any] = {"seed": seed, "size": size}
    defaults = {field.name: field.default for field in fields(config)}
    for key, text in keys:
        field = known[key]
        values[field] = _typed(text, hints[field], defaults[field], f"{where}?{key}")
    import reasoning_gym

    try:
        return reasoning_gym.create_dataset(name, **values)
    except (AssertionError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: reasoning-gym refuses these settings: {error}") from error


def read_gold(gold: str) -> tuple[Any, dict[str, Any]]:
    """The data set that scores and the entry of a gold.

    Raises:
        ValueError, KeyError, TypeError: not a gold of ours, or the entry cannot be made again.
    """
    head, _, body = gold.partition("\n")
    said, rest = json.loads(head), json.loads(body)
    keys = tuple((key, value) for key, value in said["keys"].items())
    if "entry" in rest:
        return dataset(said["task"], keys, seed=0, size=1), _decoded(rest["entry"])
    made = dataset(said["task"], keys, seed=rest["seed"], size=CHUNK)
    entry = made[rest["index"]]
    if _digest(entry) != rest["sha256"]:
        raise ValueError("the installed reasoning-gym makes another problem of this gold")
    return made, entry


def prepare(head: str) -> None:
    """Load the package and the data set that the first line of a gold names; slow the first time."""
    said = json.loads(head)
    dataset(
        said["task"], tuple((key, value) for key, value in said["keys"].items()), seed=0, size=1
    )


def _registry() -> dict[str, Any]:
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        if error.name != "reasoning_gym":
            raise ConfigError(f"reasoning-gym cannot be loaded: {error}") from error
        raise ConfigError(
            f"{PREFIX}NAME takes tasks of reasoning-gym, which is not installed: "
            "pip install 'aha[gym]'"
        ) from None
    return dict(DATASETS)


def _written(field: str) -> str:
    return f"task.{field}" if field in OURS else field


def _typed(text: str, kind: Any, default: Any, where: str) -> Any:
    """A value of a configuration field from its text."""
    choices = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        if text.lower() == "none" and type(None) in choices:
            return None
        return _typed(text, next(c for c in choices if c is not type(None)), default, where)
    if get_origin(kind) is Literal:
        if text not in choices:
            raise ConfigError(f"{where}={text}: write {', '.join(map(str, choices))}")
        return text
    if kind is bool:
        return query.truth(text, where=where)
    if kind is int:
        return query.integer(text, where=where)
    if kind is float:
        return query.number(text, where=where)
    if kind is str:
        return text
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        named = {str(member.value): member for member in kind}
        if text not in named:
            raise ConfigError(f"{where}={text}: write {', '.join(named)}")
        return named[text]
    if kind in (datetime.date, datetime.time):
        try:
            return kind.fromisoformat(text)
        except ValueError as error:
            raise ConfigError(f"{where}={text}: {error}") from error
    holder = get_origin(kind) or kind
    if holder in (list, tuple, Sequence):
        inner = next((c for c in choices if c is not Ellipsis), None)
        if inner is None:
            first = default[0] if isinstance(default, (tuple, list)) and default else ""
            inner = type(first)
        parts = [part.strip() for part in text.split(",") if part.strip()]
        values = [_typed(part, inner, None, where) for part in parts]
        return values if holder is list else tuple(values)
    raise ConfigError(f"{where}: this key of the task cannot be set in a source; leave it out")


def _gold(settings: Settings, entry: Mapping[str, Any], seed: int, place: int) -> str:
    head = json.dumps({"task": settings.name, "keys": dict(settings.keys)})
    try:
        coded = _coded(dict(entry))
        body = json.dumps({"entry": coded}, ensure_ascii=False)
        if _decoded(json.loads(body)["entry"]) == entry and len(head) + len(body) < MAX_GOLD:
            return f"{head}\n{body}"
    except (TypeError, ValueError):  # a value of the package's own
        pass
    again = {"seed": seed, "index": place, "sha256": _digest(entry)}
    return f"{head}\n{json.dumps(again)}"


def _digest(entry: Mapping[str, Any]) -> str:
    said = f"{entry['question']}\n{entry.get('answer')}"
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:16]


def _coded(value: Any) -> Any:
    """JSON with tuples and with keys that are not text: {"()": [...]}, {"{}": [[key, value], ...]}.

    Raises:
        TypeError: a value that is none of these.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [_coded(each) for each in value]
    if isinstance(value, tuple):
        return {"()": [_coded(each) for each in value]}
    if isinstance(value, dict):
        if all(isinstance(key, str) and key not in ("()", "{}") for key in value):
            return {key: _coded(each) for key, each in value.items()}
        return {"{}": [[_coded(key), _coded(each)] for key, each in value.items()]}
    raise TypeError(type(value).__name__)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if isinstance(value, dict):
        if "()" in value:
            return tuple(_decoded(each) for each in value["()"])
        if "{}" in value:
            return {_decoded(key): _decoded(each) for key, each in value["{}"]}
        return {key: _decoded(each) for key, each in value.items()}
    return value
