"""Engine and update against slow references, with everything that a schedule depends on drawn at random."""

import math
from dataclasses import dataclass

import pytest
import tiny
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from train.small_policies import gradients, trainer

from aha.models import fused
from aha.rollout.engine import SamplingParams
from aha.rollout.local.cache import MIN_ROWS
from aha.rollout.local.engine import LocalEngine
from aha.train.batch import Tree, Unit

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LOGP_BOUND = {"float32": 2e-4, "bfloat16": 0.35}
"""Largest difference of a log-probability from float64's, nats; weights of these models are large."""
CLIP = {"float32": (0.2, 0.2), "bfloat16": (0.99, 50.0)}
"""In bfloat16 rounding would carry ratios over an edge, so the edges are far away."""


@dataclass(frozen=True)
class Case:
    architecture: str
    dtype: str
    prompts: list[list[int]]
    lengths: list[list[int]]
    """Forced answer tokens of each group."""
    temperature: float
    slots: int
    """Answers that the key/value budget holds beside the longest prompt."""
    max_rows: int
    budget: int
    """Tokens of a micro-batch."""
    prefix_sharing: bool
    kept_logits: int
    chunk_rows: int
    seed: int


@st.composite
def cases(draw):
    token = st.integers(2, tiny.VOCAB - 1)
    groups = draw(st.integers(1, 4))
    return Case(
        architecture=draw(st.sampled_from(tiny.ARCHITECTURES)),
        dtype=draw(st.sampled_from(list(DTYPES))),
        prompts=[draw(st.lists(token, min_size=1, max_size=24)) for _ in range(groups)],
        lengths=[draw(st.lists(st.integers(1, 20), min_size=1, max_size=6)) for _ in range(groups)],
        temperature=draw(st.sampled_from([0.6, 1.0, 1.3])),
        slots=draw(st.integers(1, 12)),
        max_rows=draw(st.integers(1, 20)),
        budget=draw(st.integers(8, 300)),
        prefix_sharing=draw(st.booleans()),
        kept_logits=draw(st.sampled_from([0, 2000, 1 << 20])),
        chunk_rows=draw(st.integers(1, 40)),
        seed=draw(st.integers(0, 9)),
    )


def policy_of(case, dtype):
    more = {"num_experts_per_tok": 4} if case.architecture.startswith("deepseek") else {}
    # every expert: whom bfloat16 chooses is decided by rounding
    return tiny.fresh(case.architecture, dtype=dtype, **more)


def engine_of(policy, budget=1 << 24, max_rows=8):
    return LocalEngine(policy, eos_ids=(), decode=str, budget_bytes=budget, max_rows=max_rows)


def wide(case, policy):
    """The same weights in float64, for references; experts' products know float32 at most."""
    return (
        policy.model.float() if case.architecture.startswith("deepseek") else policy.model.double()
    )


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cases())
def test_engine_and_update(monkeypatch, case):
    policy = policy_of(case, DTYPES[case.dtype])
    policy.kept_logits = case.kept_logits
    row = tiny.VOCAB * DTYPES[case.dtype].itemsize
    monkeypatch.setattr(fused, "CHUNK_BYTES", case.chunk_rows * row)
    token = engine_of(policy).token_bytes
    longest = max(max(group) for group in case.lengths)
    prompt = max(map(len, case.prompts))
    kv = ((case.slots + MIN_ROWS) * longest + case.slots * prompt) * token
    engine = engine_of(policy, kv, case.max_rows)
    for number, (ids, lengths) in enumerate(zip(case.prompts, case.lengths, strict=True)):
        params = SamplingParams(
            max_tokens=max(lengths),
            temperature=case.temperature,
            forced=tuple(lengths),
            stream=(case.seed,),
        )
        engine.submit(str(number), ids, len(lengths), params)
    got = {}
    while engine.pending():
        got |= {(rollout.prompt_id, rollout.sample): rollout for rollout in engine.step()}

    low, high = CLIP[case.dtype]
    exact = policy_of(case, DTYPES[case.dtype])  # rounded alike, then computed exactly
    trees, slow_loss = asked(case, got, wide(case, exact), low, high)
    slow_loss.backward()

    policy = policy_of(case, DTYPES[case.dtype])
    policy.kept_logits = case.kept_logits
    worker = trainer(
        policy,
        budget=case.budget,
        prefix_sharing=case.prefix_sharing,
        options={"temperature": case.temperature, "clip_low": low, "clip_high": high},
    )
    loss, caught = gradients(worker, trees)
    if case.dtype == "float32":
        assert loss == pytest.approx(float(slow_loss.detach()), abs=1e-4)
    error, total = distance(caught, exact)
    bound = 1e-4 * total
    if case.dtype == "bfloat16":  # as near as the model's own forward in bfloat16, about
        rounded = policy_of(case, torch.bfloat16)
        asked(case, got, rounded.model, low, high, trees)[1].backward()
        theirs = {name: p.grad for name, p in rounded.named_parameters() if p.grad is not None}
        bound = 2 * distance(theirs, exact)[0] + 0.02 * total
    assert error <= bound + 1e-6


def asked(case, got, model, low, high, known=None):
    """Trees of the drawn answers, and their loss by whole forward passes of the model.

    Ratios lie on both sides of the clip's edges, none near them; with `known` trees they are theirs.
    """
    trees, loss = [], torch.zeros((), dtype=torch.float64)
    torch.manual_seed(case.seed)
    for number, (ids, lengths) in enumerate(zip(case.prompts, case.lengths, strict=True)):
        units = []
        for sample, length in enumerate(lengths):
            answer = got[str(number), sample]
            assert len(answer.token_ids) == length
            logps = tiny.slow_logprobs(model, ids, answer.token_ids, case.temperature)
            ratio = torch.tensor([0.5, 0.95, 1.05, 1.6])[torch.randint(4, (length,))].double()
            advantage, weight = float(torch.randn(())), 1 / (length * len(lengths))
            if known is None:
                found = torch.tensor(answer.logprobs, dtype=torch.float64)
                assert (found - logps.detach()).abs().max() < LOGP_BOUND[case.dtype]
                old = logps.detach() - ratio.log()
            else:
                columns = known[number].units[sample].columns
                old = torch.tensor(columns["old_logp"], dtype=torch.float64)
            now = torch.exp(logps - old)
            gain = torch.minimum(now * advantage, now.clamp(1 - low, 1 + high) * advantage)
            loss = loss - (weight * gain).sum()
            columns = {
                "pg_weight": (weight,) * length,
                "advantage": (advantage,) * length,
                "old_logp": old.tolist(),
            }
            units.append(Unit(answer.token_ids, columns))
        trees.append(Tree(ids, units))
    return trees, loss


def distance(found, exact):
    """Of gradients by name from those of a model: norm of the difference, and of the latter."""
    error = total = 0.0
    for name, parameter in exact.named_parameters():
        want = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        mine = found.get(name, torch.zeros_like(parameter))
        error += float((mine.double() - want.double()).square().sum())
        total += float(want.double().square().sum())
    return math.sqrt(error), math.sqrt(total)
