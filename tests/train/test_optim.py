import copy
import math

import pytest
import torch
from tiny import fresh as policy
from torch import nn

from aha.config import OptimConfig
from aha.train.optim import Optimizer, learning_rate


class Net(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.embed_tokens = nn.Embedding(5, 4, dtype=dtype)
        self.inner = nn.Linear(4, 3, dtype=dtype)
        self.norm = nn.LayerNorm(3, dtype=dtype)


def fill_gradients(module, generator, scale=1.0):
    """The same random gradient for every parameter of a module, through autograd."""
    loss = sum(
        (p * (scale * torch.randn(p.shape, generator=generator)).to(p.dtype)).sum()
        for p in module.parameters()
        if p.requires_grad
    )
    loss.backward()


@pytest.mark.parametrize("scale", [0.01, 0.2, 10.0])  # norms of about 0.1, 2 and 100; clip at 1
def test_equals_torch_adamw_with_clipping(scale):
    torch.manual_seed(1)
    ours, theirs = Net(), Net()
    theirs.load_state_dict(ours.state_dict())
    config = OptimConfig(
        lr=0.01, schedule="cosine", warmup_steps=2, weight_decay=0.1, beta1=0.8, beta2=0.9, eps=1e-6
    )
    optimizer = Optimizer(ours, config, 8)
    reference = torch.optim.AdamW(
        [
            {"params": [theirs.inner.weight], "weight_decay": 0.1},
            {
                "params": [
                    theirs.embed_tokens.weight,
                    theirs.inner.bias,
                    theirs.norm.weight,
                    theirs.norm.bias,
                ],
                "weight_decay": 0.0,
            },
        ],
        betas=(0.8, 0.9),
        eps=1e-6,
        fused=False,
        foreach=False,
    )
    for number in range(6):
        for net in (ours, theirs):
            generator = torch.Generator().manual_seed(number)
            for _ in range(3):  # micro-batches
                fill_gradients(net, generator, scale)
        norm = float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0))
        rate = (
            0.01 * (number + 1) / 2
            if number < 2
            else 0.01 * (1 + math.cos(math.pi * (number - 2) / 6)) / 2
        )
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        reference.zero_grad()
        found_norm, found_rate, made = optimizer.step(number)
        assert made
        assert found_norm == pytest.approx(norm, rel=1e-6)
        assert found_rate == pytest.approx(rate, rel=1e-12)
        for name, parameter in ours.named_parameters():
            torch.testing.assert_close(
                parameter, dict(theirs.named_parameters())[name], rtol=2e-6, atol=1e-7
            )
            assert parameter.grad is None


def test_bfloat16_keeps_masters_and_writes_them_back_rounded():
    torch.manual_seed(1)
    small, full = Net(torch.bfloat16), Net()
    full.load_state_dict({n: t.float() for n, t in small.state_dict().items()})
    config = OptimConfig(lr=1e-4, weight_decay=0.1)
    low, high = Optimizer(small, config, 50), Optimizer(full, config, 50)
    for number in range(20):
        generator = torch.Generator().manual_seed(number)
        for name, p in small.named_parameters():
            gradient = torch.randn(p.shape, generator=generator).bfloat16()
            (p * gradient).sum().backward()
            dict(full.named_parameters())[name].grad = gradient.float()
        low.step(number)
        high.step(number)
    for name, p in small.named_parameters():
        master = low.masters[name]
        assert master.dtype == torch.float32
        assert torch.equal(p, master.bfloat16())
        assert p.data_ptr() != master.data_ptr()
        assert p.grad is None
        # 20 steps of 1e-4 are below half a bfloat16 unit near 1: only masters can move
        torch.testing.assert_close(master, dict(full.named_parameters())[name], rtol=0, atol=1e-7)


def test_float32_parameters_are_their_own_masters():
    net = Net()
    optimizer = Optimizer(net, OptimConfig(), 1)
    assert all(optimizer.masters[n] is p for n, p in net.named_parameters())


def test_small_gradients_survive_accumulation_in_bfloat16():
    """1 + 2^-9 is 1 in bfloat16: 100 such micro-batches would be lost, float32 keeps them."""
    net = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    optimizer = Optimizer(net, OptimConfig(grad_clip=1000), 1)
    for scale in [1.0] + [2.0**-9] * 100:
        (net.weight * scale).sum().backward()
        assert net.weight.grad is None  # freed at once
    assert optimizer.masters["weight"].grad.item() == 1 + 100 * 2.0**-9
    assert optimizer.step(0)[0] == pytest.approx(1 + 100 * 2.0**-9)


