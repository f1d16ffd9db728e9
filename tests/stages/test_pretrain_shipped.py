"""The base model that comes with the package: what is promised about its folder and its abilities."""

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

import aha
from aha import config
from aha.config import DataConfig
from aha.data import corpus
from aha.data.tasks import arithmetic, countdown
from aha.data.templates import lint, load_template, r1_zero
from aha.files import sha256, verify
from aha.models.locate import locate
from aha.stages.pretrain_gates import BOUNDS, gates

BASE = Path(aha.__file__).parent / "weights" / "base"
RECIPE = Path(aha.__file__).parents[1] / "recipes" / "pretrain_base.toml"


@pytest.fixture(scope="module")
def said():
    return json.loads((BASE / "provenance.json").read_text("utf-8"))


def test_the_folder_is_whole_small_and_found():
    assert verify(BASE) is None
    assert locate("aha:base") == BASE
    assert sum(p.stat().st_size for p in BASE.rglob("*")) <= 16e6
    assert [p.name for p in BASE.glob("*.safetensors")] == ["model.safetensors"]
    with safe_open(BASE / "model.safetensors", "pt") as file:
        assert list(file.metadata()) == ["format"]


def test_provenance_names_recipe_corpus_and_bytes(said):
    recipe = config.load(RECIPE)
    assert said["recipe"]["pretrain"] == json.loads(recipe.pretrain.model_dump_json())
    assert (said["recipe"]["seed"], said["threads"]) == (recipe.seed, recipe.threads)
    assert said["corpus"].endswith(f"version {corpus.VERSION}, seed {recipe.seed}")
    assert said["sha256"]["model.safetensors"] == sha256(BASE / "model.safetensors")
    assert said["tokens"] == recipe.pretrain.tokens
    assert 1e6 < said["parameters"] < 3e6
    assert set(BOUNDS) == set(said["gates"]["passed"])


def test_its_tokenizer_knows_what_the_tasks_are_written_with():
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    wordings = " ".join(
        part
        for task in (arithmetic, countdown)
        for wording in task.WORDING.values()
        for part in wording
    )
    for sign in set(re.findall(r"[\u4e00-\u9fff0-9+*=-]", wordings)):
        assert len(tokenizer.encode(sign)) == 1, sign
    prompt = r1_zero().replace("{question}", "27 + 35 - 12 = ?")
    assert len(tokenizer.encode(prompt)) < 110


def test_the_templates_suit_it():
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    for name in ("r1-zero", "chat"):
        template = load_template(DataConfig(template=name), tokenizer, generation_eos=())
        warnings = lint(template, tokenizer)
        assert [w for w in warnings if "must learn to spell" not in w] == []


@pytest.mark.slow
def test_the_gates_measure_what_provenance_says(said):
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(BASE),
        AutoTokenizer.from_pretrained(BASE),
    )
    table = gates(model, tokenizer)
    for gate in BOUNDS:
        assert table[gate] == pytest.approx(
            said["gates"][gate], abs=0.12
        )  # samples of another machine
