"""From a recipe file (TOML; YAML and JSON by suffix) and dotted overrides to a `Recipe`.

What cannot work is refused in plain words, all of it at once; an unknown key names the nearest one.
`step` walks the tables by key, for overrides and for messages.

May import: errors, sections, recipe. Nothing heavy: `aha --help` loads this.
"""

import difflib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from aha.config.recipe import STAGES, Recipe
from aha.errors import ConfigError


def load(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file and apply dotted overrides.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type, impossible value; names file and key.
    """
    path = Path(path)
    raw = _parse(path)
    for override in overrides or []:
        _apply(raw, override)
    return resolve(raw, where=str(path))


def resolve(raw: dict[str, Any], where: str = "recipe") -> Recipe:
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_plain(error)}") from error
    if not recipe.stages():
        raise ConfigError(
            f"{where}: no stage; add a [zero], an [sft] or a [pretrain] table, or [stage.NAME]"
        )
    return recipe


SUFFIXES = (".toml", ".yaml", ".yml", ".json")


def _instead(path: Path) -> str:
    """What to write in place of a recipe's path that does not exist."""
    folders = [path.parent, Path("recipes")]
    found = [p for folder in folders[::-1] for p in folder.glob("*.*") if p.suffix in SUFFIXES]
    there = {p.name: p for p in found if p.name != "pyproject.toml"}
    if near := difflib.get_close_matches(path.name, there, n=1):
        return f"did you mean {there[near[0]]}?"
    if there:
        return f"there are {', '.join(sorted(map(str, there.values())))}"
    return "docs/stages.md says how to write one"


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8-sig")  # some editors put a mark in front
    except FileNotFoundError:
        raise ConfigError(f"no recipe at {path}; {_instead(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {error}") from error
    try:
        if path.suffix in (".yaml", ".yml"):
            import yaml

            try:
                raw = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ConfigError(f"{path} is not YAML: {error}") from error
        elif path.suffix == ".json":
            raw = json.loads(text)
        elif path.suffix == ".toml":
            raw = tomllib.loads(text)
        else:
            raise ConfigError(f"{path}: a recipe ends in one of {', '.join(SUFFIXES)}")
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} cannot be parsed: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a recipe is a table of keys, not {type(raw).__name__}")
    return raw


def _apply(raw: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set {override!r}: write it as section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *path, last = key.strip().split(".")
    table = raw
    section: Place = Recipe
    for part in path:
        field = section.model_fields.get(part) if isinstance(section, type) else None
        if table.get(part) is None:  # a table of names keeps its other defaults
            table[part] = dict(field.default) if field and isinstance(field.default, dict) else {}
        table = table[part]
        section = step(section, part)
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r}: {part} is a value, not a section")
    table[last] = value


def _plain(error: ValidationError) -> str:
    """Each problem of a recipe in one sentence."""
    said = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            said.append(_unknown_key(problem["loc"]))
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = problem.get("input")
            shown = "" if isinstance(given, dict) else f" (got {given!r})"
            said.append(f"{where}: {message}{shown}" if where else message)
    return "; ".join(said)


def _unknown_key(location: tuple[int | str, ...]) -> str:
    at: Place = Recipe
    path = [str(part) for part in location[:-1]]
    rest = path
    if path[:1] == ["stage"] and len(path) > 2:  # stage, its name, its kind
        at, rest = STAGES[path[2]], path[3:]
        path.pop(2)
    for part in rest:
        at = step(at, part)
    section = at if isinstance(at, type) else Recipe
    key, known = str(location[-1]), sorted(section.model_fields)
    name = ".".join(path)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean '{near[0]}'?"
    else:
        elsewhere = [where for where in _all_keys(Recipe) if where.split(".")[-1] == key]
        hint = f"did you mean '{elsewhere[0]}'?" if elsewhere else f"known keys: {', '.join(known)}"
    return f"{f'[{name}]' if name else 'the recipe'} has no '{key}'; {hint}"


@dataclass(frozen=True)
class Named:
    """A table of sections of one type, by names of the user's: `dict[str, Section]`."""

    section: type[BaseModel]


Place = type[BaseModel] | Named | None
"""Where a path of keys has led: a section, a table of sections, or a value."""


def step(place: Place, name: str) -> Place:
    """Where the key `name` of `place` leads."""
    if isinstance(place, Named):
        return place.section
    return _section(place, name) if place is not None and name in place.model_fields else None


def _section(section: type[BaseModel], name: str) -> Place:
    """The section type of a field, also when it is written `Section | None`; None for a value."""
    kind = section.model_fields[name].annotation
    for candidate in (kind, *getattr(kind, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return Named(candidate) if getattr(kind, "__origin__", None) is dict else candidate
    return None


def _all_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name in section.model_fields:
        keys.append(prefix + name)
        nested = _section(section, name)
        if isinstance(nested, Named):
            keys += _all_keys(nested.section, f"{prefix}{name}.NAME.")
        elif nested is not None:
            keys += _all_keys(nested, f"{prefix}{name}.")
    return keys
