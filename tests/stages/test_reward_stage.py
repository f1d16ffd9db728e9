"""Training a reward model as a stage: learns, goes on after a stop to the same bytes, says what it is."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from byte_words import tokenizer

import aha
from aha import config, files
from aha.config import DataConfig, ModelConfig, OptimConfig, RewardTrainConfig
from aha.errors import ConfigError, DataError, DoesNotFit, RunError, Stopped
from aha.models.reward_model import RewardModel
from aha.report.console import Console
from aha.report.metrics import MetricsFile, comparable
from aha.stages import reward_data
from aha.stages import reward_model as stage
from aha.stages.stop import Stop


@pytest.fixture(autouse=True, scope="module")
def threads_as_before():
    """A stage sets them for its whole process."""
    kept = torch.get_num_threads()
    yield
    torch.set_num_threads(kept)


def words(folder, family="Llama"):
    """A tiny language model with a byte-level tokenizer, its weights not small."""
    import transformers as tf

    torch.manual_seed(3)
    made = tokenizer()
    config = getattr(tf, f"{family}Config")(
        vocab_size=len(made), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        initializer_range=0.1, eos_token_id=made.eos_token_id, bos_token_id=None,
        pad_token_id=made.pad_token_id,
    )  # fmt: skip
    getattr(tf, f"{family}ForCausalLM")(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")


def rows(count):
    """Polite answers are preferred; which of the two is longer alternates."""
    made = []
    for i in range(count):
        asked = f"Is {NUMBERS[i % 8]} above {NUMBERS[i // 8 % 8]} ({i})?"
        polite, rude = ("Gladly: " + "no " * (i % 3)), ("Bah! " + "no " * ((i + 1) % 3))
        made.append({"id": f"p{i}", "prompt": asked, "chosen": polite, "rejected": rude})
    return made


def settings(**more):
    values = {"train": "", "examples_per_step": 8, "max_tokens": 200, "heldout_share": 0.25,
              "checkpoint_every": 2, "epochs": 3.0, "optim": OptimConfig(lr=3e-3)}  # fmt: skip
    return RewardTrainConfig(**values | more)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return words(tmp_path_factory.mktemp("base"))


def train(folder, base, given, *, attempt=1, stop=None, model=None, seed=0, **more):
    folder.mkdir(exist_ok=True, parents=True)
    out = io.StringIO()
    with Console(stream=out) as console:
        facts = stage.run(
            given,
            name="helpful",
            seed=seed,
            model=model or ModelConfig(device="cpu"),
            data=DataConfig(max_bad_share=0.5),
            model_folder=base,
            folder=folder,
            console=console,
            stop=stop or Stop(),
            threads=1,
            memory_gb=4.0,
            attempt=attempt,
            **more,
        )
    return facts, out.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "p.jsonl"
    files.write_jsonl(path, rows(40))
    return str(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base, data):
    folder = tmp_path_factory.mktemp("whole") / "helpful"
    events = []
    facts, said = train(
        folder, base, settings(train=data), event=lambda kind, **more: events.append(kind)
    )
    return folder, facts, said, events


def test_it_learns_what_holds_for_pairs_it_has_not_seen(whole):
    folder, facts, said, events = whole
    assert facts["step"] == 12  # 30 pairs, three times, eight a step
    assert facts["heldout_loss"] < 0.3 * facts["heldout_loss_before"]
    assert facts["heldout_accuracy"] == 1
    report = json.loads((folder / "eval.json").read_text())
    assert (report["form"], report["pairs"]) == ("pairs", 10)
    assert report["accuracy"]["value"] == facts["heldout_accuracy"]
    assert report["loss"] == pytest.approx(facts["heldout_loss"], rel=1e-6)
    assert 0.2 < report["longer_chosen"]["value"] < 0.8
    assert "length alone" in said
    assert events == ["start", *["checkpoint"] * 7]
    found = json.loads((folder / "data.json").read_text())
    assert (found["rows"], found["learned"], found["heldout"]) == (40, 30, 10)


def test_metrics_are_those_declared_and_start_before_the_first_step(whole):
    folder = whole[0]
    lines = MetricsFile(folder / "metrics.jsonl").rows()
    assert [line["step"] for line in lines] == list(range(13))
    assert "rm/loss" not in lines[0]
    assert lines[0]["rm/heldout/loss"] > 0
    assert sum(line["rm/examples/sum"] for line in lines[1:]) == 90
    assert {line["data/epoch"] for line in lines[1:]} == {0, 1, 2}


def test_the_model_scores_what_the_evaluation_says(whole, data):
    folder, facts, *_ = whole
    model = RewardModel.load(folder / facts["model"])
    held = reward_data.load_data(settings(train=data), DataConfig(), 0).heldout
    better = model.score([(pair.question, pair.chosen) for pair in held])
    worse = model.score([(pair.question, pair.rejected) for pair in held])
    right = sum(a > b for a, b in zip(better, worse, strict=True))
    assert right / len(held) == facts["heldout_accuracy"]
    report = json.loads((folder / "eval.json").read_text())
    margins = [a - b for a, b in zip(better, worse, strict=True)]
    assert sum(margins) / len(margins) == pytest.approx(report["margin"], abs=1e-4)
    assert files.verify(folder / "model") is None


def test_transformers_reads_the_model(whole):
    from transformers import AutoModelForSequenceClassification

    found = AutoModelForSequenceClassification.from_pretrained(whole[0] / "model")
    assert found.config.num_labels == 1


@pytest.mark.parametrize("killed_at", [1, 3, 5, 12])
def test_a_killed_run_goes_on_to_the_same_bytes(
    whole, tmp_path, base, data, monkeypatch, killed_at
):
    """Killed in a step, after a checkpoint or on the way to one, and in the last one."""
    step = stage.ScoreTrainer.step

    def dies(self, examples, number):
        if number + 1 == killed_at:
            raise KeyboardInterrupt
        return step(self, examples, number)

    monkeypatch.setattr(stage.ScoreTrainer, "step", dies)
    folder = tmp_path / "helpful"
    with pytest.raises(KeyboardInterrupt):
        train(folder, base, settings(train=data))
    monkeypatch.setattr(stage.ScoreTrainer, "step", step)
    torch.manual_seed(99)  # whatever the process did before
    train(folder, base, settings(train=data), attempt=2)
    assert_same(folder, whole[0])


def assert_same(ours, theirs):
    names = ["data.json", "eval.json", "model/model.safetensors", "model/config.json"]
    last = "checkpoints/step_000012/"
    names += [last + "hf/model.safetensors", last + "state/optimizer.safetensors"]
    for name in names:
        assert files.sha256(ours / name) == files.sha256(theirs / name), name
    lines = [MetricsFile(folder / "metrics.jsonl").rows() for folder in (ours, theirs)]
    assert [comparable(line) for line in lines[0]] == [comparable(line) for line in lines[1]]


def test_killed_after_the_last_checkpoint_the_end_is_written(whole, tmp_path):
    """Without evaluation and model: both are made again from the checkpoint, to the same bytes."""
    shutil.copytree(whole[0], tmp_path / "helpful")
    (tmp_path / "helpful" / "eval.json").unlink()
    shutil.rmtree(tmp_path / "helpful" / "model")
    # the model to start from is read again, but for its weights the checkpoint's are taken
    start = words(tmp_path / "again")
    given = json.loads((whole[0].parent / "helpful" / "data.json").read_text())
    assert given["learned"] == 30
    config = settings(train=str(write_again(tmp_path)))
    facts, _ = train(tmp_path / "helpful", start, config, attempt=2)
    assert facts == whole[1]
    assert_same(tmp_path / "helpful", whole[0])


def write_again(folder):
    files.write_jsonl(folder / "p.jsonl", rows(40))
    return folder / "p.jsonl"


def test_a_stop_is_saved_first(whole, tmp_path, base, data):
    folder = tmp_path / "helpful"
    with pytest.raises(Stopped, match="after step 1; everything is saved"):
        train(folder, base, settings(train=data), stop=Stop(asked=True))
    assert (folder / "checkpoints" / "step_000001" / "hf").is_dir()
    assert not (folder / "model").exists()
    _, said = train(folder, base, settings(train=data), attempt=2)
    assert "resuming from step_000001 (attempt 2)" in said
    assert_same(folder, whole[0])


def test_a_damaged_checkpoint_is_passed_over_and_none_is_refused(tmp_path, base, data):
    folder = tmp_path / "helpful"
    given = settings(train=data, epochs=1.0, keep_last=9)
    train(folder, base, given)
    last = folder / "checkpoints" / "step_000004" / "hf" / "model.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    _, said = train(folder, base, given, attempt=2)
    assert "is damaged" in said
    assert "resuming from step_000002" in said
    for path in (folder / "checkpoints").glob("step_*"):
        (path / "manifest.json").unlink()
    with pytest.raises(RunError, match="is whole"):
        train(folder, base, given, attempt=3)


def test_labels_are_learned_too(tmp_path, base):
    made = [
        {"prompt": f"How ({i})?", "response": f"{NUMBERS[i % 8]} " + ("Sorry." if i % 3 else "Burn!"),
         "safe": bool(i % 3)}
        for i in range(48)
    ]  # fmt: skip
    files.write_jsonl(tmp_path / "l.jsonl", made)
    given = settings(train=str(tmp_path / "l.jsonl"), form="labels", part="whole")
    facts, said = train(tmp_path / "harmless", base, given)
    report = json.loads((tmp_path / "harmless" / "eval.json").read_text())
    assert (report["form"], report["labels"]) == ("labels", 12)
    found = json.loads((tmp_path / "harmless" / "data.json").read_text())
    assert found["safe"] == {"learned": sum(bool(i % 3) for i in range(48)) - found["safe"]["heldout"]} | {
        "heldout": round(12 * report["safe_share"]["value"])
    }  # fmt: skip
    assert f"36 labels, {found['safe']['learned']} of them safe" in said
    assert report["where_safe"]["value"] == report["where_unsafe"]["value"] == 1
    assert report["auc"]["value"] == 1
    assert facts["heldout_accuracy"] == report["accuracy"]["value"] > report["safe_share"]["value"]
    assert "AUC" in said
    model = RewardModel.load(tmp_path / "harmless" / "model")
    good, bad = model.score([("How (99)?", "two Sorry."), ("How (99)?", "two Burn!")], part="whole")
    assert good > 0 > bad


def test_labels_need_both_kinds(tmp_path, base):
    made = [{"prompt": f"How ({i})?", "response": "Sorry.", "safe": False} for i in range(8)]
    files.write_jsonl(tmp_path / "l.jsonl", [*made, made[0] | {"prompt": "?", "safe": None}])
    given = settings(train=str(tmp_path / "l.jsonl"), form="labels", heldout_share=0)
    with pytest.raises(DataError, match=r"helpful: all 8 labels .* say not safe; .* needs both"):
        train(tmp_path / "helpful", base, given)
    # the other way round: one label short of it, and the row without a label is counted
    files.write_jsonl(tmp_path / "l.jsonl", [*made, made[0] | {"prompt": "?", "safe": None},
                                             made[0] | {"safe": True, "response": "Burn!"}])  # fmt: skip
    _, said = train(tmp_path / "helpful", base, given)
    assert "9 labels, 1 of them safe" in said
    assert "1 without a label" in said


def test_what_is_read_is_what_will_be_scored(tmp_path, base):
    """The summary alone, as RewardModel.score reads it; what has none is counted, not guessed."""
    made = rows(8)
    made[0] |= {"chosen": "<think>hm</think> Gladly", "rejected": "<think>oh</think> Bah!"}
    made[1] |= {"chosen": "<think>hm", "rejected": "Bah!"}
    made[2] |= {"chosen": "x" * 300}
    made[3] |= {"rejected": made[3]["chosen"]}
    files.write_jsonl(tmp_path / "p.jsonl", [*made, {"prompt": "q"}])
    given = settings(train=str(tmp_path / "p.jsonl"), heldout_share=0, epochs=0.1)
    train(tmp_path / "helpful", base, given)
    found = json.loads((tmp_path / "helpful" / "data.json").read_text())
    assert {key: found[key] for key in ("rows", "learned", "no_summary", "too_long", "ties", "broken")} == {
        "rows": 9, "learned": 5, "no_summary": 1, "too_long": 1, "ties": 1, "broken": 1,
    }  # fmt: skip
    assert json.loads((tmp_path / "helpful" / "eval.json").read_text()) == {}
    scorer = RewardModel.from_base(base)
    items = reward_data.load_data(given, DataConfig(max_bad_share=0.5), 0).learned
    one = reward_data.example_of(given, scorer, items[0])
    values = scorer.values([one.chosen_ids, one.rejected_ids]).tolist()
    scored = scorer.score([(items[0].question, made[0][side]) for side in ("chosen", "rejected")])
    assert values == pytest.approx(scored, abs=1e-5)
    assert one.chosen_tokens == len("Gladly")  # bytes of the summary


def test_what_begins_alike_is_on_one_side(tmp_path, base):
    """Six pairs to each question, one of them deeper in the dialogue: never split."""
    made = []
    for i in range(8):
        for j in range(6):
            prompt = [{"role": "user", "content": f"q{i}"}]
            if j == 5:
                more = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
                prompt += more
            made.append({"prompt": prompt, "chosen": f"Gladly {j}", "rejected": "Bah!"})
    files.write_jsonl(tmp_path / "p.jsonl", made)
    given = settings(train=str(tmp_path / "p.jsonl"))
    found = reward_data.load_data(given, DataConfig(), 0)
    assert (len(found.learned), len(found.heldout)) == (36, 12)
    assert not {one.root for one in found.learned} & {one.root for one in found.heldout}
    assert found.heldout != reward_data.load_data(given, DataConfig(), 1).heldout
    files.write_jsonl(tmp_path / "h.jsonl", made[:2])
    own = settings(train=str(tmp_path / "p.jsonl"), heldout=str(tmp_path / "h.jsonl"))
    found = reward_data.load_data(own, DataConfig(), 0)
    assert (len(found.learned), len(found.heldout), found.counts["shared"]) == (42, 2, 6)


def test_training_goes_on_from_a_reward_model(whole, tmp_path, data):
    folder, facts, *_ = whole
    again, _ = train(tmp_path / "more", folder / "model", settings(train=data, epochs=0.2))
    assert again["heldout_loss_before"] == pytest.approx(facts["heldout_loss"], rel=1e-4)


def test_recomputed_activations_give_the_same_model(whole, tmp_path, base, data):
    config = ModelConfig(device="cpu", gradient_checkpointing=True)
    facts, _ = train(tmp_path / "helpful", base, settings(train=data), model=config)
    assert facts["heldout_loss"] == pytest.approx(whole[1]["heldout_loss"], rel=1e-3)


def test_the_embedded_base_can_be_trained(tmp_path):
    """Its architecture (latent attention, experts) has a classifier in transformers too."""
    from aha.models.locate import locate

    files.write_jsonl(tmp_path / "p.jsonl", rows(12))
    given = settings(train=str(tmp_path / "p.jsonl"), epochs=2.0, optim=OptimConfig(lr=1e-3))
    facts, _ = train(tmp_path / "helpful", locate("aha:base"), given)
    assert facts["heldout_loss"] < facts["heldout_loss_before"]
    assert RewardModel.load(tmp_path / "helpful" / "model").score([("a", "b")])[0] is not None


@pytest.mark.parametrize(
    "more, model, error, said",
    [
        ({"center": 0.01, "form": "labels"}, {}, ConfigError, r"helpful\.center is for pairs"),
        ({}, {"lora_rank": 4}, ConfigError, "trained whole"),
        ({"max_tokens": 2}, {}, DataError, "none of 30 pairs can be learned: 40 are longer"),
        ({"max_tokens": 10**7}, {}, DoesNotFit, r"helpful\.max_tokens lower"),
    ],
)
def test_what_cannot_work_says_why(tmp_path, base, data, more, model, error, said):
    config = ModelConfig(device="cpu", **model)
    with pytest.raises(error, match=said):
        train(tmp_path / "helpful", base, settings(train=data, **more), model=config)


def test_the_schedule_is_kept_where_memory_changes(whole, tmp_path, base, data):
    """A resumed run has the micro-batches of its first start, whatever is free now."""
    folder = tmp_path / "helpful"
    folder.mkdir()
    shutil.copy(whole[0] / "resolved.json", folder)
    saved = json.loads((folder / "resolved.json").read_text())
    saved["resolved"]["micro_tokens"] = 128
    files.write_json(folder / "resolved.json", saved)
    _, said = train(folder, base, settings(train=data))
    assert "micro-batches of 128 tokens" in said
    lines = [MetricsFile(f / "metrics.jsonl").rows() for f in (folder, whole[0])]
    for ours, theirs in zip(*lines, strict=True):  # and the loss does not depend on them
        if "rm/loss" in ours:
            assert ours["rm/loss"] == pytest.approx(theirs["rm/loss"], abs=2e-3)


RECIPE = Path(aha.__file__).parents[1] / "recipes" / "reward_models_hh.toml"


@pytest.mark.parametrize("name, kind", [("helpful", "pairs"), ("harmless", "labels")])
def test_the_shipped_recipe_reads_the_form_of_hh(tmp_path, monkeypatch, name, kind):
    """Its keys are those of the reader; without the data it says which file is not there."""
    monkeypatch.chdir(tmp_path)
    given = config.load(RECIPE).stage[name]
    with pytest.raises(DataError, match=rf"no data at hh-rlhf/{name}-base/train\.jsonl\.gz"):
        reward_data.load_data(given, DataConfig(), 0)
    turn = "\n\nHuman: {}?\n\nAssistant: {}"
    for part, first in (("train", 0), ("test", 90)):
        made = [
            {"chosen": turn.format(i, "Gladly."), "rejected": turn.format(i, "Bah!")}
            for i in range(first, first + 4)
        ]
        files.write_jsonl(tmp_path / f"{part}.jsonl", made)
    query = given.train.partition("?")[2]
    again = config.load(
        RECIPE,
        [
            f"stage.{name}.train={tmp_path}/train.jsonl?{query}",
            f"stage.{name}.heldout={tmp_path}/test.jsonl?{query}",
        ],
    ).stage[name]
    found = reward_data.load_data(again, DataConfig(), 0)
    assert again.form == kind
    assert len(found.learned) == len(found.heldout) == (4 if kind == "pairs" else 8)
    alone = config.load(RECIPE, [f"stage.{name}.heldout="]).stage[name]
    assert alone.heldout == ""
