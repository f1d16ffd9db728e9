"""What stands around a supervised stage: cost, lineage and card; a pruning that was cut short."""

import json

import pytest
from transformers import AutoModelForCausalLM

from aha import config
from aha.models import card
from aha.stages import artefacts, launch
from aha.train import checkpoint

ROWS = [
    {
        "question": f"What is {i} + 2?",
        "response": f"<think>\n{i + 2}\n</think>\n\n\\boxed{{{i + 2}}}",
    }
    for i in range(12)
]


def run(folder, *, price=0.0):
    """A run in `folder`; its data stand elsewhere, so that two runs have one recipe."""
    data = folder.parent / "d.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    sft = {"train": str(data), "examples_per_step": 4, "epochs": 1, "heldout_share": 0}
    sft |= {"max_tokens": 128, "checkpoint_every": 1, "keep_last": 1, "optim": {"lr": 1e-3}}
    raw = {"run_dir": str(folder), "threads": 1, "memory_gb": 4, "price_per_hour": price}
    raw |= {"model": {"path": "aha:base"}, "data": {"template": "chat"}, "sft": sft}
    launch.run(config.resolve(raw), folder / "run", stage=None)
    return folder / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("finished") / "whole", price=3.0)


def test_a_killed_pruning_is_finished_by_the_next_attempt(whole, monkeypatch):
    """The kill came when the last checkpoint was whole and the one before still there."""
    prune, calls = checkpoint.prune, []

    def dies(folder, **named):
        calls.append(named["step"])
        if named["step"] == 3:
            raise KeyboardInterrupt
        prune(folder, **named)

    folder = whole.parent.parent / "killed"
    monkeypatch.setattr(checkpoint, "prune", dies)
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    left = sorted(p.name for p in (folder / "run" / "sft" / "checkpoints").iterdir())
    assert left == ["step_000002", "step_000003"]
    monkeypatch.setattr(checkpoint, "prune", prune)
    again = run(folder)
    assert artefacts.hashes(again) == artefacts.hashes(whole)
    cost = json.loads((again / "sft" / "cost.json").read_text())
    assert sorted(cost["attempts"]) == ["1", "2"]
    assert cost["attempts"]["2"]["tokens_trained"] == 0  # everything was learned before the kill


def test_its_cost_counts_the_tokens_that_were_learned(whole):
    cost = json.loads((whole / "sft" / "cost.json").read_text())
    data = json.loads((whole / "sft" / "data.json").read_text())
    # one epoch; examples lie packed in one stream, without padding
    assert cost["tokens_trained"] == data["tokens"] + data["prompt_tokens"]
    assert cost["tokens_sampled"] == cost["gpu_s"] == 0
    assert cost["cpu_s"] > 0


def test_its_model_has_a_card_and_still_loads(whole):
    folder = whole / "sft" / "checkpoints" / "step_000003" / "hf"
    said = json.loads((folder / "lineage.json").read_text())
    assert (said["stage"], said["step"], said["start"]["model"]) == ("sft", 3, "aha:base")
    assert said["weights"] == card.weights(folder)
    assert said["data"][0]["files"][0]["rows"] == 12
    assert (folder / "README.md").read_text() == card.text(said)
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "deepseek_v3"
    manifest = json.loads((folder.parent / "manifest.json").read_text())["files"]
    assert {"hf/README.md", "hf/lineage.json"} <= manifest.keys()
