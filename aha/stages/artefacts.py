"""What two runs of a recipe have in common, to the byte: the sha256 of every artefact (`aha hash RUN`).

Artefacts are the files in the folders of stages. Around these (recipe.toml, env.json, events.jsonl, logs/,
report.html) stands where and when they were made. A file of VOLATILE is none; of metrics.jsonl only what
`metrics.comparable` leaves counts.

Same bytes are promised on the CPU, with the same threads and versions of libraries; `resolved.json` is among
them, so set `threads` and `memory_gb` to compare machines.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from aha import files
from aha.errors import AhaError, RunError
from aha.report.metrics import comparable
from aha.stages import cost, dag
from aha.stages.run_folder import stored_recipe

METRICS = "metrics.jsonl"
VOLATILE: Mapping[str, str] = {
    cost.COST: "what it took",
    "judgements.jsonl": "what judges replied, in the order in which it came",
    "refinements.jsonl": "what a model that refines replied, in the order in which it came",
}
"""Names of files, in whatever folder of a stage, that differ between identical runs: why."""
REVIEW = ".review.jsonl"
"""Ends the names of files in which people decide about dialogues: not the run's own."""


def stages(root: Path) -> list[str]:
    """Names of the stages that were begun, and the folder of what was measured of the base.

    Not those that were set aside, where the run's recipe can be read.
    """
    begun = [path.parent.name for path in root.glob(f"*/{dag.FINGERPRINT}")]
    with contextlib.suppress(AhaError):
        known = stored_recipe(root).stages()
        begun = [name for name in begun if name in known]
    return sorted([*begun, *([cost.MEASURES] if (root / cost.MEASURES).is_dir() else [])])


def hashes(root: Path) -> dict[str, str]:
    """sha256 of every artefact of a run, by its path below the run's folder; sorted.

    Raises:
        RunError: not a run folder, or metrics that are damaged.
    """
    names = stages(root)
    if not names:
        raise RunError(f"{root} holds no stage that was begun; give the folder of a run")
    return {path: _hash(root / path) for name in names for path in _paths(root, name)}


def left_over(root: Path) -> list[str]:
    """Half-written files that a killed writer left; the next attempt removes them."""
    return sorted(str(path.relative_to(root)) for path in root.rglob(f"*{files.TMP}*"))


def of_stages(found: Mapping[str, str]) -> dict[str, str]:
    """One sha256 for each stage, from those of its artefacts."""
    made: dict[str, list[str]] = {}
    for path, digest in found.items():
        made.setdefault(path.partition("/")[0], []).append(f"{digest}  {path}\n")
    return {name: _sha256("".join(lines)) for name, lines in made.items()}


def difference(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Paths that only one of them has, or that differ."""
    return sorted(path for path in a.keys() | b.keys() if a.get(path) != b.get(path))


def lines(root: Path) -> list[str]:
    """A line for each stage, and one for the run."""
    found = hashes(root)
    by_stage = of_stages(found)
    counts = {name: sum(path.startswith(f"{name}/") for path in found) for name in by_stage}
    said = [f"{digest[:16]}  {name}  {counts[name]} files" for name, digest in by_stage.items()]
    return [*said, f"{_sha256(''.join(by_stage.values()))[:16]}  {root.name}  {len(found)} files"]


def _paths(root: Path, stage: str) -> Iterator[str]:
    for path in sorted((root / stage).rglob("*")):
        own = path.name in VOLATILE or path.name.endswith(REVIEW) or files.TMP in str(path)
        if path.is_file() and not own:
            yield path.relative_to(root).as_posix()


def _hash(path: Path) -> str:
    if path.name != METRICS:
        return files.sha256(path)
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return _sha256("".join(json.dumps(comparable(row), sort_keys=True) + "\n" for row in rows))
    except (ValueError, KeyError, AttributeError) as error:
        raise RunError(f"{path} is damaged or of another version of aha: {error}") from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
