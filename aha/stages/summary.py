"""What a run showed: before and after on held-out problems, curves over the steps, what to do next.

Made from the files of a run folder alone (`zero/eval/step_*/samples.jsonl`, `zero/metrics.jsonl`,
`recipe.toml`), so that it can be made again at any time; stored as `zero/summary.json`.

Holds not: the numbers themselves (evals/before_after.py), drawing (report/curves.py).
"""

import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aha import files
from aha.config import Recipe
from aha.errors import RunError
from aha.evals import before_after
from aha.report.console import Console
from aha.report.curves import curves
from aha.report.lines import width_of
from aha.report.metrics import MetricsFile
from aha.stages.run_folder import stored_recipe

SUMMARY = "summary.json"
LONGEST = 100
"""Characters of a question that is put into a command line."""


def summary(root: Path, stage: str = "zero") -> dict[str, Any]:
    """Before (the first evaluation) against after (the last one) of an RL stage, as plain values.

    `steps` are the two steps; the rest is that of `before_after.compare`. Without two finished
    evaluations there is nothing to compare, and `measures` is empty.

    Raises:
        RunError: not a run folder, or its evaluations cannot be read.
    """
    recipe = stored_recipe(root)
    results = sorted((root / stage / "eval").glob("step_*/result.json"))
    found = [path.parent for path in results]
    if len(found) < 2:
        steps = [_step(folder) for folder in found]
        return {"steps": steps, "measures": [], "by": {}, "differ": []}
    ends = (found[0], found[-1])
    try:
        rows = [files.read_jsonl(folder / "samples.jsonl") for folder in ends]
        receipts = [
            json.loads((folder / "result.json").read_text("utf-8"))["receipt"] for folder in ends
        ]
        compared = before_after.compare(*rows, tags=(recipe.data.think_tag, recipe.data.answer_tag))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"the evaluations in {root / stage / 'eval'} cannot be compared: {error}; evaluate the "
            "checkpoints again with `aha eval`"
        ) from error
    names = receipts[0].keys() | receipts[1].keys()
    differ = [name for name in names if receipts[0].get(name) != receipts[1].get(name)]
    steps = [_step(folder) for folder in ends]
    return {"steps": steps, "differ": sorted({*differ} - {"weights"})} | compared


def show(root: Path, found: Mapping[str, Any], console: Console, stage: str = "zero") -> None:
    """Tables of before and after, then the curves of the run."""
    if found["measures"]:
        label = f"after {found['steps'][1]}"
        columns, rows = before_after.table(found, label)
        console.table(
            f"before and after {found['steps'][1]} steps: {found['problems']} held-out problems x "
            f"{found['answers']} answers",
            columns,
            rows,
        )
        for key, what in (("lang", "language"), ("domain", "domain")):
            by = before_after.table_by(found, key, label)
            if by:
                console.table(f"pass@1 by {what}", by[0], by[1:])
        if found["differ"]:
            console.alert(
                f"before and after were not measured alike: {', '.join(found['differ'])} differ"
            )
    drawn = curves(MetricsFile(root / stage / "metrics.jsonl").rows(), plain=not console.unicode)
    if drawn:
        console.lines(["curves over the steps", *drawn])


def next_commands(root: Path, recipe: Recipe, stage: str = "zero") -> list[tuple[str, list[str]]]:
    """Three things to do with a finished run: (what for, the words of the command)."""
    zero, data = recipe.zero, recipe.data
    assert zero is not None
    cap = ["--max-tokens", str(zero.eval.max_answer_tokens or zero.max_answer_tokens)]
    asked = [] if data.template == "r1-zero" else ["--template", data.template]
    asked += ["--system", data.system] if data.system else []
    suffix = ["--suffix", data.suffix] if data.suffix else []
    held = any((root / stage / "eval").glob("step_*/result.json"))
    source, what = _other_problems(recipe) if held else ("arithmetic", "measure it on arithmetic")
    again = f"{recipe.name}-seed{recipe.seed + 1}"
    changes = ["--set", f"name={again}", "--set", f"seed={recipe.seed + 1}"]
    return [
        ("ask it", ["sample", str(root), "-p", _question(root, stage), *cap, *asked]),
        (what, ["eval", str(root), "--data", source, *cap, *asked, *suffix]),
        ("how much is luck: another seed", ["run", str(root / "recipe.toml"), *changes]),
    ]


def show_next(root: Path, recipe: Recipe, console: Console) -> None:
    """The next commands, as they can be pasted; long ones go on after a backslash."""
    lines = ["next"]
    for what, words in next_commands(root, recipe):
        lines += [f"  # {what}", *pasteable([*program(), *words])]
    console.lines(lines)


def program() -> list[str]:
    """How this program is called here: `aha` where the shell finds it, else as it was called."""
    if shutil.which("aha"):
        return ["aha"]
    called = Path(sys.argv[0])
    if called.name == "aha" and called.is_file():
        return [str(called)]
    return [sys.executable, "-m", "aha"]


def pasteable(words: list[str], width: int = 80) -> list[str]:
    """A command for a POSIX shell in lines of at most `width` columns where its words allow it.

    An option stays beside its value.
    """
    parts: list[str] = []
    for word in map(shlex.quote, words):
        if parts and parts[-1].startswith("-") and " " not in parts[-1]:
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    lines = [" "]
    for part in parts:
        if lines[-1].strip() and width_of(lines[-1]) + 1 + width_of(part) > width - 2:
            lines[-1] += " \\"
            lines.append("     ")
        lines[-1] += f" {part}"
    return lines


def _other_problems(recipe: Recipe) -> tuple[str, str]:
    """A source with held-out problems, and what it is for; the run had some to evaluate."""
    said = recipe.data.heldout or recipe.data.train
    source = said if isinstance(said, str) else said[0]
    where, _, query = source.partition("?")
    if where != "arithmetic":
        return source, "measure it on more held-out problems"
    keys = dict(part.partition("=")[::2] for part in query.split("&") if part)
    harder = min(int(keys.get("difficulty") or 3) + 1, 8)
    kept = [f"lang={keys['lang']}"] if "lang" in keys else []
    what = "harder" if keys.keys() <= {"difficulty", "lang", "n", "seed"} else "other"
    return "arithmetic?" + "&".join([f"difficulty={harder}", *kept]), f"try {what} problems"


def _question(root: Path, stage: str) -> str:
    """A held-out question of the run that fits into a command line."""
    for path in sorted((root / stage / "eval").glob("step_*/samples.jsonl")):
        for row in files.read_jsonl(path):
            question = str(row["question"])
            if len(question) <= LONGEST and question.isprintable() and question.strip():
                return question
    return "What is 23 * 4 + 17?"


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))
