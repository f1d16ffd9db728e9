import pytest
import torch

from aha.config import PretrainConfig
from aha.errors import ConfigError
from aha.models.architecture import EXPERTS, Balance, architecture, build

TINY = PretrainConfig(
    vocab_size=300, hidden=32, heads=2, layers=2, experts=4, expert_width=16, dense_width=48
)


@pytest.fixture
def model():
    return build(TINY, seed=1, pad=1, eos=0)


def test_it_is_deepseek_v3_with_equal_head_widths(model):
    config = model.config
    assert config.model_type == "deepseek_v3"
    assert config.v_head_dim == config.qk_nope_head_dim + config.qk_rope_head_dim
    assert type(model.model.layers[0].mlp).__name__ == "DeepseekV3MLP"
    assert type(model.model.layers[1].mlp).__name__ == "DeepseekV3MoE"
    assert model.model.layers[1].mlp.shared_experts is not None
    assert config._experts_implementation == EXPERTS == "grouped_mm"
    assert config._attn_implementation == "sdpa"
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_default_size_is_between_one_and_three_million():
    model = build(PretrainConfig(), seed=0, pad=1, eos=0)
    assert 1e6 < sum(p.numel() for p in model.parameters()) < 3e6


def test_the_seed_decides_the_weights_and_leaves_the_global_stream_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = build(TINY, seed=1, pad=1, eos=0)
    assert torch.equal(torch.rand(3), expected)
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    other = build(TINY, seed=2, pad=1, eos=0)
    assert not torch.equal(other.lm_head.weight, model.lm_head.weight)


def test_expert_kernels_agree(model):
    ids = torch.randint(0, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fast = model(ids).logits
        model.set_experts_implementation("eager")
        torch.testing.assert_close(model(ids).logits, fast, atol=1e-5, rtol=1e-5)


def test_the_balance_loss_is_the_papers_sum(model):
    ids = torch.randint(0, 300, (3, 7), generator=torch.Generator().manual_seed(0))
    router = model.model.layers[1].mlp.gate
    with torch.no_grad():
        router.e_score_correction_bias.copy_(torch.tensor([0.3, 0.0, -0.1, 0.0]))
    seen = []
    handle = router.register_forward_hook(lambda m, a, out: seen.append(out))
    with Balance(model) as balance:
        model(ids)
        loss = balance.loss(rows=3)
    handle.remove()
    logits, chosen = seen[0][0].detach(), seen[0][2]
    expected = 0.0
    for row in range(3):  # DeepSeek-V3 Eq. 17-20, term by term
        for expert in range(4):
            f = p = 0.0
            for t in range(7):
                s = logits[row * 7 + t].sigmoid()
                p += float(s[expert] / s.sum()) / 7
                f += 4 / (2 * 7) * float(expert in chosen[row * 7 + t].tolist())
            expected += f * p / 3
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert router.weight.grad.abs().sum() > 0


def test_the_bias_moves_towards_even_load(model):
    ids = torch.randint(0, 300, (2, 50), generator=torch.Generator().manual_seed(0))
    router = model.model.layers[1].mlp.gate
    with torch.no_grad():
        router.e_score_correction_bias.copy_(torch.tensor([5.0, 4.0, 0.0, 0.0]))
    before = router.e_score_correction_bias.clone()
    with Balance(model) as balance:
        model(ids)
        assert balance.load().tolist() == [[2.0, 2.0, 0.0, 0.0]]  # the biased two take all
        balance.step(0.25)
        moved = router.e_score_correction_bias - before
        assert moved.tolist() == [-0.25, -0.25, 0.25, 0.25]
        model(ids)
        balance.step(0.0)
        assert torch.equal(router.e_score_correction_bias - before, moved)


def test_hooks_go_when_it_is_left(model):
    router = model.model.layers[1].mlp.gate
    with Balance(model):
        assert router._forward_hooks
    assert not router._forward_hooks


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"heads": 3}, "multiple of pretrain.heads"),
        ({"hidden": 36, "heads": 2}, "multiple of 4"),
        ({"experts_per_token": 5}, "above"),
    ],
)
def test_widths_that_do_not_fit_are_named(changed, message):
    with pytest.raises(ConfigError, match=message):
        architecture(TINY.model_copy(update=changed), pad=1, eos=0)
