"""From a run folder to one plain dictionary: what the page shows, thinned.

    {"name", "folder", "recipe", "recipe_text", "env", "events", "alerts", "state", "ended", "times", "notes",
     "measured": [measures.Column],
     "stages": [{"name", "kind", "parents", "depth", "state", "done", "rows", "steps", "by", "counts",
                 "evals", "facts", "mismatch", "resolved", "chosen", "groups"}],
     "bases": {name: [groups]}, "asked": {"measured", "sampled"}}

`rows` are those of metrics.jsonl, one a step, finite numbers only; `groups` the answers with text, `bases`
those of measured models that no stage made, `asked` what is shown of answers that belong to no step.
Works on what is there: a run killed at any point has less of it.

Holds not: HTML, drawing, judging what the numbers mean.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.errors import RunError
from aha.report.page import measures
from aha.report.page.chosen import OfStage, texts
from aha.report.page.lineage import Stage, stages
from aha.report.page.read import Reader, number, string, whole

RECIPE = "recipe.toml"
MOST_EVENTS = 2000
"""Events that are kept: the first and the last half of them."""
FACTS_LEFT_OUT = (
    *("fingerprint.json", "resolved.json", "summary.json", "manifest.json"),
    *("cost.json", "lineage.json", "mismatch.json"),
)
MOST_FACTS = 256_000
"""Bytes of a JSON file of facts; a larger one is data, not facts."""


def gather(root: Path, budget: int) -> dict[str, Any]:
    """One run. `budget`: bytes of answers' text, about.

    Raises:
        RunError: not a run folder.
    """
    if not root.is_dir() or not any((root / name).exists() for name in (RECIPE, "events.jsonl")):
        near = sorted(p.parent.name for p in root.parent.glob(f"*/{RECIPE}"))
        hint = f"; runs in {root.parent}: {', '.join(near[:8])}" if near else ""
        raise RunError(f"{root} is not a run folder: it has no {RECIPE}{hint}")
    reader = Reader(root)
    recipe_text = reader.text(root / RECIPE)
    recipe = reader.toml(root / RECIPE)
    events = list(reader.rows(root / "events.jsonl"))
    begun = [p.name for p in sorted(root.iterdir()) if (p / "fingerprint.json").is_file()]
    nodes = stages(recipe, begun)
    aside = sorted(set(begun) - {node.name for node in nodes})
    if aside:
        reader.notes.append(f"set aside, not shown: {', '.join(aside)}")
    alerts = _alerts(events)
    alerted = [
        (one["stage"], one["step"], prompt) for one in alerts for prompt, _ in one["samples"]
    ]
    shown = texts(reader, nodes, recipe, alerted, budget)
    found = [_stage(reader, node, shown.stages[node.name]) for node in nodes]
    times = [t for row in events if (t := number(row.get("time"))) is not None]
    times += [row["time"] for stage in found for row in stage["rows"] if row.get("time")]
    ended = [row for row in events if row.get("event") in ("attempt", "ended")]
    failed = ended[-1] if ended and ended[-1].get("event") == "ended" else None
    return {
        "name": string(recipe.get("name")) or root.name,
        "folder": root.name,
        "recipe": recipe,
        "recipe_text": recipe_text,
        "env": reader.table(root / "env.json"),
        "events": _thinned(events),
        "alerts": alerts,
        "state": _state(found, failed),
        "ended": string(failed.get("error")) if failed else "",
        "attempts": max((whole(row.get("attempt")) or 0 for row in events), default=0),
        "times": [min(times), max(times)] if times else [],
        "stages": found,
        "measured": measures.read(reader, [node.name for node in nodes], root.name),
        "bases": shown.bases,
        "asked": shown.counts,
        "notes": reader.notes,
    }


def _state(found: Sequence[Mapping[str, Any]], failed: Mapping[str, Any] | None) -> str:
    if found and all(stage["state"] == "done" for stage in found):
        return "done"
    if failed is None:
        return "unfinished"  # killed, or still running: the files are the same
    return "stopped" if string(failed.get("error")).startswith("Stopped") else "failed"


def _alerts(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Alerts with the stage that they are of: their own word, else the stage that began last."""
    stage, found = "", []
    for row in events:
        if row.get("event") == "start":
            stage = string(row.get("stage"))
        elif row.get("event") == "alert":
            samples = row.get("samples")
            found.append(
                {
                    "stage": string(row.get("stage")) or stage,
                    "step": whole(row.get("step")) or 0,
                    "name": string(row.get("name")),
                    "text": string(row.get("text")),
                    "samples": [
                        (string(pair[0]), whole(pair[1]))
                        for pair in (samples if isinstance(samples, list) else [])
                        if isinstance(pair, list) and len(pair) == 2
                    ][:20],
                }
            )
    return found


def _thinned(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(events) <= MOST_EVENTS:
        return events
    half = MOST_EVENTS // 2
    return [*events[:half], *events[-half:]]


def _stage(reader: Reader, node: Stage, of: OfStage) -> dict[str, Any]:
    folder, index = reader.root / node.name, of.index
    done = reader.table(folder / "DONE")
    state = "done" if done else "unfinished" if (folder / "fingerprint.json").exists() else "new"
    return {
        "name": node.name,
        "kind": node.kind,
        "parents": list(node.parents),
        "depth": node.depth,
        "state": state,
        "done": {key: value for key, value in done.items() if key != "fingerprint"},
        "rows": _rows(reader, folder / "metrics.jsonl"),
        "steps": index.steps,
        "by": index.by,
        "counts": {
            "questions": len(index.prompts),
            "answers": index.answers,
            "tokens": index.tokens,
            "statuses": dict(index.statuses),
        },
        "evals": of.results,
        "facts": _facts(reader, folder),
        "mismatch": reader.table(folder / "mismatch.json"),
        "resolved": reader.table(folder / "resolved.json"),
        "chosen": {"every": of.chosen.every, "each": of.chosen.each, "groups": len(index.places)},
        "groups": of.groups,
    }


def _rows(reader: Reader, path: Path) -> list[dict[str, float]]:
    """One row a step (a later one wins), in the order of the steps; what is no number is not there."""
    found: dict[int, dict[str, float]] = {}
    for row in reader.rows(path):
        step = whole(row.get("step"))
        if step is not None:
            found[step] = {
                name[:120]: value for name, raw in row.items() if (value := number(raw)) is not None
            }
    return [found[step] for step in sorted(found)]


def _facts(reader: Reader, folder: Path) -> dict[str, Any]:
    """What a stage says of its data and itself: its small JSON files, and rows of its data files."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        if path.name not in FACTS_LEFT_OUT:
            value = reader.json(path, MOST_FACTS)
            if value is not None:
                found[path.name] = value
    for path in sorted(folder.glob("*.jsonl")):
        if path.name not in ("metrics.jsonl", "grades.jsonl"):
            found[path.name] = _counted(reader, path)
    return found


def _counted(reader: Reader, path: Path) -> dict[str, Any]:
    """How many rows a file of dialogues, pairs or samples has, and of which kinds."""
    by: dict[str, Counter[str]] = {key: Counter() for key in ("area", "domain", "source", "kind")}
    rows = 0
    for row in reader.rows(path):
        rows += 1
        for key, counts in by.items():
            name = string(row.get(key))[:80]
            if name and (name in counts or len(counts) < 50):
                counts[name] += 1
    return {"rows": rows} | {f"by {key}": dict(counts) for key, counts in by.items() if counts}
