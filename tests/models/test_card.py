"""The model card: a YAML head that hubs can read, and a text that no name in it can break."""

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.models import card


def said(**changed):
    usual = {
        "aha": "0.1.0",
        "recipe": "r1",
        "stage": "dev",
        "kind": "sft",
        "seed": 3,
        "fingerprint": "0123456789ab",
        "license": None,
        "start": {"model": "aha:base", "sha256": {"model.safetensors": "aa"}, "license": None},
        "data": [],
        "heldout": [],
        "rewards": [],
        "asked": {"template": "chat", "think_tag": "think", "answer_tag": "answer"},
        "step": 20,
        "weights": {"model.safetensors": "bb"},
    }
    return usual | changed


def head(text):
    assert text.startswith("---\n")
    inside, sign, _ = text[4:].partition("\n---\n")
    assert sign
    return yaml.safe_load(inside)


def test_the_head_of_a_supervised_model():
    found = head(card.text(said(license="Apache-2.0")))
    assert found == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "tags": ["aha", "reasoning", "sft"],
    }  # a name that is no hub id is no base_model: a hub would refuse the card


def test_hub_ids_stand_where_a_hub_looks_for_them():
    behind = said(start={"model": "Org/Base-1.5B", "sha256": {}})
    start = {"model": "stage:zero", "sha256": {}, "lineage": behind}
    data = [
        {"source": "openai/gsm8k?name=main"},
        {
            "source": "rows/train.jsonl",
            "files": [{"file": "train.jsonl", "rows": 3, "sha256": "cc"}],
        },
        {"source": "arithmetic"},
    ]
    found = head(card.text(said(start=start, data=data)))
    assert found["base_model"] == "Org/Base-1.5B"
    assert found["datasets"] == ["openai/gsm8k"]  # a file of the same form is a file
    cached = {"model": "/m/x", "sha256": {}, "hub": "Org/Cached", "revision": "ab"}
    assert head(card.text(said(start=cached)))["base_model"] == "Org/Cached"


def test_a_reward_model_is_loaded_as_one():
    text = card.text(said(kind="reward_model"))
    assert head(text)["pipeline_tag"] == "text-classification"
    assert "AutoModelForSequenceClassification.from_pretrained" in text
    assert "AutoModelForCausalLM.from_pretrained" in card.text(said())


def test_the_text_says_how_it_was_asked():
    assert "apply_chat_template" in card.text(said())
    assert "plain text of R1-Zero" in card.text(said(asked={"template": "r1-zero"}))
    assert "`mine.txt`" in card.text(said(asked={"template": "mine.txt"}))
    assert "no template" in card.text(said(kind="pretrain", start=None, asked={}))


def test_the_tree_goes_down_to_what_came_from_outside():
    zero = said(stage="zero", kind="rl", step=8, data=[{"source": "arithmetic"}])
    kept = said(stage="kept", kind="sample", step=None)
    kept["start"] = {"model": "stage:zero", "sha256": {}, "lineage": zero}
    tree = card.text(said(data=[{"source": "stage:kept", "from": kept}])).split("## Lineage")[1]
    lines = [line for line in tree.splitlines() if line.lstrip().startswith("- ")]
    assert [(len(line) - len(line.lstrip())) // 2 for line in lines] == [0, 1, 1, 2, 3, 4, 5, 5]
    assert lines[-2].strip() == "- started from `aha:base`"
    assert lines[-1].strip() == "- learned from `arithmetic`"


TEXT = st.text(max_size=60)


@settings(deadline=None)
@given(name=TEXT, source=TEXT, model=TEXT, system=TEXT, license=TEXT)
def test_no_name_breaks_the_head_or_the_table(name, source, model, system, license):
    text = card.text(
        said(
            recipe=name,
            start={"model": model, "sha256": {name: "aa"}, "source": {"name": source}},
            data=[{"source": source, "files": [{"file": name, "rows": None, "sha256": "d"}]}],
            asked={"template": "chat", "system": system},
            license=license,
        )
    )
    text.encode()
    found = head(text)
    assert found["tags"] == ["aha", "reasoning", "sft"]
    assert set(found) <= {"library_name", "pipeline_tag", "license", "base_model", "tags"}
    table = [line for line in text.split("\n") if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") == 3 for line in table)
    assert text.count("\n## ") == 2


def test_a_foreign_card_is_read_no_further_than_its_head(tmp_path):
    (tmp_path / "README.md").write_bytes(
        b"---\ntags:\n- x\nlicense:  cc-by-4.0 \r\n---\nlicense: mit\n"
    )
    assert card.license_of(tmp_path) == "cc-by-4.0"
    (tmp_path / "README.md").write_bytes(b"---\n" + b"\xff" * 100_000 + b"\nlicense: mit\n---\n")
    assert card.license_of(tmp_path) is None
    (tmp_path / "README.md").unlink()
    assert card.license_of(tmp_path) is None
