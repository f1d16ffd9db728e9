"""From a recipe and its data to a `Run`: model, template, engine, trainer, state of the checkpoint."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from aha import files
from aha.config import Recipe, ZeroConfig
from aha.data import templates
from aha.data.lengths import render_all
from aha.data.problems import Shares
from aha.data.templates import Template
from aha.errors import ConfigError, RunError
from aha.evals import run as evals
from aha.models import load as models
from aha.records import Prompt, Rendered
from aha.report.alerts import Alerts
from aha.report.console import Console
from aha.report.metrics import MetricsFile
from aha.rewards.mix import Lengths, Mix, Tables, check_domains, check_open
from aha.rewards.named import Reward
from aha.rewards.workers import GraderPool
from aha.rollout.engine import SamplingParams
from aha.rollout.local.engine import LocalEngine
from aha.stages import normalise, opinions
from aha.stages.run_folder import RunFolder
from aha.stages.stop import Stop
from aha.train import checkpoint
from aha.train.checkpoint import State, seed_all
from aha.train.optim import Optimizer
from aha.train.plan import Resolved
from aha.train.reference import Reference
from aha.train.run import Run
from aha.train.step import LossOptions, Trainer


def assemble(
    recipe: Recipe,
    run_folder: RunFolder,
    folder: Path,
    *,
    model_folder: Path,
    prompts: Sequence[Prompt],
    shares: Shares,
    heldout_prompts: Sequence[Prompt],
    facts: Sequence[str],
    resolved: Resolved,
    graders: GraderPool,
    console: Console,
    stop: Stop,
) -> Run:
    """Everything `train/loop.py` needs, at the state of the newest whole checkpoint.

    Raises:
        ConfigError: fewer questions than a phase asks.
        DataError: a source of several has no question that fits.
        ModelError, RunError: the model or the checkpoint cannot be used.
    """
    config = recipe.zero
    assert config is not None
    # a reward that is not there is told before the model is loaded
    preferences = opinions.of_recipe(
        config, folder, (recipe.data.think_tag, recipe.data.answer_tag)
    )
    mix = mix_of(recipe, config, preferences)
    for warning in (
        *check_domains(mix.tables, prompts),
        *check_open(mix.tables, prompts),
        *opinions.unwatched(config, mix.tables, prompts),
    ):
        console.alert(warning)
    torch.set_num_threads(resolved.threads)
    seed_all(recipe.seed)
    loaded = models.load(model_folder, recipe.model, dtype=resolved.dtype)
    template = templates.load_template(recipe.data, loaded.tokenizer, generation_eos=loaded.eos_ids)
    longest = recipe.data.max_prompt_tokens
    questions, dropped = render_all(template, prompts, longest)
    closed = [it for it in heldout_prompts if it.kind != "open"]  # of the others there is no pass@1
    heldout = render_all(template, closed, longest)[0] if closed else []
    check_sizes(config, len(questions))

    policy = loaded.policy
    policy.kept_logits = resolved.kept_logits
    reference = Reference(policy) if config.kl_coef else None
    optimizer = Optimizer(policy, config.optim, config.steps)
    state, alerts = State(), Alerts(max_gap=config.max_gap)
    checkpoints = folder / "checkpoints"
    files.clean(checkpoints)
    found = checkpoint.newest(checkpoints, warn=console.alert)
    if found is None and any(checkpoints.glob("step_*")):
        raise RunError(
            f"no checkpoint in {checkpoints} is whole, and to start over would overwrite what was "
            f"reached. Put a copy of one back, or move {folder} away to start over"
        )
    if found is not None:
        # frozen parts come from the base, trained ones from the checkpoint
        state = checkpoint.load(found, optimizer=optimizer, reference=reference)
        alerts.load_state_dict(state.alerts)
        checkpoint.prune(  # the attempt before may have been killed at it
            checkpoints,
            keep_last=config.keep_last,
            best_step=state.best_step,
            step=state.step,
        )
        console.note(f"resuming from {found.name} (attempt {run_folder.attempt})")
    metrics = MetricsFile(folder / "metrics.jsonl")
    metrics.truncate_after(state.step if found is not None else -1)
    run_folder.event("start", stage=folder.name, step=state.step, checkpoint=str(found))

    def save_model(path: Path) -> None:
        models.save(path, loaded)
        run_folder.describe(path, step=state.step)

    engine = LocalEngine(
        policy,
        eos_ids=template.eos_ids,
        decode=models.decoder(loaded.tokenizer),
        budget_bytes=resolved.kv_bytes,
        max_rows=resolved.max_rows,
    )
    engine.load(state.step)
    tags = (recipe.data.think_tag, recipe.data.answer_tag)
    parameters = sum(p.numel() for p in policy.parameters())
    console.start(
        f"aha {folder.name} · {recipe.name}",
        [
            f"model   {recipe.model.path}, {parameters / 1e6:.1f}M parameters, {resolved.dtype}, "
            f"{resolved.threads} threads",
            *facts,
            f"        {len(questions)} questions in use, {len(dropped)} too long or refused, "
            f"{len(heldout)} held out" + _left_out(len(heldout_prompts) - len(closed)),
            f"step    {config.prompts_per_step} questions x {config.group_size} answers of up to "
            f"{config.max_answer_tokens} tokens; micro-batches of {resolved.micro_tokens} tokens",
            *_schedule(config),
            f"run     {run_folder.root}",
        ],
        steps=config.steps,
    )
    run = Run(
        root=run_folder.root,
        folder=folder,
        config=config,
        state=state,
        attempt=run_folder.attempt,
        engine=engine,
        graders=graders,
        score=mix.score,
        early_score=mix.without(config.preferences).score if config.preference_from else None,
        trainer=_trainer(config, optimizer, reference, policy, resolved),
        reference=reference,
        questions=questions,
        order=shares.order(
            [question.prompt for question in questions],
            seed=recipe.seed,
            phase=config.prompts_per_step * config.minibatches,
        ),
        params=SamplingParams(
            max_tokens=config.max_answer_tokens,
            temperature=config.temperature,
            stop=template.stop,
            stream=(recipe.seed, folder.name),
        ),
        heldout=_heldout(recipe, config, engine, graders, heldout, template, folder, console),
        save_model=save_model,
        metrics=metrics,
        console=console,
        alerts=alerts,
        event=run_folder.event,
        tags=tags,
        resumed=found is not None,
        stop=stop,
        lint=templates.lint(template, loaded.tokenizer),
    )
    normalise.settle(run, preferences, mix.tables, recipe.seed)
    return run


def _left_out(count: int) -> str:
    return f", {count} more have no right answer and are not asked" if count else ""


def _schedule(config: ZeroConfig) -> list[str]:
    """Lines about what changes on the way: when preference rewards come, what may end the stage."""
    lines = []
    if config.preference_from:
        lines.append(
            f"rewards {', '.join(sorted(config.preferences))} count from step "
            f"{config.preference_from + 1} of {config.steps} on; until then their problems earn the rest"
        )
    if config.plateau_window:
        lines.append(
            f"ends    after {config.steps} steps, or when a window of {config.plateau_window} is not more "
            f"than {config.plateau_gain:g} above the one before"
        )
    return lines


def mix_of(recipe: Recipe, config: ZeroConfig, preferences: Mapping[str, Reward]) -> Mix:
    """The rewards of a recipe; `preferences`: reward models and judges by name.

    Raises:
        ConfigError: one that is not known or cannot be loaded.
    """
    return Mix(
        Tables(rewards=config.rewards, by_domain=config.rewards_for),
        recipe.data.think_tag,
        recipe.data.answer_tag,
        lengths=Lengths(
            cap=config.max_answer_tokens,
            soft=config.overlong_penalty_tokens,
            low=config.length_low,
            high=config.length_high or config.max_answer_tokens,
        ),
        style="messages" if recipe.data.template == "chat" else "text",
        more=preferences,
    )


def _trainer(
    config: ZeroConfig,
    optimizer: Optimizer,
    reference: Reference | None,
    policy: models.Policy,
    resolved: Resolved,
) -> Trainer:
    options = LossOptions(
        temperature=config.temperature,
        ratio=config.ratio,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        dual_clip=config.dual_clip,
    )
    return Trainer(
        policy,
        optimizer,
        options=options,
        budget=resolved.micro_tokens,
        reference=reference,
        prefix_sharing=config.prefix_sharing,
    )


def _heldout(
    recipe: Recipe,
    config: ZeroConfig,
    engine: LocalEngine,
    graders: GraderPool,
    questions: Sequence[Rendered],
    template: Template,
    folder: Path,
    console: Console,
) -> Callable[[int], dict[str, float]]:
    """The evaluation as the loop calls it: step -> heldout/ metrics ({} without problems)."""
    cap = config.eval.max_answer_tokens or config.max_answer_tokens
    receipt = evals.receipt(
        config.eval, template_hash=template.hash, cap=cap, mode="rl", seed=recipe.seed
    )
    total = min(len(questions), config.eval.problems) * config.eval.samples

    def evaluate(step: int) -> dict[str, float]:
        if not questions:
            return {}
        start = time.perf_counter()

        def progress(done: int, tokens: int) -> None:
            console.heartbeat(done, total, tokens / (time.perf_counter() - start))

        name = checkpoint.step_name(step)
        result = evals.evaluate(
            engine,
            graders,
            questions,
            config.eval,
            folder=folder / "eval" / name,
            receipt=receipt,
            stop=template.stop,
            weights=f"{folder.name}/{name}",
            tags=(recipe.data.think_tag, recipe.data.answer_tag),
            progress=progress,
        )
        return evals.as_metrics(result)

    return evaluate


def check_sizes(config: ZeroConfig, questions: int) -> None:
    """Raises ConfigError if there are fewer questions than one phase asks."""
    phase = config.prompts_per_step * config.minibatches
    if questions < phase:
        raise ConfigError(
            f"a phase asks {phase} different questions (prompts_per_step x minibatches), the data "
            f"have {questions}; lower zero.prompts_per_step or take more data"
        )
