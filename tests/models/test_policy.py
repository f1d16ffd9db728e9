import copy

import pytest
import tiny
import torch

from aha.errors import ModelError
from aha.models import policy as module
from aha.models import policy as policies
from aha.models.policy import Policy, check_supported, pack

PROMPTS = [[5, 6, 7], [8], [11, 12, 13, 14, 15, 16, 17, 18, 19], [21, 22]]
ANSWERS = [
    [[1, 2, 3], [4, 5], [60]],
    [[6], [7, 8, 9, 10]],
    [[33 + i % 50 for i in range(40)], [34], [35, 36, 37]],
    [[90, 91, 92]] * 3,
]
UNITS = [(p, a) for p, group in zip(PROMPTS, ANSWERS, strict=True) for a in group]


@pytest.fixture(params=tiny.ARCHITECTURES)
def policy(request):
    return tiny.policy(request.param)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_packed_tree_equals_one_sequence_at_a_time(policy, temperature):
    got, entropy = policy(pack(PROMPTS, ANSWERS), temperature)
    want = torch.cat([tiny.slow_logprobs(policy.model, p, a, temperature) for p, a in UNITS])
    assert want.std() > 1  # the model has opinions: a mistake would show
    torch.testing.assert_close(got.double(), want, atol=2e-5, rtol=1e-5)
    assert got.dtype == entropy.dtype == torch.float32
    assert not entropy.requires_grad
    assert (entropy > 0).all()


