"""Are two run folders the same run?

Everything in the stage folder must be equal to the byte: weights, optimizer, reference, counters
and random generators, rollouts (readable and Parquet), evaluations, resolved numbers. metrics.jsonl
is compared line by line without its volatile fields, attempt and time; files that artefacts.VOLATILE names
are not compared. Outside the stage only the recipe must be equal: events, logs and the machine's description
tell of attempts.
"""

import json
from pathlib import Path

from aha.files import TMP
from aha.report.metrics import comparable
from aha.stages.artefacts import METRICS, VOLATILE


def difference(reference: Path, run: Path) -> str | None:
    """The first difference in plain words; None if there is none."""
    left = [str(p.relative_to(run)) for p in run.rglob(f"*{TMP}*")]
    if left:
        return f"left over: {', '.join(sorted(left)[:3])}"
    for stage in stages(reference):
        a, b = files_of(reference / stage), files_of(run / stage)
        if a.keys() != b.keys():
            return f"{stage}: only in one of them: {', '.join(sorted(a.keys() ^ b.keys())[:4])}"
        for name in sorted(a):
            if name.rpartition("/")[2] == METRICS:
                wrong = _metrics(a[name], b[name])
            else:
                wrong = None if a[name].read_bytes() == b[name].read_bytes() else "other bytes"
            if wrong:
                return f"{stage}/{name}: {wrong}"
    return None


def stages(run: Path) -> list[str]:
    return sorted(path.parent.name for path in run.glob("*/fingerprint.json"))


def files_of(folder: Path) -> dict[str, Path]:
    return {
        str(p.relative_to(folder)): p
        for p in folder.rglob("*")
        if p.is_file() and p.name not in VOLATILE
    }


def metrics(path: Path) -> list[dict[str, object]]:
    """The lines of a metrics file, without what may differ."""
    return [comparable(json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def _metrics(a: Path, b: Path) -> str | None:
    ours, theirs = metrics(a), metrics(b)
    if [row["step"] for row in ours] != [row["step"] for row in theirs]:
        return f"steps {[row['step'] for row in ours]} and {[row['step'] for row in theirs]}"
    for x, y in zip(ours, theirs, strict=True):
        if x != y:
            names = sorted(name for name in x.keys() | y.keys() if x.get(name) != y.get(name))
            return f"step {x['step']}: {', '.join(names[:4])}"
    return None
