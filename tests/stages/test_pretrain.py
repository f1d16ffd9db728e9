import json
import math

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from aha import config
from aha.data import corpus
from aha.errors import ConfigError, RunError, Stopped
from aha.evals.run import Result
from aha.files import sha256, verify
from aha.stages import pretrain
from aha.stages.pretrain_gates import BOUNDS, TASK, _last, _steps, gates, summarise, verdicts
from aha.stages.pretrain_gates import lines as gate_lines

STEPS = 6


def tiny(**changes):
    fields = {
        "tokens": STEPS * 128,
        "vocab_size": 800,
        "corpus_documents": 200,
        "context": 64,
        "batch_tokens": 128,
        "hidden": 32,
        "heads": 2,
        "layers": 2,
        "experts": 4,
        "expert_width": 16,
        "dense_width": 32,
        "checkpoint_every": 3,
        "bias_rate": 0.01,
        "optim": {"lr": 1e-2, "schedule": "cosine", "warmup_steps": 2, "weight_decay": 0.1},
    }
    fields.update(changes)
    fields["tokens"] = max(fields["tokens"], 1000) if "tokens" not in changes else fields["tokens"]
    return config.resolve({"name": "tiny", "seed": 3, "threads": 1, "pretrain": fields})


def run(recipe, folder, **options):
    return pretrain.run(recipe, folder, measure=False, **options)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    lines = []
    return run(tiny(), folder, log=lines.append), lines, folder


def test_the_result_is_a_model_folder(unbroken):
    model_folder, lines, _ = unbroken
    assert verify(model_folder) is None
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    assert model.config.model_type == "deepseek_v3"
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert (model.generation_config.temperature, model.generation_config.top_p) == (0.6, 0.95)
    with safe_open(model_folder / "model.safetensors", "pt") as file:
        assert list(file.metadata()) == ["format"]
    said = json.loads((model_folder / "provenance.json").read_text("utf-8"))
    assert said["sha256"]["model.safetensors"] == sha256(model_folder / "model.safetensors")
    assert said["tokens"] == sum(line["pretrain/tokens/sum"] for line in lines)
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))


def test_loading_gives_the_trained_model(unbroken):
    model_folder, _, folder = unbroken
    trainer = pretrain.Trainer(
        tiny().pretrain, 3, AutoTokenizer.from_pretrained(folder / "tokenizer")
    )
    trainer.resume(folder / "checkpoints")
    ids = torch.arange(40).reshape(2, 20) + 5
    with torch.no_grad():
        trained = trainer.model.eval()(ids).logits
        loaded = AutoModelForCausalLM.from_pretrained(model_folder)(ids).logits
    torch.testing.assert_close(loaded, trained, atol=1e-5, rtol=1e-5)
    assert trainer.balance.routers[0].e_score_correction_bias.abs().sum() > 0


def test_stop_and_resume_give_the_same_bytes(unbroken, tmp_path):
    whole, lines, _ = unbroken
    steps = iter(range(1, 100))
    with pytest.raises(Stopped, match="saved"):
        run(tiny(), tmp_path, stop=lambda: next(steps) == 4)
    again = []
    result = run(tiny(), tmp_path, log=again.append)
    assert [line["step"] for line in again] == [line["step"] for line in lines[4:]]
    assert sha256(result / "model.safetensors") == sha256(whole / "model.safetensors")
    kept = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    volatile = {"rate/update_tokens_per_s", "attempt", "time"}
    for one, two in zip(kept, lines, strict=True):
        assert {k: v for k, v in one.items() if k not in volatile} == {
            k: v for k, v in two.items() if k not in volatile
        }
    assert [line["attempt"] for line in kept] == [1] * 4 + [2] * (len(lines) - 4)


