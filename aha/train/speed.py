"""How long a step takes on this machine, measured on a few layers of the model with random weights.

The engine decodes and the trainer updates one or two layers, then two more; a layer costs the
difference. So the prediction knows the machine's products, kernels and Python, not only its rates.
"""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from aha.config import Recipe, ZeroConfig
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
    layers = described.get_text_config().num_hidden_layers
    whole = models.count_parameters(described)
    threads = torch.get_num_threads()
    torch.set_num_threads(resolved.threads)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            run = _Measured(recipe, config, described, resolved)
            first = 1 + (getattr(described, "first_k_dense_replace", 0) or 0)
            if whole <= WHOLE or layers <= first + 2:
                costs = run(layers)
            else:
                costs = _extended(run(first), run(first + 2), (layers - first) / 2)
    finally:
        torch.set_num_threads(threads)
    answers = config.prompts_per_step * config.minibatches * config.group_size
    waves = -(-answers // run.rows)
    rollout = waves * (costs.start + (config.max_answer_tokens - 1) * costs.decode)
    answer_tokens = answers * config.max_answer_tokens
    prompts = config.prompts_per_step * config.minibatches
    if not config.prefix_sharing:
        prompts = answers
    stream = answer_tokens + prompts * recipe.data.max_prompt_tokens
    update = stream * (costs.update + (costs.forward if config.kl_coef else 0.0))
    trained = run.trained_share * whole
    return Times(rollout, update + config.minibatches * costs.optimizer * trained)


def _extended(small: _Costs, large: _Costs, times: float) -> _Costs:
    """`small` and `times` what `large` has more; the cost of a parameter is that of the larger."""

    def value(name: str) -> float:
        a, b = getattr(small, name), getattr(large, name)
        return float(a + max(b - a, 0.0) * times)

    names = ("start", "decode", "forward", "update")
    return _Costs(**{name: value(name) for name in names}, optimizer=large.optimizer)


class _Measured:
    """Measures a model of the recipe's architecture with some of its layers."""

    def __init__(self, recipe: Recipe, config: ZeroConfig, described: Any, resolved: Any) -> None:
        self.recipe, self.config, self.described = recipe, config, described
        self.resolved = resolved
        self.layers = described.get_text_config().num_hidden_layers
        answers = config.prompts_per_step * config.minibatches * config.group_size
        self.rows = min(resolved.max_rows, answers)
        self.trained_share = 1.0

    def __call__(self, layers: int) -> _Costs:
        policy = self._policy(layers)
        start, decode = self._sampled(policy, layers)
        return _Costs(start, decode, *self._updated(policy))

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
        config, vocabulary = self.config, policy.causal.config.get_text_config().vocab_size
        prompt = [7 % vocabulary] * self.recipe.data.max_prompt_tokens
        group = min(config.group_size, self.rows)
        answer = config.max_answer_tokens
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
        config, vocabulary = self.config, policy.causal.config.get_text_config().vocab_size
        prompt, answer = self.recipe.data.max_prompt_tokens, config.max_answer_tokens
        fit = min(max(TOKENS, prompt + answer), self.resolved.micro_tokens)
        units = min(config.group_size, max(1, (fit - prompt) // answer))
        columns = {"pg_weight": 1.0, "advantage": 1.0, "old_logp": -5.0}
        values = {name: (value,) * answer for name, value in columns.items()}
        token_ids = tuple(i % vocabulary for i in range(answer))
        tree = Tree((1 % vocabulary,) * prompt, [Unit(token_ids, values) for _ in range(units)])
        tokens = prompt + units * answer
        policy.kept_logits = self.resolved.kept_logits
        optimizer = Optimizer(policy, config.optim, 10)
        trainer = Trainer(policy, optimizer, options=LossOptions(), budget=tokens)
        seconds: list[float] = []
        kept = optimizer.step

        def step(number: int) -> tuple[float, float, bool]:
            begin = time.perf_counter()
            result = kept(number)
            seconds.append(time.perf_counter() - begin)
            return result

        optimizer.step = step  # type: ignore[method-assign]
        stream = to_batch([tree]).stream
        whole: list[float] = []
        forward: list[float] = []
        for number in range(REPEATS):
            whole.append(_seconds(trainer.step, [tree], number, on_policy=True) - seconds[-1])
            with torch.no_grad():
                forward.append(_seconds(policy, stream))
        parameters = sum(p.numel() for p in optimizer.masters.values())
        least = [min(taken[1:]) for taken in (forward, whole, seconds)]
        return least[0] / tokens, least[1] / tokens, least[2] / parameters


def _seconds(call: Callable[..., Any], *given: Any, **named: Any) -> float:
    begin = time.perf_counter()
    call(*given, **named)
    return time.perf_counter() - begin