def test_schedules_by_hand():
    def rates(**options):
        config = OptimConfig(lr=0.1, **options)
        return [round(learning_rate(step, 6, config), 12) for step in range(7)]

    assert rates() == [0.1] * 7
    assert rates(warmup_steps=2) == [0.05, 0.1] + [0.1] * 5
    assert rates(schedule="linear") == pytest.approx(
        [0.1, 0.5 / 6, 0.4 / 6, 0.05, 0.2 / 6, 0.1 / 6, 0]
    )
    assert rates(schedule="linear", min_lr_share=0.2, warmup_steps=2) == pytest.approx(
        [0.05, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02]
    )
    half = math.sqrt(0.5)
    assert rates(schedule="cosine", warmup_steps=2) == pytest.approx(
        [0.05, 0.1, 0.1, 0.05 * (1 + half), 0.05, 0.05 * (1 - half), 0.0]
    )
    assert learning_rate(99, 6, OptimConfig(schedule="linear", lr=1.0)) == 0.0
    assert learning_rate(3, 2, OptimConfig(schedule="cosine", warmup_steps=5, lr=1.0)) == 0.8


def test_only_matrices_decay_and_never_embeddings():
    model = policy("deepseek_v3").model
    optimizer = Optimizer(model, OptimConfig(lr=0.1, weight_decay=0.5, grad_clip=1e9), 1)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    assert optimizer.step(0)[2]
    shrunk, kept = set(), set()
    for name, p in model.named_parameters():
        if torch.equal(p, before[name]):
            kept.add(name)
        else:
            torch.testing.assert_close(p, before[name] * (1 - 0.1 * 0.5))
            shrunk.add(name)
    assert "model.embed_tokens.weight" in kept
    assert {n for n in kept if "norm" not in n} == {"model.embed_tokens.weight"}
    assert {"lm_head.weight", "model.layers.1.mlp.experts.down_proj"} <= shrunk


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_not_finite_changes_nothing(bad, dtype):
    net = Net(dtype)
    optimizer = Optimizer(net, OptimConfig(lr=0.1), 5)
    fill_gradients(net, torch.Generator().manual_seed(0))
    optimizer.step(0)
    before = {n: t.clone() for n, t in optimizer.state().items()}
    working = copy.deepcopy(net.state_dict())
    fill_gradients(net, torch.Generator().manual_seed(1))
    (net.inner.weight * bad).sum().backward()
    norm, _, made = optimizer.step(1)
    assert not made
    assert not math.isfinite(norm)
    after = optimizer.state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert all(torch.equal(t, net.state_dict()[n]) for n, t in working.items())
    assert all(m.grad is None for m in optimizer.masters.values())
    fill_gradients(net, torch.Generator().manual_seed(2))
    assert optimizer.step(1)[2]  # and the next one is whole again


def test_no_gradient_at_all_is_a_made_step_without_change():
    net = Net()
    optimizer = Optimizer(net, OptimConfig(lr=0.1, weight_decay=0.5), 5)
    before = copy.deepcopy(net.state_dict())
    assert optimizer.step(0) == (0.0, 0.1, True)
    assert all(torch.equal(t, net.state_dict()[n]) for n, t in before.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_round_trip_continues_bit_for_bit(dtype):
    torch.manual_seed(0)
    first = Net(dtype)
    one = Optimizer(first, OptimConfig(lr=0.01), 9)
    for number in range(3):
        fill_gradients(first, torch.Generator().manual_seed(number))
        one.step(number)
    saved = {n: t.clone() for n, t in one.state().items()}
    torch.manual_seed(7)
    second = Net(dtype)
    two = Optimizer(second, OptimConfig(lr=0.01), 9)
    two.load_state(saved)
    pointers = {t.data_ptr() for t in saved.values()}
    assert not pointers & {t.data_ptr() for t in two.state().values()}  # copied, not aliased
    for number in range(3, 6):
        for net, optimizer in ((first, one), (second, two)):
            fill_gradients(net, torch.Generator().manual_seed(number))
            optimizer.step(number)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    assert one.state().keys() == two.state().keys()
    assert all(torch.equal(t, two.state()[n]) for n, t in one.state().items())


def test_state_from_before_the_first_step_forgets_later_moments():
    net = Net()
    optimizer = Optimizer(net, OptimConfig(lr=0.01), 9)
    saved = {n: t.clone() for n, t in optimizer.state().items()}
    fill_gradients(net, torch.Generator().manual_seed(0))
    optimizer.step(0)
    optimizer.load_state(saved)
    assert optimizer.state().keys() == saved.keys()


def test_state_of_another_model_is_refused():
    optimizer = Optimizer(Net(), OptimConfig(), 1)
    with pytest.raises(ValueError, match=r"another model.*(weight|bias)"):
        optimizer.load_state(Optimizer(nn.Linear(4, 3), OptimConfig(), 1).state())
    other = Net()
    other.inner = nn.Linear(4, 2)
    other.norm = nn.LayerNorm(2)
    with pytest.raises(ValueError, match=r"inner.weight is \(2, 4\), the model has \(3, 4\)"):
        optimizer.load_state(Optimizer(other, OptimConfig(), 1).state())


def test_a_frozen_model_is_refused():
    with pytest.raises(ValueError, match="no trainable parameter"):
        Optimizer(Net().requires_grad_(False), OptimConfig(), 1)
