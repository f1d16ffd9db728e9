"""Is this machine, and this recipe, ready? Each check says what was seen and what to do."""

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from aha.config import Recipe
from aha.errors import AhaError
from aha.rewards.workers import GraderPool
from aha.stages import preflight, preflight_rules, start

State = Literal["ok", "note", "bad"]
GRADER_CASES = (
    ("math", "72", "<think>8 x 9</think> <answer>72</answer>", "correct"),
    ("math", "1/2", r"so \boxed{0.5}", "correct"),
    ("math", "1/3", r"\boxed{0.333}", "wrong"),
    ("math", "72", "<think>it is 72", "unparsed"),
    ("countdown", '{"numbers": [2, 3], "target": 6}', "<answer>2 * 3</answer>", "correct"),
    ("countdown", '{"numbers": [2, 3], "target": 8}', "<answer>2 ** 3</answer>", "wrong"),
)
"""kind, gold, response, expected status."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: State
    seen: str
    todo: str = ""

    def line(self) -> str:
        mark = {"ok": "ok  ", "note": "note", "bad": "BAD "}[self.state]
        return f"{mark}  {self.name:<10} {self.seen}" + (
            f"\n      -> {self.todo}" if self.todo else ""
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(recipe: Recipe | None) -> list[Check]:
    """All checks; those of the recipe only if there is one. Never raises an AhaError."""
    checks = [_versions(), _machine(), _disk(Path(recipe.run_dir if recipe else "."))]
    checks.append(_guarded("graders", _graders))
    if recipe is not None and recipe.zero is not None:
        checks.append(_guarded("data", lambda: _data(recipe)))
        if start.model_parent(recipe, "zero") is None:
            checks.append(_guarded("memory", lambda: _memory(recipe)))
            checks.append(_guarded("template", lambda: _template(recipe)))
    if recipe is not None:
        checks += _stages(recipe)
    return checks


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except AhaError as error:
        return Check(name, "bad", str(error))


def _versions() -> Check:
    names = ("torch", "transformers", "datasets", "math-verify")
    seen = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    unwanted = []
    for name in ("torchvision", "torchaudio"):
        try:
            metadata.version(name)
            unwanted.append(name)
        except metadata.PackageNotFoundError:
            continue
    if unwanted:
        return Check(
            "versions",
            "note",
            f"{seen}; {', '.join(unwanted)} installed",
            "if importing transformers fails, uninstall them: aha does not need them",
        )
    return Check("versions", "ok", f"python {platform.python_version()}, {seen}")


def _machine() -> Check:
    import torch

    from aha.train.memory import available_memory

    gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if gpu else f"{os.cpu_count()} CPU cores"
    free = available_memory("cuda" if gpu else "cpu")
    return Check("machine", "ok", f"{where}, {free / 1e9:.1f} GB free")


def _disk(folder: Path) -> Check:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if not os.access(folder, os.W_OK):
        return Check("disk", "bad", f"{folder} is not writable", "--set run_dir=DIR")
    if free < 2:
        return Check(
            "disk", "note", f"{free:.1f} GB free at {folder}", "free some space before a run"
        )
    return Check("disk", "ok", f"{free:.1f} GB free")


def _graders() -> Check:
    with GraderPool(workers=1, seconds=2.0) as pool:
        for number, (kind, gold, response, _) in enumerate(GRADER_CASES):
            pool.submit(str(number), kind, gold, response)
        found = dict(pool.drain())
    wrong = [
        f"{gold!r} for {response!r}: {found[str(i)].status}, not {expected}"
        for i, (_, gold, response, expected) in enumerate(GRADER_CASES)
        if found[str(i)].status != expected
    ]
    if wrong:
        return Check("graders", "bad", "; ".join(wrong), "reinstall aha and math-verify")
    return Check("graders", "ok", f"{len(GRADER_CASES)} of {len(GRADER_CASES)} self-tests right")


def _data(recipe: Recipe) -> Check:
    from aha.stages.zero import load_data

    asked = load_data(recipe)
    train, heldout = asked.train, asked.heldout
    with GraderPool(workers=2, seconds=2.0) as pool:
        gold = preflight.check_gold([*train[:64], *heldout[:64]], pool, recipe.data.answer_tag)
    seen = f"{len(train)} questions, {len(heldout)} held out; gold answers: {gold.sentence}"
    if preflight_rules.refused(gold):
        return Check(
            "data",
            "bad",
            f"{seen}; e.g. {gold.first[0]}",
            preflight_rules.REFUSED.get(gold.kind, preflight_rules.REFUSED["math"]),
        )
    return Check("data", "ok" if heldout else "note", seen)


def _stages(recipe: Recipe) -> list[Check]:
    """A check for each stage that something is wrong with; one for all if nothing is."""
    from aha.stages import ahead, dag

    root = Path(recipe.run_dir) / recipe.name
    try:
        nodes = [node for node in dag.graph(recipe) if dag.status(node, root) != "done"]
    except AhaError as error:
        return [Check("stages", "bad", str(error))]
    found = [Check(name, "bad", str(error)) for name, error in ahead.faults(recipe, nodes, root)]
    names = ", ".join(node.name for node in nodes)
    return found or [Check("stages", "ok", names or "all are done")]


def _memory(recipe: Recipe) -> Check:
    from aha.models.locate import locate
    from aha.train import plan

    assert recipe.zero is not None
    made = plan.make(recipe, recipe.zero, locate(start.settings(recipe, "zero")["model"]["path"]))
    return Check(
        "memory",
        "ok",
        f"{made.total / 1e9:.2f} GB at the peak of {made.resolved.memory_bytes / 1e9:.2f} GB free",
    )


def _template(recipe: Recipe) -> Check:
    from transformers import AutoTokenizer

    from aha.data import templates
    from aha.models.load import quiet
    from aha.models.locate import locate

    quiet()
    tokenizer = AutoTokenizer.from_pretrained(
        locate(start.settings(recipe, "zero")["model"]["path"]), trust_remote_code=False
    )
    template = templates.load_template(recipe.data, tokenizer)
    warnings = templates.lint(template, tokenizer)
    seen = f"{template.name} ({template.hash})"
    return Check("template", "note" if warnings else "ok", "; ".join([seen, *warnings]))