def test_gradients_equal_those_of_one_sequence_at_a_time(policy):
    model = policy.model
    got, _ = policy(pack(PROMPTS, ANSWERS))
    weights = torch.randn(len(got), generator=torch.Generator().manual_seed(3))
    mine = torch.autograd.grad((got * weights).sum(), list(model.parameters()), allow_unused=True)
    want = torch.cat([tiny.slow_logprobs(model, p, a) for p, a in UNITS])
    slow = torch.autograd.grad((want * weights).sum(), list(model.parameters()), allow_unused=True)
    for (name, _), a, b in zip(model.named_parameters(), mine, slow, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            assert (a - b).abs().max() <= 1e-5 * b.abs().max() + 1e-9, name


def test_many_answers_of_very_different_lengths():
    policy = tiny.policy("qwen2")
    random = torch.Generator().manual_seed(4)
    lengths = [1, 2, 3, 5, 8, 13, 90, 120] * 3
    group = [torch.randint(3, tiny.VOCAB, (n,), generator=random).tolist() for n in lengths]
    got, _ = policy(pack([[9, 8, 7]], [group]))
    want = torch.cat([tiny.slow_logprobs(policy.model, [9, 8, 7], a) for a in group])
    torch.testing.assert_close(got.double(), want, atol=3e-5, rtol=1e-5)


def test_an_answer_does_not_depend_on_its_company(policy):
    alone, _ = policy(pack([PROMPTS[0]], [[ANSWERS[0][1]]]))
    among, _ = policy(pack(PROMPTS[::-1], ANSWERS[::-1]))
    torch.testing.assert_close(among[-3:-1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunk_bytes", [1, 4 * tiny.VOCAB * 5, 1 << 30])
@pytest.mark.parametrize("one_step", [True, False])
def test_chunks_of_the_head_do_not_change_results(monkeypatch, chunk_bytes, one_step):
    policy = Policy(tiny.build("llama"))
    head = policy.causal.get_output_embeddings().weight

    def both():
        logp, entropy = policy(pack(PROMPTS, ANSWERS), 0.8)
        return logp, entropy, torch.autograd.grad(logp.sum(), head)[0]

    want = both()
    calls = []
    place = module.fused if one_step and module.fused.usable(head) else module
    if place is module:
        monkeypatch.setattr(module.fused, "AVAILABLE", False)
    monkeypatch.setattr(place, "CHUNK_BYTES", chunk_bytes)
    linear = torch.nn.functional.linear
    count = lambda h, w: calls.append(len(h)) or linear(h, w)  # noqa: E731
    monkeypatch.setattr(module.fused, "linear", count)
    monkeypatch.setattr(policy, "logits", lambda h: count(h, head))
    for mine, its in zip(both(), want, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-5, rtol=1e-4)
    whole = sum(map(len_of, ANSWERS))
    assert max(calls) in {1: (1,), 4 * tiny.VOCAB * 5: (4, 5)}.get(chunk_bytes, (whole,))


def len_of(group):
    return sum(len(answer) for answer in group)


def test_pack_by_hand():
    stream = pack([[5, 6], [7]], [[[1, 2, 3], [4]], [[8, 9]]])
    assert stream.token_ids.tolist() == [[5, 6, 1, 2, 3, 4, 7, 8, 9]]
    assert stream.positions.tolist() == [[0, 1, 2, 3, 4, 2, 0, 1, 2]]
    # an answer's first token is predicted by the last of its prompt
    assert stream.scored.tolist() == [1, 2, 3, 1, 6, 7]
    assert stream.targets.tolist() == [1, 2, 3, 4, 8, 9]


def test_nothing_to_score_is_an_empty_result():
    for answers in ([[]], [[[]]]):
        stream = pack([[5, 6, 7]], answers)
        logp, entropy = tiny.policy("llama")(stream)
        assert logp.shape == entropy.shape == (0,)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        pack([[]], [[[1]]])


def test_the_four_architectures_are_supported(policy):
    check_supported(policy)
    assert policy.causal.config._attn_implementation == "aha_layout"


@pytest.mark.parametrize(
    "name, changes",
    [
        ("granite", {"logits_scaling": 8.0}),
        ("gemma2", {"final_logit_softcapping": 0.5, "attn_logit_softcapping": None}),
        ("gemma2", {"final_logit_softcapping": None, "attn_logit_softcapping": 30.0}),
        ("mistral", {"sliding_window": 4}),
        ("mistral", {"sliding_window": 4096}),
        ("deepseek_v3", {"v_head_dim": 24}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_other_ways_to_logits_are_refused(name, changes):
    with pytest.raises(ModelError, match="ForCausalLM") as error:
        check_supported(Policy(tiny.build(name, **changes)))
    assert "support" in str(error.value) or "another architecture" in str(error.value)


def test_relatives_without_these_are_accepted():
    check_supported(Policy(tiny.build("granite", logits_scaling=1.0, attention_multiplier=0.35)))
    check_supported(Policy(tiny.build("mistral", sliding_window=None)))


def test_a_model_may_differ_from_us_as_far_as_from_itself(monkeypatch):
    """In bfloat16 two right ways of one model can be far apart; another architecture still is farther."""
    own = policies._own_logits
    monkeypatch.setattr(policies, "BF16_BOUND", 0.012)
    model = tiny.build("llama").to(torch.bfloat16)
    check_supported(Policy(model))
    monkeypatch.setattr(policies, "_own_logits", lambda model, ids, _: own(model, ids, "sdpa"))
    with pytest.raises(ModelError, match="another architecture"):
        check_supported(Policy(model))


def test_another_architecture_is_found_in_bfloat16():
    with pytest.raises(ModelError, match="another architecture"):
        check_supported(Policy(tiny.build("granite", logits_scaling=8.0).to(torch.bfloat16)))


def test_damaged_weights_are_named():
    broken = copy.deepcopy(tiny.policy("llama"))
    with torch.no_grad():
        broken.causal.get_output_embeddings().weight[7, 3] = float("nan")
    with pytest.raises(ModelError, match="damaged"):
        check_supported(broken)


def test_gradient_checkpointing_gives_the_same_gradients():
    model = tiny.build("qwen3").train()
    policy = Policy(model)
    stream = pack(PROMPTS, ANSWERS)
    names = list(model.parameters())
    want = torch.autograd.grad(policy(stream)[0].sum(), names)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    got = torch.autograd.grad(policy(stream)[0].sum(), names)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
