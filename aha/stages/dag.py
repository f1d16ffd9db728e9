"""The graph of stages, and the rule for running it again.

A node is a name, a configuration, its parents and a hand-bumped VERSION. Its fingerprint hashes these
(never the commit: an upgrade must not rerun everything). `DONE` is written last and holds the
fingerprint: what is done is not run again; a changed number concerns that node and its descendants.
"""

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
VERSIONS = {"pretrain": 1, "sft": 1, "rl": 1, "sample": 1, "reward_model": 1}
"""By kind of stage: bump one when it would give other results for the same configuration."""
NO_EFFECT = {"preflight", "preflight_strict"}
"""Keys of an RL stage that change whether it starts, never what it gives."""


@dataclass(frozen=True)
class Node:
    name: str
    kind: str
    config: dict[str, Any]
    parents: tuple["Node", ...] = ()

    @property
    def fingerprint(self) -> str:
        what = [self.name, VERSIONS[self.kind], self.config, [p.fingerprint for p in self.parents]]
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
        config = {"seed": recipe.seed} | start.settings(recipe, name)
        for table in config.values():
            if isinstance(table, dict):
                for key in NO_EFFECT & table.keys():
                    del table[key]
        nodes[name] = Node(name, recipe.kind(name), config, parents)
        return nodes[name]

    for name in recipe.stages():
        visit(name)
    return list(nodes.values())


def select(nodes: Sequence[Node], stage: str | None) -> list[Node]:
    """The stage and everything it needs; all nodes without one.

    Raises:
        ConfigError: the recipe has no such stage.
    """
    if stage is None:
        return list(nodes)
    by_name = {node.name: node for node in nodes}
    if stage not in by_name:
        raise ConfigError(f"the recipe has no stage {stage!r}; it has: {', '.join(by_name)}")
    wanted: list[Node] = []

    def visit(node: Node) -> None:
        for parent in node.parents:
            visit(parent)
        if node not in wanted:
            wanted.append(node)

    visit(by_name[stage])
    return wanted


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
