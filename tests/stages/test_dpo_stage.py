"""The stage of pairs: learns, goes on after a kill to the same bytes, from files and stored rollouts."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from byte_words import tokenizer

from aha import config, files
from aha.config import DataConfig, DpoConfig, ModelConfig
from aha.data import templates
from aha.errors import ConfigError, DataError, RunError, Stopped
from aha.models import load as models
from aha.report.metrics import MetricsFile, comparable
from aha.stages import dpo, dpo_data, launch, off_policy
from aha.train.batch import Tree, Unit, to_batch

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
LAST = "checkpoints/step_000010/"
FILES = (
    "data.json",
    "reference.safetensors",
    LAST + "hf/model.safetensors",
    LAST + "state/optimizer.safetensors",
)


@pytest.fixture(autouse=True, scope="module")
def threads_as_before():
    """A stage sets them for its whole process."""
    kept = torch.get_num_threads()
    yield
    torch.set_num_threads(kept)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny language model with a byte-level tokenizer and a chat template."""
    import transformers as tf

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(3)
    made = tokenizer()
    described = tf.LlamaConfig(
        vocab_size=len(made), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        initializer_range=0.1, eos_token_id=made.eos_token_id, bos_token_id=None,
        pad_token_id=made.pad_token_id,
    )  # fmt: skip
    tf.LlamaForCausalLM(described).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def rows(count):
    """Polite answers are preferred; which of the two is longer alternates."""
    return [
        {
            "id": f"p{i}",
            "prompt": f"Is {NUMBERS[i % 8]} above {NUMBERS[i // 8 % 8]} ({i})?",
            "chosen": "Gladly: " + "no " * (i % 3),
            "rejected": "Bah! " + "no " * ((i + 1) % 3),
        }
        for i in range(count)
    ]


def recipe(folder, base, train, **keys):
    return config.resolve(
        {
            "name": "run",
            "run_dir": str(folder / "runs"),
            "threads": 1,
            "memory_gb": 4,
            "model": {"path": str(base), "device": "cpu"},
            "data": {"template": "chat", "max_bad_share": 0.5},
            "stage": {
                "prefer": {
                    "kind": "dpo",
                    "train": str(train),
                    "examples_per_step": 8,
                    "epochs": 2,
                    "max_tokens": 200,
                    "heldout_share": 0.2,
                    "checkpoint_every": 3,
                    "optim": {"lr": 3e-3},
                    **keys,
                }
            },
        }
    )


def run(made):
    root = Path(made.run_dir) / made.name
    launch.run(made, root, stage=None)
    return root / "prefer"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "p.jsonl"
    files.write_jsonl(path, rows(50))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base, data):
    return run(recipe(tmp_path_factory.mktemp("dpo"), base, data))


def assert_same(ours, theirs, names=FILES):
    for name in names:
        assert files.sha256(ours / name) == files.sha256(theirs / name), name
    lines = [MetricsFile(folder / "metrics.jsonl").rows() for folder in (ours, theirs)]
    assert [comparable(line) for line in lines[0]] == [comparable(line) for line in lines[1]]


def test_it_learns_what_holds_for_pairs_it_has_not_seen(whole):
    done = json.loads((whole / "DONE").read_text())
    assert done["step"] == 10  # 40 pairs, twice, eight a step
    assert done["heldout_loss_before"] == pytest.approx(
        0.693147, abs=1e-5
    )  # log 2: it is the reference
    assert done["heldout_accuracy_before"] == 0.5
    assert done["heldout_accuracy"] == 1
    assert done["heldout_loss"] < 0.4
    found = json.loads((whole / "data.json").read_text())
    assert (found["rows"], found["learned"], found["heldout"], found["dropped"]) == (50, 40, 10, {})
    assert 0.2 < found["lengths"]["longer_chosen_share"] < 0.8
    lines = MetricsFile(whole / "metrics.jsonl").rows()
    assert [line["step"] for line in lines] == list(range(11))
    assert sum(line["dpo/examples/sum"] for line in lines[1:]) == 80
    assert lines[-1]["dpo/margin/mean"] > lines[1]["dpo/margin/mean"]
    assert lines[-1]["dpo/kl/mean"] > 0
    assert lines[-1]["dpo/heldout/margin"] > lines[0]["dpo/heldout/margin"] == 0
    assert lines[-1]["dpo/heldout/kl"] > lines[0]["dpo/heldout/kl"] == 0
    assert not (whole / "mismatch.json").exists()  # these pairs have no sampler


def test_transformers_reads_the_model(whole):
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(whole / LAST / "hf").config.vocab_size == 260


