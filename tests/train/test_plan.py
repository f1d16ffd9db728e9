import pytest
import torch
from small_policies import KINDS, engine
from tiny import described as architecture
from tiny import fresh as policy

from aha.config import resolve
from aha.errors import ConfigError, DoesNotFit
from aha.models.attention import register
from aha.models.policy import Policy
from aha.rollout.engine import SamplingParams
from aha.rollout.local.cache import kept_dtype
from aha.train import plan, speed
from aha.train.plan import HEADROOM, UPDATING, kv_token_bytes


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("configs")
    for kind in KINDS:
        architecture(kind)[1].save_pretrained(root / kind)
    return root


def recipe(memory_gb=4.0, *, model=None, data=None, **zero):
    return resolve(
        {
            "memory_gb": memory_gb,
            "threads": 2,
            "model": model or {},
            "data": {"max_prompt_tokens": 64, **(data or {})},
            "zero": {"max_answer_tokens": 128, **zero},
        }
    )


def make(folder, asked):
    return plan.make(asked, asked.zero, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_is_positive_and_the_sum_fits(folders, kind):
    made = make(folders / kind, recipe())
    assert all(size > 0 for size in made.parts.values())
    always = {"weights", "optimizer", "reference", "program"}
    assert set(made.parts) == always | {"keys and values"} | set(UPDATING)
    size = made.parts.__getitem__
    larger = max(size("keys and values"), sum(map(size, UPDATING)))  # never at the same time
    assert made.total == sum(map(size, always)) + larger <= HEADROOM * 4e9
    assert made.resolved.kept_logits == size("kept logits")
    count = sum(p.numel() for p in policy(kind).parameters())
    assert made.parameters == count
    assert made.parts["weights"] == made.parts["reference"] == 4 * count
    assert made.parts["optimizer"] == 12 * count  # gradient and two moments
    assert made.checkpoint_bytes == (4 + 12 + 4) * count
    assert made.rollout_tokens == 32 * 16 * 128
    assert made.resolved.threads == 2
    assert made.as_dict()["total_bytes"] == made.total


def test_bfloat16_costs_eighteen_bytes_a_trained_parameter(folders):
    made = make(folders / "llama", recipe(model={"dtype": "bfloat16"}, kl_coef=0.0))
    assert made.parts["weights"] + made.parts["optimizer"] == 18 * made.parameters
    assert "reference" not in made.parts
    assert made.resolved.dtype == "bfloat16"


def test_adapters_need_no_reference_and_little_optimizer(folders):
    full = make(folders / "llama", recipe())
    adapted = make(folders / "llama", recipe(model={"lora_rank": 1}))
    assert "reference" not in adapted.parts
    assert adapted.parts["optimizer"] < full.parts["optimizer"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_key_value_bytes_are_those_of_the_real_cache(kind, dtype):
    shape = engine(policy(kind, dtype=dtype))._token_shape()
    kept = kept_dtype(dtype, torch.device("cpu"))
    assert kv_token_bytes(architecture(kind)[1], kept.itemsize) == shape.token_bytes


def test_too_little_memory_says_what_to_change(folders):
    asked = recipe(0.2)
    with pytest.raises(DoesNotFit) as caught:
        make(folders / "llama", asked)
    assert caught.value.exit_code == 3
    for word in ("weights", "lora_rank", "max_answer_tokens", "kl_coef=0", "GB may be used"):
        assert word in str(caught.value)
    without = recipe(0.2, kl_coef=0.0, model={"gradient_checkpointing": True})
    with pytest.raises(DoesNotFit) as caught:
        make(folders / "llama", without)
    assert "kl_coef" not in str(caught.value)
    assert "gradient_checkpointing" not in str(caught.value)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["llama", "deepseek_v3"])
def test_what_the_plan_accepts_the_engine_accepts(tmp_path, kind, checkpointing):
    """One answer of full length after a prompt of full length always fits the planned cache."""
    cls, described = architecture(kind)
    described.num_hidden_layers = 12  # with checkpointing, keys and values outweigh activations
    described.save_pretrained(tmp_path)
    model = cls._from_config(described, attn_implementation=register())
    accepted = refused = 0
    for extra in range(0, 160, 8):
        asked = recipe(
            0.600 + extra / 1000,
            model={"gradient_checkpointing": checkpointing},
            data={"max_prompt_tokens": 16},
            max_answer_tokens=1024,
        )
        try:
            made = make(tmp_path, asked)
        except DoesNotFit:
            assert not accepted  # more memory is never refused
            refused += 1
            continue
        accepted += 1
        assert made.total <= HEADROOM * asked.memory_gb * 1e9 + 1
        assert made.resolved.micro_tokens >= 1024 + 16
        if accepted <= 4:
            works = engine(Policy(model))
            works.budget, works.max_rows = made.resolved.kv_bytes, made.resolved.max_rows
            works.submit("a", [5] * 16, 16, SamplingParams(max_tokens=1024))
            works._allocate()
    assert refused
    assert accepted > 4


def test_more_memory_never_means_less(folders):
    sizes = [make(folders / "llama", recipe(gb)).resolved for gb in (1.25, 1.5, 2, 8)]
    assert sorted(s.micro_tokens for s in sizes) == [s.micro_tokens for s in sizes]
    assert sorted(s.kv_bytes for s in sizes) == [s.kv_bytes for s in sizes]


def test_memory_is_measured_when_the_recipe_does_not_say(folders):
    assert plan.available_memory() > 0
    made = make(folders / "llama", recipe(0.0))
    assert made.resolved.memory_bytes > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", [{}, {"lora_rank": 2}, {"gradient_checkpointing": True}], ids=str)
def test_a_timed_plan_measures_both_halves(folders, kind, model):
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    asked = recipe(model=model, prompts_per_step=2, group_size=4)
    made = plan.make(asked, asked.zero, folders / kind, timed=True)
    assert made.rollout_s > 0
    assert made.update_s > 0
    assert made.step_s == made.rollout_s + made.update_s
    assert made.as_dict()["step_s"] == made.step_s
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert make(folders / kind, asked).step_s is None


def test_time_grows_with_the_work(folders, monkeypatch):
    """The sums over answers, tokens and layers, with costs that are known."""
    monkeypatch.setattr(speed._Measured, "__call__", lambda self, layers: KNOWN)
    described, few = architecture("llama")[1], recipe(prompts_per_step=2, group_size=4, kl_coef=0.0)
    resolved = make(folders / "llama", few).resolved
    found = speed.measure(few, few.zero, described, resolved)
    assert found.rollout_s == pytest.approx(3.0 + 127 * 0.5)  # all 8 answers side by side
    stream = 8 * 128 + 2 * 64
    assert found.update_s == pytest.approx(0.2 * stream + 1e-6 * count(folders / "llama"))
    more = recipe(prompts_per_step=2, group_size=4, kl_coef=0.1, prefix_sharing=False)
    found = speed.measure(more, more.zero, described, resolved)
    assert found.update_s > 0.3 * (8 * 128 + 8 * 64)


def test_layers_are_added():
    small = speed._Costs(start=1.0, decode=2.0, forward=3.0, update=4.0, optimizer=5.0)
    large = speed._Costs(start=3.0, decode=2.5, forward=2.0, update=6.0, optimizer=4.0)
    got = speed._extended(small, large, 10.0)
    assert got == speed._Costs(start=21.0, decode=7.0, forward=3.0, update=24.0, optimizer=4.0)


KNOWN = speed._Costs(start=3.0, decode=0.5, forward=0.1, update=0.2, optimizer=1e-6)


def count(folder):
    from aha.models.load import count_parameters, describe

    return count_parameters(describe(folder))


def test_a_gpu_that_is_not_there_is_refused(folders):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="no GPU"):
        make(folders / "llama", recipe(model={"device": "cuda"}))
