"""One stage as it would be: its model, steps, tokens, memory, disk, time, as plain values.

`Stage.model` finds the architecture of a model that is not made yet: that of the model which its chain
of `start`s begins with. A time is measured on this machine with random weights, where `timed` asks for it.

Holds not: how much there is to learn (planned_data.py), the sum of the stages (planning.py).
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.config import (
    DpoStage,
    PretrainConfig,
    Recipe,
    RewardStage,
    SampleStage,
    SftConfig,
    ZeroConfig,
)
from aha.config.recipe import JudgeStage
from aha.stages import dag, planned_data, start
from aha.stages.planned_data import Amount

Facts = dict[str, Any]
TRIES = 3
"""Of a measured step; the first warms up, the fastest of the others counts."""


@dataclass(frozen=True)
class Stage:
    """A stage that is planned."""

    recipe: Recipe
    node: dag.Node
    root: Path
    again: frozenset[str]
    timed: bool

    @property
    def seen(self) -> Recipe:
        return start.view(self.recipe, self.node.name, self.root)

    def done(self, stage: str) -> bool:
        """Is there a result of another stage that this one would read?"""
        by_name = {node.name: node for node in dag.graph(self.recipe)}
        return stage not in self.again and dag.status(by_name[stage], self.root) == "done"

    def model(self, stage: str = "") -> tuple[Any, Path | None]:
        """(transformers configuration, a folder with it) of the model a stage starts from.

        The folder is that of a model made already, or of the one that the chain of `start`s begins with;
        None if that one is to be pretrained.
        """
        from aha.models.load import describe
        from aha.models.locate import locate

        name = stage or self.node.name
        while (parent := start.model_parent(self.recipe, name)) is not None:
            if self.done(parent):
                folder = locate(str(self.root / parent))
                return describe(folder), folder
            if self.recipe.kind(parent) == "pretrain":
                from aha.models.architecture import architecture

                assert self.recipe.pretrain is not None
                return architecture(self.recipe.pretrain, pad=0, eos=1), None
            name = parent
        folder = locate(start.settings(self.recipe, name)["model"]["path"])
        return describe(folder), folder


def facts_of(it: Stage) -> Facts:
    seen, kind = it.seen, it.node.kind
    if kind == "pretrain":
        assert seen.pretrain is not None
        return _pretrain(it, seen, seen.pretrain)
    if kind == "rl":
        assert seen.zero is not None
        return _rl(it, seen, seen.zero)
    if kind == "sft":
        assert seen.sft is not None
        return _sft(it, seen, seen.sft)
    config = seen.stage[it.node.name]
    if isinstance(config, SampleStage):
        return _sample(it, seen, config)
    if isinstance(config, RewardStage):
        return _reward_model(it, seen, config)
    if isinstance(config, DpoStage):
        return _dpo(it, seen, config)
    if isinstance(config, JudgeStage):
        return _judge(it, config)
    return {"notes": [f"a stage of kind {kind} is not planned"]}


# -- reinforcement learning -------------------------------------------------------------------------------


def _rl(it: Stage, seen: Recipe, config: ZeroConfig) -> Facts:
    from aha.train import plan

    others = {path: it.model(name)[0] for path, name in _reward_models(it)}
    made = plan.make(seen, config, it.model()[0], timed=it.timed, others=others)
    phases = config.steps // config.minibatches
    evaluations = 2 + (config.steps - 1) // config.eval_every if config.eval_every else 2
    cap = config.eval.max_answer_tokens or config.max_answer_tokens
    asked = evaluations * config.eval.problems * config.eval.samples + config.preflight
    sampled = config.steps * made.rollout_tokens
    prompts = config.steps * config.prompts_per_step * seen.data.max_prompt_tokens
    seconds = None
    if made.rollout_s is not None and made.step_s is not None:
        phase_tokens = made.rollout_tokens * config.minibatches
        seconds = phases * made.step_s + made.rollout_s * asked * cap / phase_tokens
    return (
        made.as_dict()
        | {
            "steps": config.steps,
            "tokens_sampled": sampled + asked * cap,
            "tokens_trained": sampled + prompts,
            "bound": True,
            "seconds": seconds,
            "notes": [
                f"{evaluations} evaluations of {config.eval.problems * config.eval.samples} answers"
            ],
        }
        | _disk(made.checkpoint_bytes, config, config.steps, best=1)
    )


def _reward_models(it: Stage) -> Iterator[tuple[str, str]]:
    """(path, stage) of the reward models that another stage is still to make."""
    wanted = start.settings(it.recipe, it.node.name)["zero"]["reward_models"]
    placed = it.seen.zero
    assert placed is not None
    for name, asked in wanted.items():
        for stage in start.references(asked["path"]):
            if not it.done(stage):
                yield placed.reward_models[name].path, stage


# -- supervised -------------------------------------------------------------------------------------------


def _sft(it: Stage, seen: Recipe, config: SftConfig) -> Facts:
    from aha.train import plan

    described, folder = it.model()
    there, most = planned_data.readable(it.recipe, it.node.name, config, it.done)
    amount = Amount(most, most * config.max_tokens, bound=bool(most))
    if there is not None:
        amount += planned_data.dialogues(seen, there, folder)
    example = amount.example(seen.data.max_prompt_tokens) if it.timed else None
    made = plan.make_supervised(seen, config, described, example=example)
    return made.as_dict() | _learned(amount, config, made.checkpoint_bytes, made.step_s)


def _dpo(it: Stage, seen: Recipe, config: DpoStage) -> Facts:
    from aha.stages import dpo
    from aha.train import plan

    described, folder = it.model()
    name = it.node.name
    there, most = planned_data.readable(it.recipe, name, config, it.done)
    amount = Amount(most, most * 2 * config.max_tokens, bound=bool(most))
    if there is not None:
        amount += planned_data.pairs(seen, there, folder, name)
    made = dpo.plan_of(seen, config, described, name)
    step_s = None
    if it.timed:  # both sides of a pair are examples that lie in one stream
        sides = SftConfig(
            train=config.train,
            max_tokens=2 * config.max_tokens,
            examples_per_step=2 * config.examples_per_step,
            optim=config.optim,
        )
        example = amount.example(seen.data.max_prompt_tokens, sides=2)
        step_s = plan.make_supervised(seen, sides, described, example=example).step_s
    found = made.as_dict() | {"update_s": step_s, "step_s": step_s}
    return found | _learned(amount, config, made.checkpoint_bytes, step_s)


def _learned(amount: Amount, config: Any, checkpoint: int, step_s: float | None) -> Facts:
    """Steps, tokens, disk and time of a stage that learns examples."""
    steps = math.ceil(max(1, math.ceil(amount.examples * config.epochs)) / config.examples_per_step)
    notes = [f"{'at most' if amount.bound else 'about'} {amount.examples:,} examples"]
    if amount.bound:
        notes[0] += ", some of which another stage is still to write"
    return {
        "steps": steps,
        "examples": amount.examples,
        "tokens_sampled": 0,
        "tokens_trained": round(amount.tokens * config.epochs),
        "bound": amount.bound,
        "seconds": None if step_s is None else steps * step_s,
        "notes": notes,
    } | _disk(checkpoint, config, steps)


def _reward_model(it: Stage, seen: Recipe, config: RewardStage) -> Facts:
    from aha.stages import reward_model as stage

    described, folder = it.model()
    name = it.node.name
    made = stage.planned(config, seen.model, described, seen.threads, seen.memory_gb, name)
    there, most = planned_data.readable(it.recipe, name, config, it.done)
    sides = 2 if config.form == "pairs" else 1
    amount = Amount(most, most * sides * config.max_tokens, bound=bool(most))
    if there is not None:
        amount += planned_data.rated(seen, there, folder, sides)
    length = max(2, round(amount.tokens / max(1, amount.examples * sides)))
    step_s = None
    if it.timed and folder is not None and stage.resolve_device(seen.model.device).type == "cpu":
        step_s = _reward_step(seen, config, folder, made.resolved, min(length, config.max_tokens))
    found = _learned(amount, config, made.checkpoint_bytes, step_s)
    found["disk_bytes"] += made.parts["weights"]  # model/
    if it.timed and folder is None:
        found["notes"].append("not timed: its model is to be pretrained")
    return made.as_dict() | found | {"update_s": step_s}


def _reward_step(
    seen: Recipe, config: RewardStage, folder: Path, resolved: Any, length: int
) -> float:
    """Seconds of an optimizer step over examples of `length` tokens, from one micro-batch."""
    import torch

    from aha.stages import reward_model as stage
    from aha.train.optim import Optimizer
    from aha.train.preference import Example, ScoreTrainer

    threads = torch.get_num_threads()
    torch.set_num_threads(resolved.threads)
    try:
        with torch.random.fork_rng():
            scorer = stage.open_model(
                folder, seen.model, resolved.dtype, seen.seed, seen.data.think_tag
            )
            pairs = config.form == "pairs"
            count = max(1, resolved.micro_tokens // ((2 if pairs else 1) * length))
            examples: list[Example] = [
                _example(number, length, pairs=pairs) for number in range(count)
            ]
            examples = examples[: config.examples_per_step]
            optimizer = Optimizer(scorer.model, config.optim, 10)
            trainer = ScoreTrainer(scorer, optimizer, budget=resolved.micro_tokens)
            taken = [_seconds(lambda n=n: trainer.step(examples, n)) for n in range(TRIES)]
    finally:
        torch.set_num_threads(threads)
    return min(taken[1:]) * config.examples_per_step / len(examples)


def _seconds(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# -- sampling ---------------------------------------------------------------------------------------------


def _sample(it: Stage, seen: Recipe, config: SampleStage) -> Facts:
    from aha.evals.run import BLOCK
    from aha.models.load import count_parameters, resolve_device
    from aha.stages import sample_budget
    from aha.train import plan, speed

    kept = planned_data.most_of(it.recipe, it.node.name)
    if config.written:
        return {
            "tokens_sampled": 0,
            "tokens_trained": 0,
            "bound": False,
            "seconds": 0.0,
            "notes": [
                f"{kept:,} dialogues that people wrote go through the rules; nothing is sampled"
            ],
        }
    _asked_ahead(it, seen, config)
    described, _ = it.model()
    block = min(BLOCK, config.problems)
    budget = sample_budget.measure(seen, config, described, block=block)
    parameters = count_parameters(described)
    size = 2 if budget.dtype == "bfloat16" else 4
    parts = {"weights": parameters * size, "program": plan.PROGRAM_BYTES}
    if size == 2 and resolve_device(seen.model.device).type == "cpu":
        parts["packed weights"] = parameters * size
    parts["keys and values"] = budget.kv_bytes
    seconds = None
    if it.timed and resolve_device(seen.model.device).type == "cpu":
        extra = 0 if config.prompting == "plain" else sample_budget.EXAMPLES_TOKENS
        work = speed.Work(
            prompt=seen.data.max_prompt_tokens + extra,
            answer=config.max_answer_tokens,
            group=config.samples,
            answers=block * config.samples,
        )
        blocks = math.ceil(config.problems / block)
        seconds = blocks * speed.sampling(seen, work, described, budget)
    tokens = config.problems * config.samples * config.max_answer_tokens
    return {
        "parameters": parameters,
        "parts": parts,
        "resolved": {
            "threads": budget.threads,
            "dtype": budget.dtype,
            "memory_bytes": budget.memory_bytes,
            "max_rows": budget.max_rows,
            "kv_bytes": budget.kv_bytes,
        },
        "total_bytes": sum(parts.values()),
        "tokens_sampled": tokens,
        "tokens_trained": 0,
        "disk_bytes": 0,
        "bound": True,
        "seconds": seconds,
        "notes": [f"{config.problems * config.samples:,} answers; at most {kept:,} kept"],
    }


def _judge(it: Stage, config: JudgeStage) -> Facts:
    """How much is asked. How long a judge takes, and what it needs here, is not known."""
    from aha.models.locate import locate

    pairs, bound = planned_data.judged(it.recipe, it.node.name, it.root, it.done)
    own: Any = start.config_of(it.recipe, it.node.name)
    if own.judge.path and not any(not it.done(one) for one in start.references(own.judge.path)):
        locate(config.judge.path)  # a judge that was never fetched is told before anything begins
    said, asked = "at most " * bound, 2 * config.rounds
    return {
        "tokens_sampled": 0,
        "tokens_trained": 0,
        "bound": bound,
        "seconds": None,
        "notes": [
            f"{said}{pairs:,} pairs, each put to {config.judge.model or own.judge.path} {asked} times: "
            f"{said}{asked * pairs:,} askings, whose time is not known"
        ],
    }


def _asked_ahead(it: Stage, seen: Recipe, config: SampleStage) -> None:
    """What can be known before the first question: keys that do not fit, examples, models that are asked.

    Raises:
        AhaError: what is wrong with them.
    """
    from aha.models.locate import locate
    from aha.stages import sample_asked

    sample_asked.refuse(config, seen.data)
    own = it.recipe.stage[it.node.name]
    assert isinstance(own, SampleStage)
    if all(it.done(stage) for stage in start.references(own.examples)):
        sample_asked.examples_of(config, seen.data)
    asked = [*own.judges.values(), *own.refiners.values()]
    for one in asked:
        if one.path and not one.path.startswith(start.STAGE):
            locate(one.path)


# -- pretraining ------------------------------------------------------------------------------------------


def _pretrain(it: Stage, seen: Recipe, config: PretrainConfig) -> Facts:
    from aha.models.architecture import architecture
    from aha.models.load import count_parameters
    from aha.stages.pretrain import KEEP
    from aha.train import plan

    described = architecture(config, pad=0, eos=1)
    parameters = count_parameters(described)
    steps = math.ceil(config.tokens / config.batch_tokens)
    scores = (
        2 * 4 * config.layers * config.heads * config.context
    )  # of attention, kept for each token
    token = plan.activation_bytes(described, 4, checkpointing=False, fused=False) + scores
    token += 3 * 4 * config.vocab_size  # logits, their softmax and its slope
    parts = {
        "weights": 4 * parameters,
        "optimizer": 12 * parameters,
        "program": plan.PROGRAM_BYTES,
        "activations": config.batch_tokens * token,
    }
    step_s = _pretrain_step(seen, config) if it.timed else None
    checkpoints = min(KEEP + 1, math.ceil(steps / config.checkpoint_every))
    return {
        "parameters": parameters,
        "parts": parts,
        "resolved": {
            "threads": _threads(seen),
            "dtype": config.dtype,
            "memory_bytes": int(seen.memory_gb * 1e9) or plan.available_memory(),
        },
        "total_bytes": sum(parts.values()),
        "steps": steps,
        "tokens": config.tokens,
        "tokens_sampled": 0,
        "tokens_trained": config.tokens,
        "checkpoint_bytes": 12 * parameters,
        "checkpoints": checkpoints,
        "disk_bytes": checkpoints * 12 * parameters + 4 * parameters,
        "bound": False,
        "update_s": step_s,
        "step_s": step_s,
        "seconds": None if step_s is None else steps * step_s,
        "notes": ["the tokenizer and the measures at the end take about a minute more"],
    }


def _threads(recipe: Recipe) -> int:
    import torch

    return recipe.threads or torch.get_num_threads()


def _pretrain_step(recipe: Recipe, config: PretrainConfig) -> float:
    """Seconds of a pretraining step on random tokens."""
    import torch

    from aha.models.architecture import Balance, build
    from aha.stages.pretrain import next_token_loss
    from aha.train.optim import Optimizer

    threads = torch.get_num_threads()
    torch.set_num_threads(_threads(recipe))
    try:
        model = build(config, seed=0, pad=0, eos=1).train()
        model.set_attn_implementation("eager")
        optimizer = Optimizer(model, config.optim, 10)
        rows = max(1, config.batch_tokens // config.context)
        drawn = torch.Generator().manual_seed(0)
        tokens = torch.randint(config.vocab_size, (rows, config.context), generator=drawn)
        balance = Balance(model)

        def step(number: int) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=config.dtype == "bfloat16"):
                losses = next_token_loss(model, tokens)
            (losses.mean() + config.balance_coef * balance.loss(rows)).backward()
            optimizer.step(number)

        with balance:
            taken = [_seconds(lambda n=n: step(n)) for n in range(TRIES)]
    finally:
        torch.set_num_threads(threads)
    return min(taken[1:])


# -- disk ---


def _disk(checkpoint: int, config: Any, steps: int, *, best: int = 0) -> Facts:
    """The most that lies in a stage's folder: kept checkpoints, and one that is being written."""
    written = (
        2 + (steps - 1) // config.checkpoint_every
    )  # before the first step, then, and the last
    count = min(config.keep_last + best + 1, written)
    return {"checkpoints": count, "disk_bytes": count * checkpoint}


def _example(number: int, length: int, *, pairs: bool) -> Any:
    """A pair or a labelled answer of so many tokens; the two of a pair share the first half, no others do."""
    from aha.train.preference import LabelExample, PairExample

    def row(side: int) -> tuple[int, ...]:
        half = length // 2
        return tuple((31 * i + 7 * number + (side if i >= half else 0)) % 97 for i in range(length))

    if pairs:
        return PairExample(
            id="", chosen_ids=row(0), rejected_ids=row(1), chosen_tokens=1, rejected_tokens=1
        )
    return LabelExample(id="", token_ids=row(0), answer_tokens=1, safe=True)