@pytest.mark.parametrize("killed_at", [1, 5, 10])
def test_a_killed_run_goes_on_to_the_same_bytes(
    whole, tmp_path, base, data, monkeypatch, killed_at
):
    """In the first step, on the way between two checkpoints, in the last one."""
    made = recipe(tmp_path, base, data)
    step = dpo.PairTrainer.step

    def dies(self, pairs, number):
        if number + 1 == killed_at:
            raise KeyboardInterrupt
        return step(self, pairs, number)

    monkeypatch.setattr(dpo.PairTrainer, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    monkeypatch.setattr(dpo.PairTrainer, "step", step)
    torch.manual_seed(99)  # whatever the process did before
    assert_same(run(made), whole)


def test_the_reference_is_that_of_the_start_however_often_it_is_lost(whole, tmp_path, base, data):
    """Deleted after step 9 of 10: computed again before the checkpoint's weights come."""
    made = recipe(tmp_path, base, data)
    root = Path(made.run_dir) / made.name
    shutil.copytree(whole.parent, root)
    (root / "prefer" / "DONE").unlink()
    (root / "prefer" / "reference.safetensors").unlink()
    shutil.rmtree(root / "prefer" / LAST)
    # another folder in the recipe is another stage: take the fingerprint of this one
    from aha.stages import dag

    node = dag.graph(made)[0]
    files.write_json(root / "prefer" / "fingerprint.json", {"fingerprint": node.fingerprint})
    assert_same(run(made), whole)


def test_a_reference_of_other_pairs_is_refused(whole, tmp_path, base, data):
    made = recipe(tmp_path, base, data)
    stored = Path(made.run_dir) / "run" / "prefer" / "reference.safetensors"
    with pytest.raises(Stopped):
        stopped(made)
    assert files.sha256(stored) == files.sha256(whole / "reference.safetensors")
    text = stored.read_bytes()
    stored.write_bytes(text[:-9])
    with pytest.raises(RunError, match=r"is damaged .* delete it, it is computed again"):
        run(made)
    learned, _ = examples(made, base)
    stored.write_bytes(text)
    with pytest.raises(RunError, match="belongs to other pairs"):
        dpo.anchored(stored, None, learned[:-1], [], None)


def stopped(made, monkey=pytest.MonkeyPatch):
    class Asked:
        asked = True

    import contextlib

    with monkey.context() as patch:
        patch.setattr(dpo, "Stop", Asked)
        patch.setattr(dpo, "on_signal", lambda stop, console: contextlib.nullcontext())
        run(made)


def examples(made, base):
    loaded = models.load(base, made.model, dtype="float32")
    template = templates.load_template(made.data, loaded.tokenizer, generation_eos=loaded.eos_ids)
    rows = dpo_data.load_data(made.stage["prefer"], made.data, 0)
    found = dpo_data.examples_of(made.stage["prefer"], template, rows, "prefer")
    return found.learned, found.facts


def test_a_stop_is_saved_first(whole, tmp_path, base, data):
    made = recipe(tmp_path, base, data)
    with pytest.raises(Stopped, match="after step 1; everything is saved"):
        stopped(made)
    assert (Path(made.run_dir) / "run/prefer/checkpoints/step_000001/hf").is_dir()
    assert_same(run(made), whole)


def test_what_cannot_be_learned_is_counted_never_cut(tmp_path, base):
    made = rows(12)
    made[0] |= {"chosen": "x" * 300}
    made[1] |= {"rejected": made[1]["chosen"]}
    made[2] |= {"chosen": "so <|im_end|> it is"}
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
             {"role": "user", "content": "c"}]  # fmt: skip
    made[3] |= {"prompt": turns, "chosen": "d", "rejected": "e"}
    files.write_jsonl(tmp_path / "p.jsonl", [*made, {"prompt": "q"}])
    given = recipe(tmp_path, base, tmp_path / "p.jsonl", heldout_share=0)
    learned, facts = examples(given, base)
    wanted = {"rows": 13, "learned": 10, "too_long": 1, "ties": 1, "refused": 1, "broken": 1}
    wanted["learned"] = 9
    assert {key: facts[key] for key in wanted} == wanted
    decode = models.decoder(tokenizer())
    deep = decode(learned[0].chosen.prompt_ids)  # every turn, as the model's template writes it
    assert deep.count("<|im_start|>") == 4
    assert decode(learned[0].chosen.token_ids) == "d<|im_end|>"


@pytest.mark.parametrize(
    "keys, error, said",
    [
        ({"max_tokens": 2}, DataError, "prefer: none of 40 pairs can be learned: 50 are longer"),
        ({"max_tokens": 10**7}, ConfigError, r"stage\.prefer\.max_tokens"),
    ],
)
def test_what_cannot_work_says_why(tmp_path, base, data, keys, error, said):
    with pytest.raises(error, match=said):
        run(recipe(tmp_path, base, data, **keys))


