"""R1-Zero: reinforcement learning from a base model, no supervised example. DeepSeek-R1 §2.2.

Everything cheap that can fail is tried before the model is loaded; `assemble.py` puts the parts
together, `train/loop.py` runs them.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from aha import files
from aha.config import Recipe
from aha.data import sources
from aha.errors import ConfigError, DataError
from aha.models.locate import locate
from aha.records import Prompt
from aha.report.console import Console
from aha.rewards.workers import GraderPool
from aha.stages.dag import Node
from aha.stages.run_folder import RunFolder, check_disk
from aha.stages.stop import Stop, on_signal
from aha.train.plan import Resolved

RESOLVED = "resolved.json"
SHOWN = ("pass_at_1", "cons_at_k", "pass_at_4", "unparsed_share", "cut_share", "tokens_mean")
"""Lines of the table of before and after."""


def run(recipe: Recipe, node: Node, run_folder: RunFolder, console: Console) -> dict[str, Any]:
    """Train; returns the facts for DONE. Goes on from the newest whole checkpoint if there is one."""
    config = recipe.zero
    assert config is not None
    folder = run_folder.begin(node)
    model_folder = model_of(recipe, run_folder.root)
    train_prompts, heldout_prompts, facts = load_data(recipe)
    graders = GraderPool(
        workers=config.grader_workers,
        seconds=config.grader_seconds,
        journal=folder / "grades.jsonl",
    )
    with graders:  # started before the model: its processes hold nothing of it
        resolved, checkpoint_bytes = resolve(recipe, folder, model_folder)
        check_disk(run_folder.root, checkpoint_bytes)
        from aha.stages.assemble import assemble
        from aha.train.loop import train

        stop = Stop()
        running = assemble(
            recipe,
            run_folder,
            folder,
            model_folder=model_folder,
            prompts=train_prompts,
            heldout_prompts=heldout_prompts,
            facts=facts,
            resolved=resolved,
            graders=graders,
            console=console,
            stop=stop,
        )
        with on_signal(stop, console):
            train(running)
        graders.forget()  # the last checkpoint did, unless a kill came between
    return _finish(folder, running.state.step, running.state.best_step, console)


def load_data(recipe: Recipe) -> tuple[list[Prompt], list[Prompt], list[str]]:
    """Training and held-out problems, and lines that say where they come from."""
    data = recipe.data
    train = sources.load(data.train, split="train", config=data)
    facts = [f"data    {train.sentence()}"]
    facts += [f"        broken: {row}" for row in train.bad[:3]]
    try:
        held = sources.load(data.heldout or data.train, split="heldout", config=data)
    except DataError as error:
        if data.heldout:
            raise
        facts.append(f"heldout none, so nothing shows whether it learns: {error}")
        return train.prompts, [], facts
    facts.append(f"heldout {held.sentence()}")
    seen = {_canonical(prompt.question) for prompt in held.prompts}
    kept = [prompt for prompt in train.prompts if _canonical(prompt.question) not in seen]
    if len(kept) < len(train.prompts):
        gone = len(train.prompts) - len(kept)
        facts.append(f"        {gone} training questions are also held out: left out")
    if not kept:
        raise ConfigError("every training question is also held out: set data.heldout to others")
    return kept, held.prompts, facts


def model_of(recipe: Recipe, root: Path) -> Path:
    """The folder of the model to train."""
    if recipe.model.path == "stage:pretrain":
        return root / "pretrain" / "model"
    return locate(recipe.model.path)


def resolve(recipe: Recipe, folder: Path, model_folder: Path) -> tuple[Resolved, int]:
    """Threads, dtype and budgets: measured at the first start, stored, and read ever after."""
    assert recipe.zero is not None
    stored = folder / RESOLVED
    if stored.exists():
        saved = json.loads(stored.read_text("utf-8"))
        return Resolved(**saved["resolved"]), saved["checkpoint_bytes"]
    from aha.train import plan

    made = plan.make(recipe, recipe.zero, model_folder)
    facts = {
        "resolved": dataclasses.asdict(made.resolved),
        "checkpoint_bytes": made.checkpoint_bytes,
    }
    files.write_json(stored, facts)
    return made.resolved, made.checkpoint_bytes


def _finish(folder: Path, step: int, best: int, console: Console) -> dict[str, Any]:
    from aha.train.checkpoint import step_name

    before, after = (_result(folder, step_name(number)) for number in (0, step))
    if before and after:
        rows = [_compared(name, before, after) for name in SHOWN if name in before]
        console.table("before and after", ["held out", "before", f"after {step} steps"], rows)
    final = folder / "checkpoints" / step_name(step)
    console.note(f"done. model: {final / 'hf'}")
    return {"step": step, "checkpoint": final.name, "best": step_name(max(best, 0))}


def _result(folder: Path, name: str) -> dict[str, Any] | None:
    path = folder / "eval" / name / "result.json"
    return json.loads(path.read_text("utf-8"))["numbers"] if path.exists() else None


def _compared(name: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    def show(numbers: dict[str, Any]) -> str:
        value = numbers[name]
        if name == "tokens_mean":
            return f"{value:.1f}"
        if name == "pass_at_1":
            low, high = numbers["pass_at_1_low"], numbers["pass_at_1_high"]
            return f"{value:.1%} [{low:.1%}, {high:.1%}]"
        return f"{value:.1%}"

    return [name.replace("_", " "), show(before), show(after)]


def _canonical(question: str) -> str:
    return " ".join(question.split()).casefold()
