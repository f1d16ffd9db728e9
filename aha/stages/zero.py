"""R1-Zero: reinforcement learning from a base model, without any supervised example. DeepSeek-R1 §2.2.

Puts together what `train/loop.py` runs: data, template, model, engine, graders, trainer, and the
checkpoint to go on from. Everything cheap that can fail is tried before the model is loaded.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from aha import files
from aha.config import Recipe
from aha.data import sources, templates
from aha.data.lengths import render_all
from aha.data.order import Order
from aha.errors import ConfigError, DataError
from aha.evals import run as evals
from aha.models.locate import locate
from aha.records import Prompt
from aha.report.alerts import Alerts
from aha.report.console import Console
from aha.report.metrics import MetricsFile
from aha.rewards.mix import Mix
from aha.rewards.workers import GraderPool
from aha.rollout.engine import SamplingParams
from aha.stages.dag import Node
from aha.stages.run_folder import RunFolder, check_disk
from aha.stages.stop import Stop, on_signal
from aha.train.plan import Resolved

RESOLVED = "resolved.json"


def run(recipe: Recipe, node: Node, run_folder: RunFolder, console: Console) -> dict[str, Any]:
    """Train; returns the facts for DONE. Resumes from the newest whole checkpoint if there is one."""
    config = recipe.zero
    assert config is not None
    folder = run_folder.begin(node)
    model_folder = model_of(recipe, run_folder.root)
    train_prompts, heldout_prompts, facts = load_data(recipe)
    resolved, checkpoint_bytes = resolve(recipe, folder, model_folder)
    check_disk(run_folder.root, checkpoint_bytes)

    journal = folder / "grades.jsonl"
    with GraderPool(
        workers=config.grader_workers, seconds=config.grader_seconds, journal=journal
    ) as graders:  # started before torch is: no threads, no model in its memory
        import torch

        from aha.models import load as models
        from aha.rollout.local.engine import LocalEngine
        from aha.train import checkpoint
        from aha.train.checkpoint import State, seed_all
        from aha.train.loop import train
        from aha.train.optim import Optimizer
        from aha.train.reference import Reference
        from aha.train.run import Run
        from aha.train.step import LossOptions, Trainer

        torch.set_num_threads(resolved.threads)
        seed_all(recipe.seed)
        checkpoints = folder / "checkpoints"
        files.clean(checkpoints)
        found = checkpoint.newest(checkpoints, warn=console.alert)
        # a resumed model has its frozen parts from the base, its trained ones from the checkpoint
        loaded = models.load(model_folder, recipe.model, dtype=resolved.dtype)
        template = templates.load_template(
            recipe.data, loaded.tokenizer, generation_eos=loaded.eos_ids
        )
        for warning in templates.lint(template, loaded.tokenizer):
            console.note(f"template: {warning}")
        questions, dropped = render_all(template, train_prompts, recipe.data.max_prompt_tokens)
        heldout, dropped_heldout = (
            render_all(template, heldout_prompts, recipe.data.max_prompt_tokens)
            if heldout_prompts
            else ([], [])
        )
        _check_sizes(recipe, len(questions))

        policy = loaded.policy
        reference = Reference(policy) if config.kl_coef else None
        optimizer = Optimizer(policy, config.optim, config.steps)
        state = State()
        metrics = MetricsFile(folder / "metrics.jsonl")
        alerts = Alerts(max_gap=config.max_gap)
        if found is not None:
            state = checkpoint.load(found, optimizer=optimizer, reference=reference)
            alerts.load_state_dict(state.alerts)
            console.note(f"resuming from {found.name} (attempt {run_folder.attempt})")
        metrics.truncate_after(state.step if found is not None else -1)
        run_folder.event("start", stage="zero", step=state.step, checkpoint=str(found))

        engine = LocalEngine(
            policy,
            eos_ids=template.eos_ids,
            decode=models.decoder(loaded.tokenizer),
            budget_bytes=resolved.kv_bytes,
            max_rows=resolved.max_rows,
        )
        engine.load(state.step)
        trainer = Trainer(
            policy,
            optimizer,
            options=LossOptions(
                temperature=config.temperature,
                ratio=config.ratio,
                clip_low=config.clip_low,
                clip_high=config.clip_high,
                dual_clip=config.dual_clip,
            ),
            budget=resolved.micro_tokens,
            reference=reference,
            prefix_sharing=config.prefix_sharing,
        )
        mix = Mix(
            config.rewards,
            recipe.data.think_tag,
            recipe.data.answer_tag,
            overlong=(config.max_answer_tokens, config.overlong_penalty_tokens),
        )
        cap = config.eval.max_answer_tokens or config.max_answer_tokens
        receipt = evals.receipt(
            config.eval, template_hash=template.hash, cap=cap, mode="rl", seed=recipe.seed
        )

        def heldout_evaluation(step: int) -> dict[str, float]:
            if not heldout:
                return {}
            start = time.perf_counter()
            total = min(len(heldout), config.eval.problems) * config.eval.samples

            def progress(done: int, tokens: int) -> None:
                console.heartbeat(done, total, tokens / (time.perf_counter() - start))

            result = evals.evaluate(
                engine,
                graders,
                heldout,
                config.eval,
                folder=folder / "eval" / checkpoint.step_name(step),
                receipt=receipt,
                stop=template.stop,
                weights=f"zero/{checkpoint.step_name(step)}",
                tags=(recipe.data.think_tag, recipe.data.answer_tag),
                progress=progress,
            )
            return evals.as_metrics(result)

        running = Run(
            root=run_folder.root,
            folder=folder,
            config=config,
            state=state,
            attempt=run_folder.attempt,
            engine=engine,
            graders=graders,
            score=mix.score,
            trainer=trainer,
            reference=reference,
            questions=questions,
            order=Order(len(questions), recipe.seed),
            params=SamplingParams(
                max_tokens=config.max_answer_tokens,
                temperature=config.temperature,
                stop=template.stop,
                stream=(recipe.seed, "zero"),
            ),
            heldout=heldout_evaluation,
            save_model=lambda path: models.save(path, loaded),
            metrics=metrics,
            console=console,
            alerts=alerts,
            event=run_folder.event,
            tags=(recipe.data.think_tag, recipe.data.answer_tag),
            resumed=found is not None,
            stop=Stop(),
        )
        parameters = sum(p.numel() for p in policy.parameters())
        console.start(
            f"aha zero · {recipe.name}",
            [
                f"model   {recipe.model.path}, {parameters / 1e6:.1f}M parameters, {resolved.dtype}, "
                f"{resolved.threads} threads",
                *facts,
                f"        {len(questions)} questions in use"
                + (f", {len(dropped)} too long and dropped" if dropped else "")
                + f", {len(heldout)} held out"
                + (f" ({len(dropped_heldout)} too long)" if dropped_heldout else ""),
                f"step    {config.prompts_per_step} questions x {config.group_size} answers of up to "
                f"{config.max_answer_tokens} tokens; micro-batches of {resolved.micro_tokens} tokens",
                f"run     {run_folder.root}",
            ],
            steps=config.steps,
        )
        with on_signal(running.stop, console):
            train(running)
        return _finish(folder, state, console)


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


def _finish(folder: Path, state: Any, console: Console) -> dict[str, Any]:
    from aha.train.checkpoint import step_name

    before, after = (_result(folder, step) for step in (0, state.step))
    if before and after:
        rows = [_compared(name, before, after) for name in SHOWN if name in before]
        columns = ["held out", "before", f"after {state.step} steps"]
        console.table("before and after", columns, rows)
    final = folder / "checkpoints" / step_name(state.step)
    console.note(f"done. model: {final / 'hf'}")
    return {
        "step": state.step,
        "checkpoint": final.name,
        "best": step_name(max(state.best_step, 0)),
    }


SHOWN = ("pass_at_1", "cons_at_k", "pass_at_4", "unparsed_share", "cut_share", "tokens_mean")


def _result(folder: Path, step: int) -> dict[str, Any] | None:
    path = folder / "eval" / f"step_{step:06d}" / "result.json"
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


def _check_sizes(recipe: Recipe, questions: int) -> None:
    assert recipe.zero is not None
    phase = recipe.zero.prompts_per_step * recipe.zero.minibatches
    if questions < phase:
        raise ConfigError(
            f"a phase asks {phase} different questions (prompts_per_step x minibatches), the data have "
            f"{questions}; lower zero.prompts_per_step or take more data"
        )


def _canonical(question: str) -> str:
    return " ".join(question.split()).casefold()
