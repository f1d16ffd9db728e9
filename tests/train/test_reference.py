import copy

import pytest
import torch
from small_policies import engine, group, lora, trainer
from tiny import fresh as policy

from aha.config import ZeroConfig
from aha.models.policy import pack
from aha.train.credit import to_trees
from aha.train.reference import Reference

STREAM = pack([[5, 6, 7]], [[[8, 9], [10, 11, 12]]])
KINDS = {"full": policy, "adapters": lora}


def values(of):
    with torch.no_grad():
        return of(STREAM, 0.8)[0]


def shake(of, seed=3):
    """Move the trainable weights, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in of.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("kind", KINDS)
def test_it_stays_what_the_policy_was_and_leaves_the_policy_alone(kind):
    of = KINDS[kind]()
    then = values(of)
    reference = Reference(of)
    assert reference.partial == (kind == "adapters")
    shake(of)
    now, kept = values(of), copy.deepcopy(of.state_dict())
    assert not torch.allclose(now, then, atol=1e-2)
    assert torch.equal(reference.logprobs(STREAM, 0.8), then)
    assert all(torch.equal(t, of.state_dict()[n]) for n, t in kept.items())
    assert torch.equal(values(of), now)
    assert not reference.logprobs(STREAM, 0.8).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_renewed_it_is_the_present_policy_frozen(kind):
    of = KINDS[kind]()
    reference = Reference(of)
    shake(of)
    present = values(of)
    reference.renew()
    assert torch.equal(reference.logprobs(STREAM, 0.8), present)
    shake(of, seed=4)
    assert torch.equal(reference.logprobs(STREAM, 0.8), present)


def test_with_adapters_it_is_the_frozen_snapshot_not_the_adapter_off():
    of = lora()
    reference = Reference(of)
    with torch.no_grad(), of.model.disable_adapter():
        off = of(STREAM, 0.8)[0]
    assert not torch.allclose(reference.logprobs(STREAM, 0.8), off, atol=1e-2)
    assert set(reference.state()) == {n for n, p in of.named_parameters() if "lora_" in n}


@pytest.mark.parametrize("kind", KINDS)
def test_state_round_trip(kind):
    of = KINDS[kind]()
    reference = Reference(of)
    shake(of)
    reference.renew()
    saved = {n: t.clone() for n, t in reference.state().items()}
    wanted = reference.logprobs(STREAM, 0.8)
    other = KINDS[kind]()
    again = Reference(other)
    again.load_state(saved)
    assert torch.equal(again.logprobs(STREAM, 0.8), wanted)
    for tensor in saved.values():
        tensor.zero_()  # copied, not aliased
    assert torch.equal(again.logprobs(STREAM, 0.8), wanted)


def test_trained_weights_come_back_even_when_the_forward_pass_fails(monkeypatch):
    of = lora()
    reference = Reference(of)
    shake(of)
    kept = copy.deepcopy(of.state_dict())

    def broken(*args, **kwargs):
        raise MemoryError("no room")

    monkeypatch.setattr(of, "forward", broken)
    with pytest.raises(MemoryError):
        reference.logprobs(STREAM, 1.0)
    assert all(torch.equal(t, of.state_dict()[n]) for n, t in kept.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_with_adapters_changes_only_adapters(dtype):
    of = lora(dtype=dtype)
    reference = Reference(of)
    worker = trainer(of, reference=reference)
    assert all("lora_" in name for name in worker.optimizer.parameters)
    assert all(m.dtype == torch.float32 for m in worker.optimizer.masters.values())
    before = copy.deepcopy(of.state_dict())
    anchor = reference.logprobs(STREAM, 1.0)
    groups = [group("a", [5, 6, 7], [[8, 9, 1], [10, 1]], [1.0, 0.0])]
    assert worker.step(to_trees(groups, ZeroConfig(kl_coef=0.1)), 0, on_policy=False).made
    changed = {n for n, t in of.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == set(worker.optimizer.parameters)
    assert torch.equal(reference.logprobs(STREAM, 1.0), anchor)
    works = engine(of)
    works.load(1)
    rows = worker.logprobs(to_trees(groups, ZeroConfig(kl_coef=0.1)))
    for found, wanted in zip(works.score([[5, 6, 7]] * 2, [[8, 9, 1], [10, 1]]), rows, strict=True):
        assert found == pytest.approx(wanted, abs=1e-4 if dtype == torch.float32 else 0.05)
