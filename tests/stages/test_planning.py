"""A plan of every stage: what is there is read, what is not there yet has a bound, nothing is written."""

import json

import pytest
import torch
from byte_words import tokenizer
from tiny import described

from aha import files
from aha.config import resolve
from aha.data import templates
from aha.errors import ConfigError, DataError, DoesNotFit
from aha.stages import dag, planning, sft


def small(folder, layers=2, kind="llama"):
    """A model folder with a tokenizer, few weights."""
    made = tokenizer()
    cls, config = described(kind, vocab_size=len(made), num_hidden_layers=layers, eos_token_id=256)
    config.max_position_embeddings = 512
    cls(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def count(folder):
    from transformers import AutoModelForCausalLM

    return sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(folder).parameters())


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The model that is trained, and a larger one."""
    root = tmp_path_factory.mktemp("models")
    return small(root / "small"), small(root / "larger", layers=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    dialogues = [
        {"question": f"q{i}?", "response": "<think>\nx\n</think>\n\n" + "y" * i} for i in range(30)
    ]
    pairs = [
        {"prompt": f"q{i}?", "chosen": "good " * (i % 5 + 1), "rejected": "bad"} for i in range(30)
    ]
    files.write_jsonl(folder / "dialogues.jsonl", dialogues)
    files.write_jsonl(folder / "pairs.jsonl", pairs)
    return folder


RL = {"steps": 4, "minibatches": 2, "prompts_per_step": 2, "group_size": 4, "max_answer_tokens": 8,
      "preflight": 0, "checkpoint_every": 2, "eval": {"problems": 3, "samples": 2}}  # fmt: skip


def recipe(model, data, stage, **more):
    raw = {
        "name": "r",
        "threads": 1,
        "memory_gb": 4.0,
        "model": {"path": str(model)},
        "data": {"max_prompt_tokens": 16, "template": "chat"},
        "zero": RL,
        "stage": stage,
        "run_dir": str(data / "runs"),
    }
    return resolve(raw | more)


def every_kind(model, data, **more):
    """RL, sampling, and all that learns what is not there yet."""
    stage = {
        "keep": {"kind": "sample", "start": "stage:zero", "problems": 40, "samples": 6,
                 "per_problem": 4, "max_answer_tokens": 8},
        "learn": {"kind": "sft", "train": ["stage:keep?n=50", str(data / "dialogues.jsonl")],
                  "max_tokens": 100, "examples_per_step": 8, "epochs": 2, "heldout_share": 0},
        "prefer": {"kind": "dpo", "train": "stage:keep", "start": "stage:learn", "max_tokens": 60,
                   "examples_per_step": 16},
        "helpful": {"kind": "reward_model", "train": str(data / "pairs.jsonl"), "max_tokens": 60,
                    "examples_per_step": 8, "part": "whole", "heldout_share": 0.2},
        "last": {"kind": "rl", "start": "stage:prefer", **RL,
                 "reward_models": {"helpful": {"path": "stage:helpful"}},
                 "rewards": {"accuracy": 1.0, "helpful": 1.0}},
    }  # fmt: skip
    return recipe(model, data, stage, **more)


def planned(made, *stages, **how):
    return planning.facts(made, stages, root=files_of(made), **how)


def files_of(made):
    from pathlib import Path

    return Path(made.run_dir) / made.name


def test_every_stage_is_planned_before_any_is_there(models, data):
    found = planned(every_kind(models[0], data))
    stages = found["stages"]
    assert list(stages) == ["zero", "keep", "learn", "prefer", "helpful", "last"]
    parameters = count(models[0])
    for name, stage in stages.items():
        assert stage["parameters"] == parameters, name
        assert stage["total_bytes"] > 0
        assert stage["seconds"] is None
        assert (stage["state"], stage["to_do"]) == ("to do", True)
    assert not (data / "runs").exists()
    assert json.loads(json.dumps(found)) == found


def test_what_is_not_there_yet_counts_as_the_most_there_can_be(models, data):
    stages = planned(every_kind(models[0], data))["stages"]
    # 40 problems, 4 kept of each, but the recipe takes 50; and 30 that are there
    assert (stages["learn"]["examples"], stages["learn"]["bound"]) == (80, True)
    assert stages["learn"]["steps"] == 20  # 160 of 8
    assert stages["learn"]["tokens_trained"] >= 2 * 50 * 100
    # two of six answers make a pair: three pairs of a problem
    assert (stages["prefer"]["examples"], stages["prefer"]["steps"]) == (40 * 3, 8)
    assert stages["prefer"]["tokens_trained"] == 120 * 2 * 60
    assert stages["keep"]["tokens_sampled"] == 40 * 6 * 8
    # 4 steps of 2 x 4 answers, and 2 evaluations of 3 x 2
    assert stages["zero"]["tokens_sampled"] == 4 * 64 + 2 * 6 * 8
    assert stages["zero"]["tokens_trained"] == 4 * (64 + 2 * 16)
    assert stages["helpful"]["bound"] is False
    assert 20 <= stages["helpful"]["examples"] <= 24


def test_data_that_is_there_is_counted_as_the_stage_counts_it(models, data):
    made = recipe(models[0], data, {"learn": {"kind": "sft", "train": str(data / "dialogues.jsonl"),
                                              "max_tokens": 90, "epochs": 1}})  # fmt: skip
    stage = planned(made, "learn")["stages"]["learn"]
    seen = made.model_copy(update={"sft": made.stage["learn"]})
    template = templates.load_template(made.data, tokenizer(), generation_eos=())
    exact = sft.examples_of(seen.sft, template, sft.read_data(seen, seen.sft)).facts
    assert stage["bound"] is False
    assert stage["examples"] == exact["learned"]
    assert stage["tokens_trained"] == exact["tokens"] + exact["prompt_tokens"]


def test_a_model_has_the_architecture_that_its_chain_begins_with(models, data):
    less, more = models
    stages = {
        "student": {"kind": "rl", "start": str(more), **RL},
        "again": {"kind": "rl", "start": "stage:student", **RL},
        "grown": {"kind": "rl", "start": "stage:pretrain", **RL},
        "base": {"kind": "rl", **RL},
    }
    width = {"architecture": "llama", "hidden": 32, "layers": 2, "heads": 2, "vocab_size": 400,
             "tokens": 4000, "context": 32, "batch_tokens": 64, "dense_width": 48}  # fmt: skip
    found = planned(recipe(less, data, stages, pretrain=width, zero=None))["stages"]
    assert found["student"]["parameters"] == found["again"]["parameters"] == count(more)
    assert found["base"]["parameters"] == count(less) < count(more)
    assert found["grown"]["parameters"] == found["pretrain"]["parameters"]
    # embedding (tied), attention, gated MLP and two norms of each block, and the last norm
    assert found["pretrain"]["parameters"] == 400 * 32 + 2 * (4 * 32**2 + 3 * 32 * 48 + 64) + 32
    assert (found["pretrain"]["steps"], found["pretrain"]["tokens_trained"]) == (63, 4000)


def done(root, made, *names):
    """Mark stages as done, as they are when they end."""
    for node in dag.graph(made):
        if node.name in names:
            files.write_json(root / node.name / dag.FINGERPRINT, {"fingerprint": node.fingerprint})
            files.write_json(root / node.name / dag.DONE, {})


def test_what_is_done_is_not_planned_and_its_model_is_the_real_one(models, data, tmp_path):
    made = every_kind(models[0], data, run_dir=str(tmp_path))
    root = tmp_path / "r"
    small(root / "zero" / "model", layers=3)  # larger than the one it started from
    done(root, made, "zero")
    found = planned(made, "keep")
    assert found["stages"]["zero"] == {"kind": "rl", "state": "done", "to_do": False}
    assert found["stages"]["keep"]["parameters"] == count(models[1])
    assert (found["total"]["stages"], found["total"]["to_do"]) == (2, 1)
    again = planned(made, "keep", redo=["zero"])
    assert again["stages"]["zero"]["state"] == "again"
    assert again["stages"]["keep"]["parameters"] == count(models[0])
    assert again["total"]["to_do"] == 2
    with pytest.raises(ConfigError, match=r"--from last: only zero, keep would run"):
        planned(made, "keep", redo=["last"])


def test_written_dialogues_of_a_stage_that_is_done_are_read(models, data, tmp_path):
    made = every_kind(models[0], data, run_dir=str(tmp_path))
    small(tmp_path / "r" / "zero" / "model")
    rows = [{"question": "q", "response": f"r {i}"} for i in range(7)]
    files.write_jsonl(tmp_path / "r" / "keep" / "dialogues.jsonl", rows)
    done(tmp_path / "r", made, "zero", "keep")
    stage = planned(made, "learn")["stages"]["learn"]
    assert (stage["examples"], stage["bound"]) == (37, False)


def test_the_total_is_that_of_the_stages(models, data):
    found = planned(every_kind(models[0], data))
    total, stages = found["total"], found["stages"].values()
    assert total["disk_bytes"] == sum(stage["disk_bytes"] for stage in stages) > 0
    assert total["memory_bytes"] == max(stage["total_bytes"] for stage in stages)
    for key in ("tokens_sampled", "tokens_trained"):
        assert total[key] == sum(stage[key] for stage in stages) > 0
    assert total["bound"] is True
    assert total["not_timed"] == list(found["stages"])
    text = planning.text(found)
    for name in found["stages"]:
        assert f"\n{name} (" in text
    assert text.splitlines()[-1].startswith("total: 6 of 6 stages to do; memory ")
    assert "time" not in text.splitlines()[-1]


def test_reward_models_are_counted_in_the_memory_of_the_stage_that_asks_them(models, data):
    stages = planned(every_kind(models[0], data))["stages"]
    assert stages["last"]["parts"]["reward models"] == 4 * count(models[0])
    assert "reward models" not in stages["zero"]["parts"]


def test_a_checkpoint_is_as_large_as_it_was_said_to_be(models, data):
    """Weights and what goes on from them; kept ones, the best, and one that is being written."""
    stage = planned(every_kind(models[0], data), "zero")["stages"]["zero"]
    assert stage["checkpoint_bytes"] == (4 + 12 + 4) * count(models[0])
    assert stage["checkpoints"] == 3  # before the first step, after two, after four
    assert stage["disk_bytes"] == 3 * stage["checkpoint_bytes"]


@pytest.mark.parametrize("stage", ["zero", "keep", "learn", "prefer", "helpful"])
def test_what_does_not_fit_is_named(models, data, stage):
    with pytest.raises(DoesNotFit, match=r"^[a-z]+: .*does not fit"):
        planned(every_kind(models[0], data, memory_gb=0.1), stage)


def test_data_that_nobody_makes_must_be_there(models, data):
    made = recipe(models[0], data, {"learn": {"kind": "sft", "train": str(data / "nothing.jsonl")}})
    with pytest.raises(DataError, match=r"nothing\.jsonl"):
        planned(made, "learn")


def test_a_timed_plan_measures_every_kind(models, data):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    width = {"hidden": 32, "layers": 2, "heads": 2, "vocab_size": 400, "tokens": 4000,
             "context": 32, "batch_tokens": 64}  # fmt: skip
    found = planned(every_kind(models[0], data, pretrain=width), timed=True)
    for name, stage in found["stages"].items():
        assert stage["seconds"] > 0, name
    assert found["total"]["not_timed"] == []
    seconds = [stage["seconds"] for stage in found["stages"].values()]
    assert found["total"]["seconds"] == pytest.approx(sum(seconds))
    rl = found["stages"]["zero"]  # two phases, and 12 held-out answers where a phase has 16
    assert rl["seconds"] == pytest.approx(2 * rl["step_s"] + rl["rollout_s"] * 12 / 16)
    learn = found["stages"]["learn"]
    assert learn["seconds"] == pytest.approx(learn["steps"] * learn["update_s"])
    text = planning.text(found)
    assert "time at most" in text.splitlines()[-1]
    assert text.count("measured here") >= len(seconds)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_sampling_stage_of_what_people_wrote_samples_nothing(models, data):
    keep = {"kind": "sample", "written": str(data / "dialogues.jsonl")}
    learn = {"kind": "sft", "train": "stage:keep"}
    stages = planned(recipe(models[0], data, {"keep": keep, "learn": learn}), "learn")["stages"]
    assert stages["keep"]["tokens_sampled"] == 0
    assert "30 dialogues" in stages["keep"]["notes"][0]
    assert (stages["learn"]["examples"], stages["learn"]["bound"]) == (30, True)
