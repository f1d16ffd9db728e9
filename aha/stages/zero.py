"""R1-Zero: reinforcement learning from a base model, no supervised example. DeepSeek-R1 §2.2.

Everything cheap that can fail is tried before the model is loaded; `assemble.py` puts the parts
together, `train/loop.py` runs them.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import files
from aha.config import Recipe, ZeroConfig
from aha.data import problems
from aha.data.problems import Problems
from aha.models.locate import locate
from aha.records import Prompt
from aha.report.console import Console
from aha.rewards.grade import preparation
from aha.rewards.workers import GraderPool
from aha.sandbox.box import Sandbox
from aha.stages import longest, preflight, resolution, summary
from aha.stages.dag import Node
from aha.stages.run_folder import RunFolder, check_disk
from aha.stages.stop import Stop, on_signal
from aha.train.plan import Resolved

if TYPE_CHECKING:
    from aha.train.run import Run


def run(recipe: Recipe, node: Node, run_folder: RunFolder, console: Console) -> dict[str, Any]:
    """Train; returns the facts for DONE. Goes on from the newest whole checkpoint if there is one."""
    assert recipe.zero is not None
    folder, stop = run_folder.begin(node), Stop()
    model_folder = locate(recipe.model.path)
    with assembled(recipe, run_folder, folder, model_folder, console, stop) as running:
        from aha.train.loop import train

        if not running.resumed and recipe.zero.preflight:
            preflight.before_first_step(running, recipe, node)
        else:
            for warning in running.lint:
                console.note(f"template: {warning}")
        with on_signal(stop, console):
            train(running)
        running.graders.forget()  # the last checkpoint did, unless a kill came between
    return _finish(recipe, run_folder, folder, running, console)


@contextlib.contextmanager
def assembled(
    recipe: Recipe,
    run_folder: RunFolder,
    folder: Path,
    model_folder: Path,
    console: Console,
    stop: Stop | None = None,
) -> Iterator["Run"]:
    """A run at its first step or its newest checkpoint; its graders end with the context."""
    config = recipe.zero
    assert config is not None
    from aha.models.load import describe

    longest.check(recipe, folder.name, describe(model_folder))
    asked = load_data(recipe)
    graders = GraderPool(
        workers=config.grader_workers,
        seconds=config.grader_seconds,
        journal=folder / "grades.jsonl",
        sandbox=config.sandbox,
    )
    facts = [*asked.facts, *_sandbox(config, [*asked.train, *asked.heldout], run_folder, console)]
    with graders:  # started before the model: its processes hold nothing of it
        resolved, checkpoint_bytes = resolve(recipe, folder, model_folder)
        check_disk(run_folder.root, checkpoint_bytes)
        from aha.stages.assemble import assemble

        yield assemble(
            recipe,
            run_folder,
            folder,
            model_folder=model_folder,
            prompts=asked.train,
            shares=asked.shares,
            heldout_prompts=asked.heldout,
            facts=facts,
            resolved=resolved,
            graders=graders,
            console=console,
            stop=stop or Stop(),
        )


def _sandbox(
    config: ZeroConfig, prompts: Sequence[Prompt], run_folder: RunFolder, console: Console
) -> list[str]:
    """Where programs will run, as a line of facts and in the run's events; [] if none will.

    Raises:
        RunError: some problems ask for programs, and no tier that the recipe allows works here.
    """
    asking = sum(preparation(prompt.kind, "") == "sandbox" for prompt in prompts)
    if not asking:
        return []
    with Sandbox(config.sandbox, slots=1) as sandbox:
        tier = sandbox.tier
    run_folder.event("sandbox", tier=tier, asked=config.sandbox)
    if tier == "none":
        console.alert(
            "zero.sandbox='none': programs that the model writes run without any protection, with the "
            "rights of this user"
        )
    return [f"sandbox {tier}, for the programs in answers to {asking} problems"]


def load_data(recipe: Recipe) -> Problems:
    """Training and held-out problems, and lines that say where they come from."""
    return problems.load(recipe.data)


def resolve(recipe: Recipe, folder: Path, model_folder: Path) -> tuple[Resolved, int]:
    """Threads, dtype and budgets: measured at the first start, stored, and read ever after."""
    assert recipe.zero is not None
    from aha.train import plan

    config = recipe.zero
    return resolution.planned(folder, lambda: plan.make(recipe, config, model_folder))


def _finish(
    recipe: Recipe, run_folder: RunFolder, folder: Path, run: "Run", console: Console
) -> dict[str, Any]:
    """Tables, curves and the next commands; the facts for DONE."""
    from aha.train.checkpoint import step_name

    console.close()  # the panel stays as it is; what follows stands below it
    found = summary.summary(run_folder.root, folder.name)
    if run.state.ended:
        found["ended"] = run.state.ended
        console.note(run.state.ended)
    files.write_json(folder / summary.SUMMARY, found)
    summary.show(run_folder.root, found, console, folder.name)
    final = folder / "checkpoints" / step_name(run.state.step)
    console.note(f"done. model: {final / 'hf'}")
    if folder.name == "zero":
        summary.show_next(run_folder.root, recipe, console)
    best = step_name(max(run.state.best_step, 0))
    facts = {"step": run.state.step, "checkpoint": final.name, "best": best}
    return facts | ({"ended": run.state.ended} if run.state.ended else {})
