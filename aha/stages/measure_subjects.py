"""Which models `[measures]` measures, and which one each is compared with.

    base            model.path, where measures.base asks for it: RUN/measures/base/
    STAGE_base      another model from elsewhere; STAGE is the first one to start from it:
                    RUN/measures/STAGE_base/, measured when STAGE is done
    STAGE           what a stage made: RUN/STAGE/measures/

A stage is compared with its own kin: the stages and the model that it grew from, so that a student is
compared with the student before it learned, and not with the base of its teacher.

Holds not:  measuring (measure.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.config import DataConfig, Recipe
from aha.errors import ConfigError
from aha.report.page.measures import BASE, BASES, base_of
from aha.stages import cost, dag, start

WRITERS = ("rl", "sft", "dpo")
"""Kinds of stages that make a model that writes text."""


@dataclass(frozen=True)
class Subject:
    """A model that is measured."""

    name: str
    after: str | None
    """The stage that is done when it is measured; None: before any."""
    folder: Path
    """Of its measures, in the run folder."""
    model: str
    """As a recipe writes it: `stage:NAME`, or what `locate` finds it by."""
    data: DataConfig
    """How it is asked."""
    made_by: Any
    """Plain values that say which model it is."""
    before: str = ""
    """The model that it is compared with: of the measured stages that it comes from, directly or not, and
    that began from the same model, the last one; else that model."""


def subjects(recipe: Recipe) -> list[Subject]:
    """The models that are measured, parents first, else in the recipe's order.

    Raises:
        ConfigError: `measures.stages` names what is no stage, or makes no model that writes.
    """
    config = recipe.measures
    if config is None:
        return []
    nodes = dag.graph(recipe)
    writers = [node for node in nodes if node.kind in WRITERS]
    for name in config.stages:
        if name not in [node.name for node in writers]:
            known = ", ".join(node.name for node in writers) or "none"
            raise ConfigError(
                f"measures.stages names {name!r}, which is no stage that makes a model that writes "
                f"text (there is: {known})"
            )
    wanted = [node for node in writers if not config.stages or node.name in config.stages]
    origins = {node.name: _origin(recipe, node.name) for node in writers}
    bases = _bases(recipe, nodes, [origins[node.name] for node in wanted]) if config.base else {}
    found = list(bases.values())
    for node in wanted:
        path, _ = origins[node.name]
        kin = [one.name for one in wanted if origins[one.name][0] == path]
        before = _nearest(node, kin)
        if not before and path in bases:
            before = bases[path].name
        found.append(
            Subject(
                name=node.name,
                after=node.name,
                folder=Path(node.name, cost.MEASURES),
                model=f"{start.STAGE}{node.name}",
                data=DataConfig.model_validate(start.settings(recipe, node.name)["data"]),
                made_by=node.fingerprint,
                before=before or _nearest(node, [one.name for one in wanted]),
            )
        )
    return found


def _origin(recipe: Recipe, stage: str) -> tuple[str, str]:
    """The model that a stage grew from and that no stage made that learns to answer; and the stage that
    starts from it: the stage itself, or one that it comes from."""
    path = start.settings(recipe, stage)["model"]["path"]
    parent = next(start.references(path), None)
    if path == recipe.model.path or parent is None or recipe.kind(parent) not in WRITERS:
        return path, stage
    return _origin(recipe, parent)


def _nearest(node: dag.Node, measured: Sequence[str]) -> str:
    """Of the measured stages that a stage comes from, the nearest to it; "" if there is none.

    Nearest: none of the others comes from it. So R1 is compared with the model that it started from, and a
    supervised stage that starts from the base again with the model that wrote its answers.
    """
    found = [one for one in dag.ancestors(node) if one.name in measured]
    behind = {above.name for one in found for above in dag.ancestors(one)}
    nearest = [one.name for one in found if one.name not in behind]
    return max(nearest, key=measured.index, default="")


def _bases(
    recipe: Recipe, nodes: Sequence[dag.Node], origins: Sequence[tuple[str, str]]
) -> dict[str, Subject]:
    """The models from elsewhere by their paths, that of the recipe first: all asked as `[data]` says.

    Raises:
        ConfigError: a stage is called as one of them is.
    """
    first: dict[str, str] = {}
    for path, stage in origins:
        first.setdefault(path, stage)
    found: dict[str, Subject] = {}
    for path in (recipe.model.path, *first):
        made = next(start.references(path), None)
        main = path == recipe.model.path
        name = BASE if main else base_of(first[path])
        if name in recipe.stages():
            raise ConfigError(
                f"a stage is called {name!r}, as a column of measures.base is: give it another name"
            )
        found[path] = Subject(
            name=name,
            after=made if main else first[path],
            folder=BASES / name,
            model=path,
            data=recipe.data,
            made_by=[node.fingerprint for node in nodes if node.name == made] or [path],
        )
    return found
