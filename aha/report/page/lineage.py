"""The stages of a recipe and what each starts from, as plain text has it.

    [zero] / [sft] / [pretrain]        a stage of that kind and name
    [stage.NAME] kind = "..."          a stage of any name
    any string "stage:NAME" in it      NAME is its parent

Read without checking, so that a recipe of another version of aha can be shown too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.report.page.read import string, table

KINDS = ("pretrain", "sft", "zero")
"""Kinds that may stand in a recipe as tables of their own."""
_PARENT = re.compile(r"stage:([A-Za-z0-9_.-]{1,100})")


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    kind: str
    parents: tuple[str, ...]
    """Names of stages of the same recipe."""
    depth: int
    """0 for one without parents, else one more than its deepest parent."""
    config: Mapping[str, Any]


def stages(recipe: Mapping[str, Any], folders: Sequence[str] = ()) -> list[Stage]:
    """The recipe's stages, parents first; `folders` stand for them where there is no recipe."""
    tables: dict[str, Mapping[str, Any]] = {
        kind: table(recipe[kind]) for kind in KINDS if kind in recipe
    }
    for name, config in table(recipe.get("stage")).items():
        tables.setdefault(name, table(config))
    if not tables:
        tables = {name: {} for name in folders}
    parents = {name: _parents(name, config, recipe, tables) for name, config in tables.items()}
    depths = _depths(parents)
    found = [
        Stage(name, string(config.get("kind")) or name, parents[name], depths[name], config)
        for name, config in tables.items()
    ]
    return _parents_first(found)


def _parents_first(stages: Sequence[Stage]) -> list[Stage]:
    """In the recipe's order, but no stage before what it needs; a circle is cut."""
    by_name = {stage.name: stage for stage in stages}
    ordered: dict[str, Stage] = {}
    begun: set[str] = set()

    def visit(stage: Stage) -> None:
        if stage.name not in begun:
            begun.add(stage.name)
            for parent in stage.parents:
                visit(by_name[parent])
            ordered[stage.name] = stage

    for stage in stages:
        visit(stage)
    return list(ordered.values())


def _parents(
    name: str,
    config: Mapping[str, Any],
    recipe: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Any]],
) -> tuple[str, ...]:
    said = [found for value in _strings(config) for found in _PARENT.findall(value)]
    path = string(table(recipe.get("model")).get("path"))
    if not config.get("start") and name != "pretrain":  # it takes the recipe's model
        said += _PARENT.findall(path)
    return tuple(dict.fromkeys(parent for parent in said if parent in tables and parent != name))


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)) and depth < 20:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner, depth + 1)


def _depths(parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Longest way from a stage without parents; a circle (no recipe that ran has one) is cut."""
    depths = dict.fromkeys(parents, 0)
    for _ in parents:
        depths = {
            name: min(1 + max((depths[p] for p in above), default=-1), len(parents))
            for name, above in parents.items()
        }
    return depths
