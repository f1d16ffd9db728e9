"""How long a step takes on this machine, measured on a few layers of the model with random weights.

The engine decodes and the trainer updates one or two layers, then two more; a layer costs the
difference. So the prediction knows the machine's products, kernels and Python, not only its rates.
"""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from aha.config import OptimConfig, Recipe, ZeroConfig
from aha.models import load as models
from aha.models.attention import register
from aha.models.policy import Policy
from aha.rollout.engine import SamplingParams
from aha.rollout.local.engine import LocalEngine
from aha.train.batch import Tree, Unit, to_batch
from aha.train.optim import Optimizer
from aha.train.step import LossOptions, Trainer

WHOLE = 20_000_000
"""Parameters below which the whole model is measured."""
TOKENS = 1024
"""Tokens of the measured update, unless one sequence is longer."""
STEPS = 5
"""Decoding steps measured, after one to warm up."""
REPEATS = 3
"""Of everything; the first is a warm-up, the fastest of the others counts: a machine has hiccups."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one step in which prompts and answers are as long as they may be."""

    rollout_s: float
    update_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is computed side by side; lengths in tokens."""

    prompt: int
    answer: int
    group: int
    """Answers to a prompt."""
    answers: int
    """Answers sampled before anything else happens."""
    trees: int = 1
    """Prompts in the measured update, if so many fit."""
    optim: OptimConfig = field(default_factory=OptimConfig)


@dataclass(frozen=True, slots=True)
class _Costs:
    """Seconds; `+` and `*` go over layers."""

    start: float
    """Prompts of all groups that live side by side, and their first tokens."""
    decode: float
    """One decoding step, answers half grown."""
    forward: float
    """Per token of the packed stream."""
    update: float
    """Per token of the packed stream, forward and backward."""
    optimizer: float
    """Per trained parameter."""


def measure(recipe: Recipe, config: ZeroConfig, described: Any, resolved: Any) -> Times:
    """Time the engine and the trainer under the budgets of a plan (`Resolved`). CPU only.

    Takes some seconds; threads and random state are as before afterwards.
    """
    answers = config.prompts_per_step * config.minibatches * config.group_size
    work = Work(
        prompt=recipe.data.max_prompt_tokens,
        answer=config.max_answer_tokens,
        group=config.group_size,
        answers=answers,
        optim=config.optim,
    )
    costs, run = _costs(recipe, work, described, resolved)
    answer_tokens = answers * config.max_answer_tokens
    prompts = config.prompts_per_step * config.minibatches
    if not config.prefix_sharing:
        prompts = answers
    stream = answer_tokens + prompts * recipe.data.max_prompt_tokens
    update = stream * (costs.update + (costs.forward if config.kl_coef else 0.0))
    optimizer = config.minibatches * costs.optimizer * run.trained
    return Times(_sampling(costs, run), update + optimizer)


def sampling(recipe: Recipe, work: Work, described: Any, resolved: Any) -> float:
    """Seconds of `work.answers` answers, all as long as they may be. CPU only."""
    return _sampling(*_costs(recipe, work, described, resolved, updates=False))


def updating(recipe: Recipe, work: Work, described: Any, resolved: Any) -> tuple[float, float]:
    """(seconds a token forward and backward, seconds of the optimizer) of examples. CPU only."""
    costs, run = _costs(recipe, work, described, resolved, samples=False)
    return costs.update, costs.optimizer * run.trained


def _sampling(costs: "_Costs", run: "_Measured") -> float:
    waves = -(-run.work.answers // run.rows)
    return waves * (costs.start + (run.work.answer - 1) * costs.decode)


def _costs(
    recipe: Recipe,
    work: Work,
    described: Any,
    resolved: Any,
    *,
    samples: bool = True,
    updates: bool = True,
) -> tuple["_Costs", "_Measured"]:
    """The halves that are asked for; a large model is measured with few layers and extended."""
    layers = described.get_text_config().num_hidden_layers
    whole = models.count_parameters(described)
    threads = torch.get_num_threads()
    torch.set_num_threads(resolved.threads)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            run = _Measured(recipe, work, described, resolved, samples=samples, updates=updates)
            first = 1 + (getattr(described, "first_k_dense_replace", 0) or 0)
            if whole <= WHOLE or layers <= first + 2:
                costs = run(layers)
            else:
                costs = _extended(run(first), run(first + 2), (layers - first) / 2)
    finally:
        torch.set_num_threads(threads)
    run.trained = run.trained_share * whole
    return costs, run


def _extended(small: _Costs, large: _Costs, times: float) -> _Costs:
    """`small` and `times` what `large` has more; the cost of a parameter is that of the larger."""

    def value(name: str) -> float:
        a, b = getattr(small, name), getattr(large, name)
        return float(a + max(b - a, 0.0) * times)

    names = ("start", "decode", "forward", "update")
    return _Costs(**{name: value(name) for name in names}, optimizer=large.optimizer)


class _Measured:
    """Measures a model of the recipe's architecture with some of its layers."""

    def __init__(
        self,
        recipe: Recipe,
        work: Work,
        described: Any,
        resolved: Any,
        *,
        samples: bool = True,
        updates: bool = True,
    ) -> None:
        self.recipe, self.work, self.described = recipe, work, described
        self.resolved = resolved
        self.samples, self.updates = samples, updates
        self.layers = described.get_text_config().num_hidden_layers
        self.rows = min(resolved.max_rows, work.answers)
        self.trained_share = self.trained = 1.0

    def __call__(self, layers: int) -> _Costs:
        policy = self._policy(layers)
        start, decode = self._sampled(policy, layers) if self.samples else (0.0, 0.0)
        updated = self._updated(policy) if self.updates else (0.0, 0.0, 0.0)
        return _Costs(start, decode, *updated)

    def _policy(self, layers: int) -> Policy:
        from transformers import AutoModelForCausalLM

        described = copy.deepcopy(self.described)
        described.num_hidden_layers = layers
        if getattr(described, "layer_types", None):
            described.layer_types = described.layer_types[:layers]
        model = AutoModelForCausalLM.from_config(
            described,
            dtype=models.DTYPES[self.resolved.dtype],
            attn_implementation=register(),
        )
        policy = models.policy_of(model, self.recipe.model)
        sizes = [p.numel() for p in policy.parameters()]
        trained = [p.numel() for p in policy.parameters() if p.requires_grad]
        self.trained_share = sum(trained) / sum(sizes)
        return policy

    def _sampled(self, policy: Policy, layers: int) -> tuple[float, float]:
        """Seconds of starting the answers, and of one step when they are half grown."""
        work, vocabulary = self.work, policy.causal.config.get_text_config().vocab_size
        prompt = [7 % vocabulary] * work.prompt
        group = min(work.group, self.rows)
        answer = work.answer
        started: list[float] = []
        stepped: list[float] = []
        for _ in range(REPEATS):
            engine = LocalEngine(
                policy,
                eos_ids=(),
                decode=lambda ids: "",
                budget_bytes=self.resolved.kv_bytes * layers // self.layers,
                max_rows=self.resolved.max_rows,
            )
            params = SamplingParams(max_tokens=answer, forced=(answer,))
            for number in range(max(1, self.rows // group)):
                engine.submit(str(number), prompt, group, params)
            started.append(_seconds(engine.step))
            self.rows = min(self.rows, max(1, engine.live))
            engine.lengthen(max(0, answer // 2 - STEPS))
            count = min(STEPS + 1, max(1, answer - answer // 2 - 1))
            if engine.live:
                taken = [_seconds(engine.step) for _ in range(count)]
                stepped.append(statistics.median(taken[1:] or taken))
        return min(started[1:]), min(stepped[1:], default=0.0)

    def _updated(self, policy: Policy) -> tuple[float, float, float]:
        """Seconds a token of a forward pass and of an update, and a parameter of the optimizer."""
        work, vocabulary = self.work, policy.causal.config.get_text_config().vocab_size
        prompt, answer = work.prompt, work.answer
        fit = min(max(TOKENS, prompt + answer), self.resolved.micro_tokens)
        units = min(work.group, max(1, (fit - prompt) // answer))
        columns = {"pg_weight": 1.0, "advantage": 1.0, "old_logp": -5.0}
        values = {name: (value,) * answer for name, value in columns.items()}
        token_ids = tuple(i % vocabulary for i in range(answer))
        tree = Tree((1 % vocabulary,) * prompt, [Unit(token_ids, values) for _ in range(units)])
        trees = [tree] * min(work.trees, max(1, fit // (prompt + units * answer)))
        tokens = len(trees) * (prompt + units * answer)
        policy.kept_logits = self.resolved.kept_logits
        optimizer = Optimizer(policy, work.optim, 10)
        trainer = Trainer(policy, optimizer, options=LossOptions(), budget=tokens)
        seconds: list[float] = []
        kept = optimizer.step

        def step(number: int) -> tuple[float, float, bool]:
            begin = time.perf_counter()
            result = kept(number)
            seconds.append(time.perf_counter() - begin)
            return result

        optimizer.step = step  # type: ignore[method-assign]
        stream = to_batch(trees).stream
        whole: list[float] = []
        forward: list[float] = []
        for number in range(REPEATS):
            whole.append(_seconds(trainer.step, trees, number, on_policy=True) - seconds[-1])
            with torch.no_grad():
                forward.append(_seconds(policy, stream))
        parameters = sum(p.numel() for p in optimizer.masters.values())
        least = [min(taken[1:]) for taken in (forward, whole, seconds)]
        return least[0] / tokens, least[1] / tokens, least[2] / parameters


def _seconds(call: Callable[..., Any], *given: Any, **named: Any) -> float:
    begin = time.perf_counter()
    call(*given, **named)
    return time.perf_counter() - begin
