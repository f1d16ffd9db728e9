"""What a recipe would need, stage by stage: tokens, memory, disk, time (`aha plan`, `aha run --dry-run`).

Nothing is run and nothing is written. A stage whose parents are not done is planned too: its model has
the architecture that its chain of `start`s begins with, and data that no stage has written yet count as
the most there can be. A number is "about" where lengths are known from the data, "at most" where an
answer is taken to be as long as it may be.

Holds not: memory by part (train/plan.py), how long a step takes (train/speed.py).
Must stay true: a plan names what it cannot know; it never leaves a stage out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aha.config import Recipe
from aha.errors import naming
from aha.report.console import duration
from aha.stages import dag, planned, start

Facts = dict[str, Any]
STATES = {"new": "to do", "begun": "goes on", "done": "done", "other": "changed"}


def facts(
    recipe: Recipe,
    stages: Sequence[str] = (),
    *,
    root: Path,
    redo: Sequence[str] = (),
    timed: bool = False,
) -> Facts:
    """Stages, and for each its tokens, memory by part, disk and time, as plain values.

    Args:
        stages: names of the stages to plan, with what they need; all without one.
        root: the run folder; what is done there is not planned. It need not exist.
        redo: stages that would run again with all that is made from them.
        timed: also measure how long a step takes on this machine; takes some seconds a stage.

    Raises:
        ConfigError: the recipe has no such stage, or something cannot be.
        DataError: data that no stage makes cannot be read.
        DoesNotFit: the memory is too small for a stage; says which.
    """
    graph = dag.graph(recipe)
    nodes = dag.select(graph, stages)
    again = dag.redone(graph, nodes, redo)
    found: dict[str, Facts] = {}
    for node in nodes:
        state = dag.status(node, root)
        to_do = state != "done" or node.name in again
        said = "again" if node.name in again and state != "new" else STATES[state]
        made: Facts = {}
        if to_do:
            with naming(node.name, start.TABLE.get(node.kind)):
                made = planned.facts_of(planned.Stage(recipe, node, root, frozenset(again), timed))
        found[node.name] = {"kind": node.kind, "state": said, "to_do": to_do} | made
    return {
        "name": recipe.name,
        "graph": dag.mermaid(nodes, root if root.exists() else None),
        "stages": found,
        "total": _total(found),
    }


def _total(stages: dict[str, Facts]) -> Facts:
    """Sums over what is to do; the memory is that of the largest."""
    to_do = {name: stage for name, stage in stages.items() if stage["to_do"]}
    untimed = [name for name, stage in to_do.items() if stage.get("seconds") is None]
    return {
        "stages": len(stages),
        "to_do": len(to_do),
        "seconds": sum(stage.get("seconds") or 0.0 for stage in to_do.values()),
        "not_timed": untimed,
        "bound": any(stage.get("bound", True) for stage in to_do.values()),
        "memory_bytes": max((s.get("total_bytes", 0) for s in to_do.values()), default=0),
        "disk_bytes": sum(stage.get("disk_bytes", 0) for stage in to_do.values()),
        "tokens_sampled": sum(stage.get("tokens_sampled", 0) for stage in to_do.values()),
        "tokens_trained": sum(stage.get("tokens_trained", 0) for stage in to_do.values()),
    }


def text(found: Facts) -> str:
    """The plan in a few lines."""
    lines = [f"plan of {found['name']}", found["graph"]]
    for name, stage in found["stages"].items():
        lines += ["", *_lines(name, stage)]
    return "\n".join([*lines, "", _total_line(found["total"])])


def _lines(name: str, stage: Facts) -> list[str]:
    head = f"{name} ({stage['kind']}, {stage['state']})"
    if "parts" not in stage:
        return [": ".join([head, *stage.get("notes", [])])]
    resolved, rows = stage["resolved"], stage["resolved"].get("max_rows", 0)
    steps = f", {stage['steps']:,} steps" if "steps" in stage else ""
    lines = [
        f"{head}: {stage['parameters'] / 1e6:.1f}M parameters, {resolved['dtype']}, "
        f"{resolved['threads']} threads{steps}"
    ]
    said = []
    if stage.get("rollout_tokens"):
        said.append(f"at most {stage['rollout_tokens']:,} answer tokens a step")
    if rows:
        said.append(f"{rows} answers side by side")
    if resolved.get("micro_tokens"):
        said.append(f"micro-batches of {resolved['micro_tokens']:,} tokens")
    lines += [f"  {'; '.join(part)}" for part in (said, stage["notes"]) if part]
    lines.append(
        f"  tokens {_bound(stage)}: {stage['tokens_sampled']:,} sampled, "
        f"{stage['tokens_trained']:,} trained"
    )
    lines.append(
        f"  memory at the peak {stage['total_bytes'] / 1e9:.2f} GB of "
        f"{resolved['memory_bytes'] / 1e9:.2f} GB free:"
    )
    lines += [
        f"    {part:<16} {size / 1e9:8.3f} GB{_half_of(part)}"
        for part, size in stage["parts"].items()
    ]
    if stage.get("checkpoint_bytes"):
        lines.append(
            f"  disk {stage['disk_bytes'] / 1e9:.3f} GB: up to {stage['checkpoints']} checkpoints of "
            f"{stage['checkpoint_bytes'] / 1e9:.3f} GB"
        )
    return lines + _time_lines(stage)


def _time_lines(stage: Facts) -> list[str]:
    lines = []
    if stage.get("rollout_s") and stage.get("step_s") is not None:
        lines.append(
            f"  a step in which prompts and answers are as long as they may be: about "
            f"{duration(stage['step_s'])} (sampling {duration(stage['rollout_s'])}, update "
            f"{duration(stage['update_s'])}); measured here on a few layers"
        )
    if stage["seconds"] is not None:
        lines.append(f"  time {_bound(stage)} {duration(stage['seconds'])}, measured here")
    return lines


def _bound(stage: Facts) -> str:
    return "at most" if stage["bound"] else "about"


def _total_line(total: Facts) -> str:
    said = [
        f"total: {total['to_do']} of {total['stages']} stages to do",
        f"memory {total['memory_bytes'] / 1e9:.2f} GB at the peak",
        f"disk {total['disk_bytes'] / 1e9:.2f} GB for checkpoints and models",
        f"tokens {_bound(total)} {total['tokens_sampled']:,} sampled and "
        f"{total['tokens_trained']:,} trained",
    ]
    if total["seconds"]:
        said.append(f"time {_bound(total)} {duration(total['seconds'])}")
        if total["not_timed"]:
            said[-1] += f", without {', '.join(total['not_timed'])}"
    return "; ".join(said)


def _half_of(part: str) -> str:
    """When a part of the memory exists, if not always."""
    from aha.train.plan import SAMPLING, UPDATING

    if part in SAMPLING:
        return "  while answers are sampled"
    return "  in the update" if part in UPDATING else ""
