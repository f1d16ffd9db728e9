"""Stages that refer to each other: parents, the view that a stage has, what is refused."""

from pathlib import Path

import pytest

from aha.config import load, resolve, to_toml
from aha.errors import ConfigError
from aha.stages import dag, start

WHOLE = {
    "model": {"path": "aha:base"},
    "data": {"train": "arithmetic", "template": "r1-zero"},
    "zero": {"steps": 3},
    "stage": {
        "cold_start": {"kind": "sample", "start": "stage:zero", "samples": 4},
        "dev1": {"kind": "sft", "train": "stage:cold_start", "data": {"template": "chat"}},
        "dev2": {"kind": "rl", "start": "stage:dev1", "steps": 5, "data": {"template": "chat"}},
        "rejection": {"kind": "sample", "start": "stage:dev2"},
        "dev3": {"kind": "sft", "train": ["stage:rejection?n=10", "general.jsonl"]},
        "rm": {"kind": "reward_model", "train": "pairs.jsonl"},
        "r1": {
            "kind": "rl",
            "start": "stage:dev3",
            "reward_models": {"helpful": {"path": "stage:rm"}},
            "rewards_for": {"helpful": {"helpful": 1.0}},
        },
        "student": {
            "kind": "sft",
            "train": "stage:rejection",
            "start": "aha:student-qwen",
            "model": {"lora_rank": 4},
        },
    },
}
ROOT = Path("/runs/x")


@pytest.fixture
def recipe():
    return resolve(WHOLE)


def test_references_make_the_graph(recipe):
    edges = {n.name: {parent.name for parent in n.parents} for n in dag.graph(recipe)}
    assert edges == {
        "zero": set(),
        "cold_start": {"zero"},
        "dev1": {"cold_start"},
        "dev2": {"dev1"},
        "rejection": {"dev2"},
        "dev3": {"rejection"},  # from the base again: not from dev2
        "rm": set(),
        "r1": {"dev3", "rm"},
        "student": {"rejection"},
    }


def test_parents_come_first_whatever_the_order_of_the_recipe():
    raw = WHOLE | {"stage": dict(reversed(list(WHOLE["stage"].items())))}
    names = [node.name for node in dag.graph(resolve(raw))]
    for node in dag.graph(resolve(raw)):
        assert all(names.index(p.name) < names.index(node.name) for p in node.parents)


def test_a_changed_stage_concerns_it_and_its_descendants(recipe):
    raw = WHOLE | {
        "stage": WHOLE["stage"] | {"rejection": {**WHOLE["stage"]["rejection"], "samples": 9}}
    }
    before = {n.name: n.fingerprint for n in dag.graph(recipe)}
    after = {n.name: n.fingerprint for n in dag.graph(resolve(raw))}
    assert {n for n in before if before[n] != after[n]} == {"rejection", "dev3", "r1", "student"}


def test_only_what_is_needed_is_selected(recipe):
    nodes = dag.select(dag.graph(recipe), ["dev1"])
    assert [node.name for node in nodes] == ["zero", "cold_start", "dev1"]


def test_what_a_stage_sees(recipe):
    dev1 = start.view(recipe, "dev1", ROOT)
    assert dev1.stages() == ["sft"]
    assert dev1.sft.train == "/runs/x/cold_start/dialogues.jsonl"
    assert (dev1.data.template, dev1.data.train, dev1.model.path) == (
        "chat",
        "arithmetic",
        "aha:base",
    )
    dev2 = start.view(recipe, "dev2", ROOT)
    assert (dev2.zero.steps, dev2.model.path) == (5, "/runs/x/dev1")
    dev3 = start.view(recipe, "dev3", ROOT)
    assert dev3.sft.train == ["/runs/x/rejection/dialogues.jsonl?n=10", "general.jsonl"]
    assert dev3.model.path == "aha:base"
    r1 = start.view(recipe, "r1", ROOT)
    assert r1.zero.reward_models["helpful"].path == "/runs/x/rm"
    student = start.view(recipe, "student", ROOT)
    assert (student.model.path, student.model.lora_rank) == ("aha:student-qwen", 4)
    sampling = start.view(recipe, "cold_start", ROOT)
    assert sampling.model.path == "/runs/x/zero"
    assert sampling.stage["cold_start"].samples == 4
    assert start.view(recipe, "zero", ROOT).zero == recipe.zero


def test_a_recipe_of_many_stages_survives_being_written(recipe, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(recipe))
    assert load(path) == recipe


@pytest.mark.parametrize(
    "stage, said",
    [
        ({"a": {"kind": "sft", "train": "stage:none"}}, r"\[none\] table"),
        ({"a": {"kind": "sft", "train": "d", "start": "stage:b"},
          "b": {"kind": "sft", "train": "d", "start": "stage:a"}}, "wait for each other: a -> b -> a"),
    ],
)  # fmt: skip
def test_references_that_cannot_be(stage, said):
    with pytest.raises(ConfigError, match=said):
        dag.graph(resolve({"stage": stage}))


@pytest.mark.parametrize(
    "stage, said",
    [
        ({"a": {"train": "d"}}, 'needs kind = "rl"'),
        ({"a": {"kind": "ppo"}}, 'needs kind = "rl"'),
        ({"zero": {"kind": "rl"}}, "small letters"),
        ({"A b": {"kind": "rl"}}, "small letters"),
        ({"a": {"kind": "sft", "train": "d", "epocs": 1}},
         r"\[stage.a\] has no 'epocs'; did you mean 'epochs'"),
        ({"a": {"kind": "rl", "optim": {"lrr": 1}}}, r"\[stage.a.optim\] has no 'lrr'; did you mean 'lr'"),
        ({"a": {"kind": "rl", "data": {"templat": "chat"}}}, "templat"),
        ({"a": {"kind": "sft"}}, "stage.a"),
    ],
)  # fmt: skip
def test_stages_that_cannot_be(stage, said):
    with pytest.raises(ConfigError, match=said):
        resolve({"stage": stage})


@pytest.mark.parametrize("name", ["seed", "data"])
def test_stages_are_not_called_as_tables_of_the_recipe(name):
    with pytest.raises(ConfigError, match=rf"stage.{name}: a stage is called by.* seed, data"):
        resolve({"stage": {name: {"kind": "sample"}}})


def test_problems_that_they_do_not_read_are_no_part_of_reward_models():
    raw = {"stage": {"rm": {"kind": "reward_model", "train": "pairs.jsonl"}}}
    prints = [
        dag.graph(resolve(raw | {"data": {"train": train}, "seed": seed}))[0].fingerprint
        for train, seed in (("arithmetic", 0), ("countdown", 0), ("arithmetic", 1))
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    "more", [{"refine_by": "v", "refiners": {"v": {"path": "stage:cold_start"}}, "refine": True}]
)
def test_who_rewrites_is_a_model(more):
    raw = WHOLE | {"stage": WHOLE["stage"] | {"again": {"kind": "sample", **more}}}
    with pytest.raises(ConfigError, match=r"refiners refers to 'stage:cold_start'.*does not make"):
        dag.graph(resolve(raw))
