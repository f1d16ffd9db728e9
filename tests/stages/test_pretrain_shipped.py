"""The models that come with the package: what is promised about their folders and abilities."""

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer

import aha
from aha import config
from aha.config import DataConfig
from aha.data import corpus
from aha.data.tasks import arithmetic, countdown
from aha.data.templates import lint, load_template, r1_zero
from aha.files import sha256, verify
from aha.models.locate import locate
from aha.stages.pretrain_gates import BOUNDS, gates, verdicts

WEIGHTS = Path(aha.__file__).parent / "weights"
RECIPES = Path(aha.__file__).parents[1] / "recipes"
MODELS = {  # name: recipe, architecture, largest size of the folder
    "base": ("pretrain_base", "deepseek_v3", 16e6),
    "student-qwen": ("pretrain_student_qwen", "qwen2", 8e6),
    "student-llama": ("pretrain_student_llama", "llama", 8e6),
}
PARAMETERS = {"base": (1e6, 5e6), "student-qwen": (0.3e6, 2e6), "student-llama": (0.3e6, 2e6)}


def said(name):
    return json.loads((WEIGHTS / name / "provenance.json").read_text("utf-8"))


@pytest.mark.parametrize("name", MODELS)
def test_the_folder_is_whole_small_and_found(name):
    folder = WEIGHTS / name
    assert verify(folder) is None
    assert locate(f"aha:{name}") == folder
    assert sum(p.stat().st_size for p in folder.rglob("*")) <= MODELS[name][2]
    assert [p.name for p in folder.glob("*.safetensors")] == ["model.safetensors"]
    assert AutoConfig.from_pretrained(folder).model_type == MODELS[name][1]
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert list(file.metadata()) == ["format"]


@pytest.mark.parametrize("name", MODELS)
def test_provenance_names_recipe_corpus_and_bytes(name):
    facts, recipe = said(name), config.load(RECIPES / f"{MODELS[name][0]}.toml")
    assert facts["recipe"]["pretrain"] == json.loads(recipe.pretrain.model_dump_json())
    assert (facts["recipe"]["seed"], facts["threads"]) == (recipe.seed, recipe.threads)
    assert facts["corpus"].endswith(f"version {corpus.VERSION}, seed {recipe.seed}")
    assert facts["sha256"]["model.safetensors"] == sha256(WEIGHTS / name / "model.safetensors")
    assert facts["tokens"] == recipe.pretrain.tokens
    assert PARAMETERS[name][0] < facts["parameters"] < PARAMETERS[name][1]
    assert set(facts["loss_at_the_end"]) == {"all", *corpus.KINDS}
    assert re.fullmatch(r"[0-9a-f]{40}\+?", facts["commit"])


def test_the_base_passes_its_gates():
    assert all(verdicts(said("base")["gates"]).values())


def test_students_share_the_tokenizer_of_the_base():
    files = [(WEIGHTS / name / "tokenizer.json").read_bytes() for name in MODELS]
    assert files[0] == files[1] == files[2]


def test_its_tokenizer_knows_what_the_tasks_are_written_with():
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "base")
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
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "base")
    for name in ("r1-zero", "chat"):
        template = load_template(DataConfig(template=name), tokenizer, generation_eos=())
        warnings = lint(template, tokenizer)
        assert [w for w in warnings if "must learn to spell" not in w] == []


@pytest.mark.slow
def test_the_gates_measure_what_provenance_says():
    table = gates("aha:base")
    for gate in BOUNDS:  # rounding of another machine gives other samples
        assert table[gate] == pytest.approx(said("base")["gates"][gate], abs=0.12)
