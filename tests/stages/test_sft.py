"""The supervised stage, on the shipped base: learns, goes on after a stop to the same bytes."""

import json
from pathlib import Path

import pytest

from aha import config, files
from aha.errors import DataError, Stopped
from aha.report.metrics import MetricsFile, comparable
from aha.stages import launch, sft


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(count):
    return [
        {
            "id": f"d{i}",
            "question": f"What is {i} + 2?",
            "response": f"<think>\n{i} + 2 = {i + 2}\n</think>\n\nIt is \\boxed{{{i + 2}}}.",
        }
        for i in range(count)
    ]


def recipe(folder, name="run", **sft_keys):
    data = write(folder / "d.jsonl", rows(40))
    raw = {
        "name": name,
        "run_dir": str(folder / "runs"),
        "threads": 2,
        "memory_gb": 4,
        "model": {"path": "aha:base"},
        "data": {"template": "chat"},
        "sft": {
            "train": str(data),
            "examples_per_step": 8,
            "epochs": 1,
            "max_tokens": 128,
            "heldout_share": 0.2,
            "checkpoint_every": 2,
            "optim": {"lr": 1e-3},
            **sft_keys,
        },
    }
    return config.resolve(raw)


def run(made):
    root = Path(made.run_dir) / made.name
    launch.run(made, root, stage=None)
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sft")
    return run(recipe(folder))


def test_the_loss_falls_on_what_is_held_out(whole):
    done = json.loads((whole / "sft" / "DONE").read_text())
    assert done["step"] == 4
    assert done["heldout_loss"] < 0.7 * done["heldout_loss_before"]
    data = json.loads((whole / "sft" / "data.json").read_text())
    assert (data["learned"], data["heldout"], data["too_long"], data["refused"]) == (32, 8, 0, 0)
    assert {row["domain"]: row["samples"] for row in data["table"]} == {"other": 32, "total": 32}
    tokens = (data["tokens"] + data["prompt_tokens"]) / 32
    assert data["table"][-1]["tokens"] == pytest.approx(tokens)
    assert data["sources"]["d.jsonl"]["taken"] == 40
    metrics = MetricsFile(whole / "sft" / "metrics.jsonl").rows()
    assert [row["step"] for row in metrics] == [0, 1, 2, 3, 4]
    assert sum(row["sft/examples/sum"] for row in metrics[1:]) == 32


def test_the_model_is_an_ordinary_folder(whole):
    from transformers import AutoModelForCausalLM

    hf = whole / "sft" / "checkpoints" / "step_000004" / "hf"
    assert AutoModelForCausalLM.from_pretrained(hf).config.model_type == "deepseek_v3"


def test_done_is_not_run_again(whole, capsys):
    launch.run(config.load(whole / "recipe.toml"), whole, stage=None)
    assert "done before" in capsys.readouterr().out


def test_a_stopped_run_goes_on_to_the_same_bytes(whole, tmp_path, monkeypatch):
    made = recipe(tmp_path)
    learn = sft.learn
    steps = []

    def stops(trainer, lessons, step):
        steps.append(step)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return learn(trainer, lessons, step)

    monkeypatch.setattr(sft, "learn", stops)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    monkeypatch.setattr(sft, "learn", learn)
    root = run(made)
    last = Path("sft") / "checkpoints" / "step_000004"
    names = ("hf/model.safetensors", "state/optimizer.safetensors")
    for name in names:
        assert files.sha256(root / last / name) == files.sha256(whole / last / name)
    ours, theirs = (MetricsFile(r / "sft" / "metrics.jsonl").rows() for r in (root, whole))
    assert [comparable(row) for row in ours] == [comparable(row) for row in theirs]


def test_a_stop_is_saved_first(tmp_path, monkeypatch):
    made = recipe(tmp_path)
    learn = sft.learn

    class Asked:
        asked = True

    monkeypatch.setattr(sft, "Stop", Asked)
    monkeypatch.setattr(
        sft, "on_signal", lambda stop, console: __import__("contextlib").nullcontext()
    )
    with pytest.raises(Stopped, match="after step 1; everything is saved"):
        run(made)
    assert learn is sft.learn
    assert (Path(made.run_dir) / "run" / "sft" / "checkpoints" / "step_000001" / "hf").is_dir()


def test_what_is_too_long_or_refused_is_counted_never_cut(tmp_path):
    made = recipe(tmp_path)
    long = {"question": "q", "response": "word " * 200}
    control = {"question": "q <|im_end|>", "response": "r"}
    write(tmp_path / "d.jsonl", [*rows(10), long, control])
    made = config.resolve(made.model_dump() | {"sft": made.sft.model_dump() | {"heldout_share": 0}})
    root = run(made)
    data = json.loads((root / "sft" / "data.json").read_text())
    assert (data["learned"], data["too_long"]) == (10 + (data["refused"] == 0), 1)


def test_nothing_to_learn_says_why(tmp_path):
    made = recipe(tmp_path, max_tokens=2)
    with pytest.raises(DataError, match=r"longer than sft\.max_tokens=2"):
        run(made)


def test_held_out_dialogues_are_not_learned(tmp_path):
    write(tmp_path / "h.jsonl", rows(5))
    made = recipe(tmp_path, heldout=str(tmp_path / "h.jsonl"))
    learned, heldout, broken = sft.load_data(made, made.sft)
    assert (len(learned), len(heldout), broken) == (35, 5, 0)
    assert not {d.id for d in learned} & {d.id for d in heldout}


def test_several_sources_are_taken_by_their_weights(tmp_path):
    """3 to 1: the 40 of `d` leave room for 13 of the 20 of `b`."""
    write(tmp_path / "b.jsonl", [row | {"question": f"b {row['question']}"} for row in rows(20)])
    made = recipe(tmp_path, heldout_share=0)
    train = [f"{made.sft.train}?weight=3", f"{tmp_path / 'b.jsonl'}?weight=1"]
    read = sft.read_data(made, made.sft.model_copy(update={"train": train}))
    assert len(read.learned) == 53  # 40 / 3 = 13.3
    assert {name: said["taken"] for name, said in read.sources.items()} == {
        "d.jsonl": 40,
        "b.jsonl": 13,
    }
    assert read.lines[0].startswith("d.jsonl: 40 of 40 dialogues, 75.0%; 20 more would")


def test_every_turn_of_the_assistant_may_be_learned(tmp_path):
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "second"},
    ]
    write(tmp_path / "m.jsonl", [{"messages": turns}])
    for which, learned in (("last", 1), ("all", 2)):
        made = recipe(tmp_path, name=which, train=str(tmp_path / "m.jsonl"), turns=which)
        root = run(made)
        assert json.loads((root / "sft" / "data.json").read_text())["learned"] == learned
