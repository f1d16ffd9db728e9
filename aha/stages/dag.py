"""The graph of stages, and the rule for running it again.

A node is a name, a configuration, its parents and a hand-bumped VERSION. Its fingerprint hashes these, of
the configuration what is not at its default (never the commit: an upgrade, or a key that came with it, must
not rerun everything; a default that becomes another one bumps the VERSION). `DONE` is written last and holds
the fingerprint: what is done is not run again; a changed number concerns that node and its descendants.
"""

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aha.config import Recipe
from aha.errors import ConfigError
from aha.stages import start

DONE = "DONE"
FINGERPRINT = "fingerprint.json"
VERSIONS = {
    **{"pretrain": 1, "sft": 2, "rl": 3, "dpo": 1},
    **{"sample": 4, "judge": 1, "reward_model": 3},
}
"""By kind of stage: bump one when it would give other results for the same configuration."""
NO_EFFECT = {"preflight", "preflight_strict", "keep_last", "grader_workers"}
"""Keys that change whether a stage starts, how fast it is or what it leaves lying, never what it gives."""


@dataclass(frozen=True)
class Node:
    name: str
    kind: str
    config: dict[str, Any]
    told: dict[str, Any]
    """What of it is not at its default."""
    parents: tuple["Node", ...] = ()

    @property
    def fingerprint(self) -> str:
        what = [self.name, self.kind, VERSIONS[self.kind], self.told]
        what.append([parent.fingerprint for parent in self.parents])
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def graph(recipe: Recipe) -> list[Node]:
    """The recipe's nodes, parents first. Where and how it runs (folder, threads, memory) is left out."""
    nodes: dict[str, Node] = {}
    begun: list[str] = []

    def visit(name: str) -> Node:
        if name in nodes:
            return nodes[name]
        if name in begun:
            raise ConfigError(f"stages wait for each other: {' -> '.join([*begun, name])}")
        begun.append(name)
        parents = tuple(visit(parent) for parent in start.parents(recipe, name))
        begun.pop()
        config, told = (
            {"seed": recipe.seed} | _with_effect(read(recipe, name))
            for read in (start.settings, start.told)
        )
        nodes[name] = Node(name, recipe.kind(name), config, told, parents)
        return nodes[name]

    for name in recipe.stages():
        visit(name)
    return list(nodes.values())


def _with_effect(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in table.items() if key not in NO_EFFECT}
        for name, table in tables.items()
    }


def ancestors(node: Node) -> list[Node]:
    """All that a stage comes from, each once, parents before their children."""
    found: dict[str, Node] = {}

    def visit(one: Node) -> None:
        for parent in one.parents:
            visit(parent)
            found.setdefault(parent.name, parent)

    visit(node)
    return list(found.values())


def select(nodes: Sequence[Node], stages: Sequence[str] | None) -> list[Node]:
    """The stages and everything they need, in the order of the graph; all nodes without a name.

    Raises:
        ConfigError: the recipe has no such stage.
    """
    if not stages:
        return list(nodes)
    wanted = _known(nodes, stages)
    for node in reversed(nodes):  # children first, so that each adds its parents
        if node.name in wanted:
            wanted |= {parent.name for parent in node.parents}
    return [node for node in nodes if node.name in wanted]


def descendants(nodes: Sequence[Node], stages: Sequence[str]) -> list[Node]:
    """The stages and all that is made from them, in the order of the graph.

    Raises:
        ConfigError: the recipe has no such stage.
    """
    found = _known(nodes, stages)
    for node in nodes:
        if any(parent.name in found for parent in node.parents):
            found.add(node.name)
    return [node for node in nodes if node.name in found]


def redone(graph: Sequence[Node], nodes: Sequence[Node], redo: Sequence[str]) -> list[str]:
    """Names of the stages whose results are set aside: those of `redo` and all that is made from them.

    Args:
        graph: of the whole recipe, so that nothing stays that was made from a result that is no more.
        nodes: the stages of it that are run.

    Raises:
        ConfigError: the recipe has no such stage, or it is not run.
    """
    again = [node.name for node in descendants(graph, redo)]
    names = [node.name for node in nodes]
    for name in redo:
        if name not in names:
            raise ConfigError(
                f"--from {name}: only {', '.join(names)} would run; name a stage that needs {name}, "
                "or no stage for all"
            )
    return again


def _known(nodes: Sequence[Node], stages: Sequence[str]) -> set[str]:
    names = [node.name for node in nodes]
    for stage in stages:
        if stage not in names:
            near = difflib.get_close_matches(stage, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            there = ", ".join(names)
            raise ConfigError(f"the recipe has no stage {stage!r}; {hint}it has: {there}")
    return set(stages)


def status(node: Node, root: Path) -> Literal["new", "begun", "done", "other"]:
    """new: nothing there; begun: to be resumed; done; other: made by another configuration."""
    folder = root / node.name
    try:
        stored = json.loads((folder / FINGERPRINT).read_text("utf-8"))["fingerprint"]
    except FileNotFoundError:
        return "new"
    except (ValueError, KeyError, TypeError, OSError):
        return "other"
    if stored != node.fingerprint:
        return "other"
    return "done" if (folder / DONE).exists() else "begun"


def mermaid(nodes: Sequence[Node], root: Path | None = None) -> str:
    """The graph of the real run as a mermaid diagram."""
    lines = ["graph LR"]
    for node in nodes:
        state = f" ({status(node, root)})" if root else ""
        lines.append(f'  {node.name}["{node.name}{state}"]')
        lines += [f"  {parent.name} --> {node.name}" for parent in node.parents]
    return "\n".join(lines)