def test_what_begins_alike_is_on_one_side(tmp_path):
    made = [row | {"prompt": f"q{i % 10}", "id": f"{i}"} for i, row in enumerate(rows(50))]
    files.write_jsonl(tmp_path / "p.jsonl", made)
    found = dpo_data.load_data(
        DpoConfig(train=str(tmp_path / "p.jsonl"), heldout_share=0.25), DataConfig(), 0
    )
    assert len(found.heldout) + len(found.learned) + found.counts["repeated"] == 50
    assert found.heldout
    assert not {one.root for one in found.learned} & {one.root for one in found.heldout}
    files.write_jsonl(tmp_path / "h.jsonl", made[:1])
    own = DpoConfig(train=str(tmp_path / "p.jsonl"), heldout=str(tmp_path / "h.jsonl"))
    found = dpo_data.load_data(own, DataConfig(), 0)
    assert len(found.heldout) == 1
    assert found.counts["shared"] > 0
    assert "q0" not in {one.root for one in found.learned}


def test_what_a_stage_of_pairs_takes_from_other_stages(tmp_path):
    """Of a sampling stage its pairs, not its dialogues; of an RL stage its folder, keys and all."""
    from aha.stages import start

    made = config.resolve(
        {
            "zero": {},
            "stage": {
                "kept": {"kind": "sample", "start": "stage:zero"},
                "prefer": {"kind": "dpo", "start": "stage:zero",
                           "train": ["stage:kept?n=5", "stage:zero?per_problem=2"]},
                "helpful": {"kind": "reward_model", "train": "stage:kept"},
                "rft": {"kind": "sft", "train": ["stage:zero?correct=true", "stage:kept"]},
            },
        }
    )  # fmt: skip
    seen = {name: start.view(made, name, Path("/r")) for name in made.stages()}
    assert seen["prefer"].stage["prefer"].train == [
        "/r/kept/pairs.jsonl?n=5",
        "/r/zero?per_problem=2",
    ]
    assert seen["prefer"].model.path == "/r/zero"
    assert seen["helpful"].stage["helpful"].train == "/r/kept/pairs.jsonl"
    assert seen["rft"].sft.train == ["/r/zero?correct=true", "/r/kept/dialogues.jsonl"]
    assert start.parents(made, "prefer") == ["zero", "kept"]


# -- stored rollouts --------------------------------------------------------------------------------------


def sampled(folder, base, *, temperature=0.7, end="<|im_end|>", prefill=""):
    """The folder of an RL stage whose answers "sampled" by `base`: its own log-probabilities."""
    loaded = models.load(base, ModelConfig(device="cpu"), dtype="float32")
    template = templates.load_template(DataConfig(template="chat"), loaded.tokenizer)
    rollouts = folder / "zero" / "rollouts"
    rollouts.mkdir(parents=True)
    for step in (1, 2):
        lines, table = [], {"prompt_id": [], "sample": [], "token_ids": [], "logprobs": []}
        for i, row in enumerate(rows(12)):
            for sample, text in enumerate((row["chosen"], row["rejected"], "Hm.")):
                question = f"{row['prompt']} {step}"
                prompt = templates.Prompt(id=row["id"], question=question, gold="")
                ids = loaded.tokenizer(text + end, add_special_tokens=False).input_ids
                tree = Tree(template.render(prompt).token_ids, [Unit(ids, {})])
                with torch.no_grad():
                    values = loaded.policy(to_batch([tree]).stream, temperature)[0].tolist()
                lines.append({
                    "prompt_id": row["id"], "sample": sample, "attempt": 0, "question": question,
                    "gold": "", "kind": "math", "source": "s", "lang": "", "domain": "d",
                    "prefill": prefill, "text": text, "tokens": len(ids), "stopped": "eos",
                    "status": "correct" if sample == 0 else "wrong", "reason": "",
                    "reward": 1.0 - 0.4 * sample - 0.1 * (i % 2), "valid": sample < 2 or i % 3 > 0,
                })  # fmt: skip
                for key, value in zip(table, (row["id"], sample, ids, values), strict=True):
                    table[key].append(value)
        name = rollouts / f"step_{step:06d}"
        files.write_jsonl(name.with_suffix(".jsonl"), lines)
        table["logprobs"] = pa.array(table["logprobs"], pa.list_(pa.float32()))
        pq.write_table(pa.table(table), name.with_suffix(".parquet"))
    asked = DataConfig(template="chat").model_dump()
    text = config.dump_toml({"data": asked, "zero": {"temperature": temperature}})
    (folder / "zero" / "config.toml").write_text(text)
    return folder / "zero"