def test_a_kill_after_a_checkpoint_replays_from_it(unbroken, tmp_path):
    whole, lines, _ = unbroken

    def die(line):
        if line["step"] == 5:  # two steps past the checkpoint at 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path, log=die)
    result = run(tiny(), tmp_path)
    assert sha256(result / "model.safetensors") == sha256(whole / "model.safetensors")
    kept = [json.loads(x)["step"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kept == [line["step"] for line in lines]


def test_done_work_is_not_done_again(unbroken):
    folder = unbroken[2]
    before = (folder / "metrics.jsonl").stat().st_mtime_ns
    run(tiny(), folder, log=lambda line: pytest.fail("it trained again"))
    assert (folder / "metrics.jsonl").stat().st_mtime_ns == before


def test_broken_checkpoints_are_named(tmp_path):
    steps = iter(range(1, 100))
    with pytest.raises(Stopped):
        run(tiny(), tmp_path, stop=lambda: next(steps) == 1)
    (tmp_path / "checkpoints/step_000001/optimizer.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match="step_000001"):
        run(tiny(), tmp_path)


def test_the_loss_is_cross_entropy_of_the_next_token():
    recipe = tiny()
    trainer_model = pretrain.build(recipe.pretrain, seed=0, pad=1, eos=0)
    tokens = torch.randint(0, 800, (2, 9), generator=torch.Generator().manual_seed(0))
    logits = trainer_model(tokens).logits.detach()
    total = 0.0
    for row in range(2):
        for t in range(8):
            p = torch.softmax(logits[row, t], 0)[tokens[row, t + 1]]
            total -= math.log(float(p)) / 16
    loss = pretrain.next_token_loss(trainer_model, tokens)
    assert float(loss.detach().mean()) == pytest.approx(total, rel=1e-5)


def test_numbers_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="batch_tokens"):
        run(tiny(batch_tokens=100), tmp_path)
    with pytest.raises(ConfigError, match="pretrain"):
        run(config.resolve({"zero": {}}), tmp_path)


def test_the_loss_is_told_by_kind_of_document(unbroken):
    model_folder, lines, _ = unbroken
    kinds = tuple(corpus.KINDS)
    for line in lines:
        told = [line[f"pretrain/loss/{kind}"] for kind in kinds]
        known = [loss for loss in told if loss is not None]
        assert min(known) - 1e-4 <= line["pretrain/loss"] <= max(known) + 1e-4
    said = json.loads((model_folder / "provenance.json").read_text("utf-8"))
    for kind in kinds:
        known = [x for line in lines if (x := line[f"pretrain/loss/{kind}"]) is not None]
        if known:
            assert said["loss_at_the_end"][kind] == pytest.approx(sum(known) / len(known), abs=1e-3)


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_students_have_their_own_architecture(architecture, tmp_path):
    changes = {"architecture": architecture, "hidden": 32, "heads": 4, "kv_heads": 2}
    lines = []
    result = run(tiny(**changes), tmp_path, log=lines.append)
    model = AutoModelForCausalLM.from_pretrained(result)
    assert model.config.model_type == architecture
    assert model.config.num_key_value_heads == 2
    assert {line["pretrain/expert_load/max"] for line in lines} == {None}
    assert lines[-1]["pretrain/loss"] < lines[0]["pretrain/loss"]


def test_the_gates_run_on_an_untrained_model(unbroken):
    table = gates(unbroken[0], problems_n=2, samples=3, drills_n=4, tokens=8)
    assert table["pass@1"] == 0.0
    passed = verdicts(table)
    assert passed["drills_right"] is False
    assert set(passed) == set(BOUNDS) <= set(table)
    text = "\n".join(gate_lines(table))
    assert "NO" in text
    assert "95% or more" in text


def test_the_gates_are_those_of_the_samples():
    def row(problem, response, gold, status):
        return {
            "problem": problem,
            "response": response,
            "prefill": "",
            "gold": gold,
            "status": status,
            "correct": status == "correct",
        }

    rows = [
        row("a", "<think> 2 * 3 = 6. </think> <answer> 6 </answer>", "6", "correct"),
        row("a", "It is 6. User: What is 9?", "6", "unparsed"),
        row("b", "2 * 3 = 5. Wait, 2 * 3 = 6. So \\boxed{6}", "8", "wrong"),
        row("b", "About 5.", "8", "unparsed"),
    ]
    result = Result({"tokens_mean": 9.25}, {}, {"domain": {"sums": {"pass_at_1": 0.25}}})
    table = summarise(rows, result, 2)
    assert (table["pass@1"], table["pass@k"], table["informative"]) == (0.25, 0.5, 0.5)
    assert (table["format_rate"], table["parsed"]) == (0.25, 0.5)
    assert table["last_number_right"] == 0.5  # the second talk of an answer does not count
    assert table["steps_right"] == pytest.approx(2 / 3, abs=1e-4)
    assert table["styles"]["long"] == {"share": 0.25, "right": 0.0, "letters": 40.0}
    assert table["styles"]["direct"]["share"] == 0.5


def test_the_gates_read_answers():
    assert _last("27 + 35 = 62. So 62.") == "62"
    assert _steps("27 + 35 = 62. 62 - 12 = 51. 4 * 5 = 19? ") == [True, False]


def test_the_first_run_trains_on_what_the_gates_measure():
    recipe = config.load("recipes/zero_laptop.toml")
    assert recipe.data.train == TASK
