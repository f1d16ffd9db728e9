"""Decoding in rounded shapes, as on a GPU, with the capture switched off: the same answers."""

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from aha.rollout.engine import SamplingParams
from aha.rollout.local import cache as cache_module
from aha.rollout.local import engine as module
from aha.rollout.local import graphs
from aha.rollout.local.cache import MIN_ROWS, Cache, Shape, StepShape

PROMPTS = {"a": [5, 6, 7], "b": [8], "c": list(range(11, 90)), "d": [40, 41]}
DRAWN = SamplingParams(max_tokens=24, temperature=0.9, stream=(1, "graphs"))


@pytest.fixture
def switched(monkeypatch):
    """switched(rounded): decode without compiled kernels, in rounded or in exact shapes."""

    def switch(rounded):
        monkeypatch.setattr(module, "NATIVE", False)
        monkeypatch.setattr(cache_module, "NATIVE", False)
        monkeypatch.setattr(module, "GRAPHS", rounded)

    return switch


def answers(engine, drain, n=5):
    for prompt_id, ids in PROMPTS.items():
        engine.submit(prompt_id, ids, n, DRAWN)
    return drain(engine)


@pytest.mark.parametrize("rows", [1, 7, 64])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "deepseek_v3_narrow"])
def test_rounded_shapes_give_the_same_answers(architecture, rows, new_engine, drain, switched):
    switched(False)
    want = answers(new_engine(architecture, max_rows=rows), drain)
    switched(True)
    engine = new_engine(architecture, max_rows=rows)
    got = answers(engine, drain)
    assert got.keys() == want.keys()
    for name, rollout in want.items():
        assert got[name].token_ids == rollout.token_ids
        assert got[name].logprobs == pytest.approx(rollout.logprobs, abs=1e-5)


def test_few_shapes_serve_many_steps(new_engine, switched):
    switched(True)
    engine = new_engine(eos=())
    for prompt_id, ids in PROMPTS.items():
        engine.submit(prompt_id, ids, 4, DRAWN)
    steps = 0
    while engine.pending():
        engine.step()
        steps += 1
        assert len(engine._graphs._steps) <= 2 if engine._graphs else True
    assert steps >= 20


def test_new_weights_and_rest_drop_the_graphs(new_engine, drain, switched):
    switched(True)
    engine = new_engine(tiny.fresh("llama"))
    answers(engine, drain)
    assert engine._graphs is not None
    engine.rest()
    assert engine._graphs is None
    before = answers(engine, drain)
    with torch.no_grad():
        for parameter in engine.policy.parameters():
            parameter.mul_(0.7)
    engine.load(1)
    assert engine._graphs is None
    after = answers(engine, drain)
    assert {n: r.token_ids for n, r in before.items()} != {n: r.token_ids for n, r in after.items()}


def test_too_many_shapes_are_forgotten(new_engine, drain, switched, monkeypatch):
    switched(True)
    monkeypatch.setattr(graphs, "KEPT", 1)
    engine = new_engine(max_rows=16)
    got = answers(engine, drain, n=9)
    assert len(engine._graphs._steps) <= 1
    assert len(got) == 36


@given(st.data())
def test_a_rounded_shape_covers_the_step_and_fits_the_cache(data):
    slots, tokens = data.draw(st.integers(1, 700)), data.draw(st.integers(1, 3000))
    places, prompt = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 500))
    shape = Shape(layers=0, heads=1, width=1, dtype=torch.float32, device=torch.device("cpu"))
    cache = Cache(shape, slots=slots, answer_tokens=tokens, groups=places, prompt_tokens=prompt)
    live = data.draw(st.integers(1, min(slots, 50)))
    used = data.draw(st.lists(st.integers(0, tokens - 1), min_size=live, max_size=live))
    count = data.draw(st.integers(1, places))
    group = data.draw(st.lists(st.integers(0, count - 1), min_size=live, max_size=live))
    prefix = data.draw(st.lists(st.integers(1, prompt), min_size=count, max_size=count))
    exact, got = StepShape.exact(used, group, prefix), graphs.covering(cache, used, group, prefix)
    for name in ("rows", "longest", "places", "most", "longest_prefix"):
        assert getattr(got, name) >= getattr(exact, name), name
    assert got.rows <= slots + MIN_ROWS
    assert got.longest <= tokens
    assert got.places <= places
    assert got.most <= got.rows
    assert got.longest_prefix <= prompt


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_replayed_graphs_give_the_same_answers(new_engine, drain):
    policy = tiny.fresh("llama")
    want = answers(new_engine(policy), drain)
    engine = new_engine(tiny.fresh("llama").to("cuda"))
    got = answers(engine, drain)
    assert engine.captures >= 1
    for name, rollout in want.items():
        assert got[name].logprobs[:4] == pytest.approx(rollout.logprobs[:4], abs=1e-3)