@pytest.fixture(scope="module")
def zero(tmp_path_factory, base):
    return sampled(tmp_path_factory.mktemp("sampled"), base)


def test_stored_rollouts_are_pairs_by_their_own_ids(zero, tmp_path, base):
    """On the weights that sampled them the mismatch is 0 at the start, at their temperature."""
    stage = run(recipe(tmp_path, base, zero, heldout_share=0.2, optim={"lr": 1e-2}))
    facts = json.loads((stage / "data.json").read_text())
    assert (facts["stored_answers"], facts["as_sampled"], facts["refused"]) == (72, 24, 0)
    assert facts["dropped"] == {"grader_failed": 8, "spare": 16}
    found = json.loads((stage / "mismatch.json").read_text())
    assert (found["answers"], found["measured"], found["not_measured"]) == (40, 40, {})
    assert found["samplers"] == [
        {"stage": "zero", "answers": 40, "temperature": 0.7, "same_template": True}
    ]
    assert found["start"]["mean_log_ratio"] == pytest.approx(0, abs=1e-4)
    assert found["start"]["ess_share"] == pytest.approx(1, abs=1e-3)
    assert found["start"]["outside_share"] == 0
    assert found["end"]["ess_share"] < found["start"]["ess_share"]
    assert found["end"]["outside_share"] > 0
    done = json.loads((stage / "DONE").read_text())
    assert done["mismatch_ess_share_end"] == found["end"]["ess_share"]
    assert done["heldout_accuracy"] > 0.5


def test_a_killed_stage_has_the_same_mismatch(zero, tmp_path, base, monkeypatch):
    whole = run(recipe(tmp_path / "a", base, zero))
    step = dpo.PairTrainer.step

    def dies(self, pairs, number):
        if number == 4:
            raise KeyboardInterrupt
        return step(self, pairs, number)

    made = recipe(tmp_path / "b", base, zero)
    monkeypatch.setattr(dpo.PairTrainer, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    monkeypatch.setattr(dpo.PairTrainer, "step", step)
    assert "end" not in json.loads((Path(made.run_dir) / "run/prefer/mismatch.json").read_text())
    again = run(made)
    last = sorted((whole / "checkpoints").iterdir())[-1].name
    names = ("mismatch.json", "data.json", f"checkpoints/{last}/hf/model.safetensors", "DONE")
    assert_same(again, whole, names[:3])


@pytest.mark.parametrize("end, prefill", [("<|pad|>", ""), ("<|im_end|>", "<think>\n")])
def test_ids_of_another_model_are_written_anew_and_not_measured(tmp_path, base, end, prefill):
    """Another end of an answer, another beginning: the text is learned as this template writes it."""
    zero = sampled(tmp_path, base, end=end, prefill=prefill)
    stage = run(recipe(tmp_path, base, zero, epochs=0.5))
    facts = json.loads((stage / "data.json").read_text())
    assert (facts["as_sampled"], facts["learned"] + facts["heldout"]) == (0, 24)
    found = json.loads((stage / "mismatch.json").read_text())
    assert (found["measured"], found["start"], found["end"]) == (0, None, None)
    assert found["not_measured"] == {"other_tokens": 40}
    assert "not known" in off_policy.said("end", None)


def test_right_stored_answers_are_learned_as_dialogues(zero, tmp_path, base):
    """RFT: sft on `RL stage?correct=true`, each dropped sample counted, the mismatch measured."""
    raw = recipe(tmp_path, base, zero).model_dump(exclude={"stage"})
    raw["sft"] = {"train": f"{zero}?correct=true", "examples_per_step": 8, "max_tokens": 200,
                  "heldout_share": 0.2, "epochs": 3, "optim": {"lr": 1e-2}}  # fmt: skip
    made = config.resolve(raw)
    root = Path(made.run_dir) / made.name
    launch.run(made, root, stage=None)
    facts = json.loads((root / "sft" / "data.json").read_text())
    assert (facts["learned"] + facts["heldout"], facts["dropped"]) == (
        24, {"grader_failed": 8, "not_correct": 40})  # fmt: skip
    found = json.loads((root / "sft" / "mismatch.json").read_text())
    assert found["measured"] == facts["learned"] < 24  # not those that were held out
    assert found["start"]["mean_log_ratio"] == pytest.approx(0, abs=1e-4)
    assert found["end"]["mean_log_ratio"] > 0.1  # it learned these answers
    done = json.loads((root / "sft" / "DONE").read_text())
    assert done["heldout_loss"] < done["heldout_loss_before"]
    assert done["mismatch_mean_log_ratio_end"] == found["end"]["mean_log_ratio"]
