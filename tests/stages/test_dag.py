import json

import pytest

from aha.config import ZeroConfig, resolve
from aha.errors import ConfigError
from aha.stages import dag

BOTH = {"model": {"path": "stage:pretrain"}, "pretrain": {}, "zero": {}}


def recipe(**changes):
    """Dotted changes to a recipe of both stages."""
    raw = json.loads(json.dumps(BOTH))
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        table = raw
        for part in path:
            table = table.setdefault(part, {})
        table[last] = value
    return resolve(raw)


def prints(made):
    return {node.name: node.fingerprint for node in dag.graph(made)}


def changed(**changes):
    before, after = prints(recipe()), prints(recipe(**changes))
    return {name for name in before if before[name] != after[name]}


def test_parents_come_first_and_the_edges_are_those_of_the_recipe():
    nodes = dag.graph(recipe())
    assert [node.name for node in nodes] == ["pretrain", "zero"]
    assert nodes[1].parents == (nodes[0],)
    apart = dag.graph(recipe(model__path="aha:base"))
    assert [node.parents for node in apart] == [(), ()]
    with pytest.raises(ConfigError, match=r"needs a \[pretrain\] table"):
        dag.graph(resolve({"model": {"path": "stage:pretrain"}, "zero": {}}))


@pytest.mark.parametrize(
    "change,concerned",
    [
        ({"pretrain__tokens": 2000}, {"pretrain", "zero"}),
        ({"pretrain__optim": {"lr": 1e-4}}, {"pretrain", "zero"}),
        ({"seed": 1}, {"pretrain", "zero"}),
        ({"zero__steps": 7}, {"zero"}),
        ({"zero__optim": {"lr": 1e-4}}, {"zero"}),
        ({"zero__rewards": {"accuracy": 2.0, "format": 1.0}}, {"zero"}),
        ({"data__suffix": "x"}, {"zero"}),
        ({"model__lora_rank": 4}, {"zero"}),
        ({"name": "other"}, set()),
        ({"run_dir": "elsewhere"}, set()),
        ({"threads": 3}, set()),
        ({"memory_gb": 2.0}, set()),
        ({"zero__steps": ZeroConfig().steps}, set()),  # the default, written out
    ],
)
def test_a_change_concerns_its_node_and_the_descendants_only(change, concerned):
    assert changed(**change) == concerned


def test_a_zero_that_does_not_descend_from_pretrain_does_not_change_with_it():
    one = prints(recipe(model__path="aha:base"))
    other = prints(recipe(model__path="aha:base", pretrain__tokens=2000))
    assert one["zero"] == other["zero"]
    assert one["pretrain"] != other["pretrain"]


def test_a_bumped_version_concerns_the_stage_and_its_descendants(monkeypatch):
    before = prints(recipe())
    monkeypatch.setitem(dag.VERSIONS, "pretrain", 99)
    after = prints(recipe())
    assert all(before[name] != after[name] for name in before)


def test_fingerprints_are_the_same_in_another_process():
    import subprocess
    import sys

    script = (
        "from aha.config import resolve; from aha.stages import dag;"
        f"print([n.fingerprint for n in dag.graph(resolve({BOTH!r}))])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == str(list(prints(recipe()).values()))


def test_a_stage_is_selected_with_what_it_needs():
    nodes = dag.graph(recipe())
    assert dag.select(nodes, None) == nodes
    assert [n.name for n in dag.select(nodes, ["zero"])] == ["pretrain", "zero"]
    assert [n.name for n in dag.select(nodes, ["pretrain"])] == ["pretrain"]
    with pytest.raises(
        ConfigError, match=r"no stage 'zeroo'; did you mean zero\? it has: pretrain, zero"
    ):
        dag.select(nodes, ["zeroo"])


WIDE = {
    "sft": {"train": "stage:keep"},
    "zero": {},
    "stage": {
        "keep": {"kind": "sample", "start": "stage:zero"},
        "alone": {"kind": "rl"},
        "last": {"kind": "rl", "start": "stage:sft"},
    },
}


def names(nodes):
    return [node.name for node in nodes]


@pytest.mark.parametrize(
    "stages,needed,made",
    [
        (["keep"], ["zero", "keep"], ["keep", "sft", "last"]),
        (["last", "alone"], ["zero", "keep", "sft", "alone", "last"], ["alone", "last"]),
        (["zero"], ["zero"], ["zero", "keep", "sft", "last"]),
        (["zero", "zero"], ["zero"], ["zero", "keep", "sft", "last"]),
    ],
)
def test_stages_with_what_they_need_and_what_is_made_from_them(stages, needed, made):
    nodes = dag.graph(resolve(WIDE))
    assert names(nodes) == [
        "zero",
        "keep",
        "sft",
        "alone",
        "last",
    ]  # the order of the recipe, parents first
    assert names(dag.select(nodes, stages)) == needed
    assert names(dag.descendants(nodes, stages)) == made
    assert dag.descendants(nodes, []) == []


def test_status_and_diagram(tmp_path):
    nodes = dag.graph(recipe())
    pretrain, zero = nodes
    assert dag.status(zero, tmp_path) == "new"
    for node in nodes:
        (tmp_path / node.name).mkdir()
        mark = {"fingerprint": node.fingerprint}
        (tmp_path / node.name / "fingerprint.json").write_text(json.dumps(mark))
    assert dag.status(zero, tmp_path) == "begun"
    (tmp_path / "pretrain" / "DONE").write_text("{}")
    assert dag.status(pretrain, tmp_path) == "done"
    assert dag.status(dag.graph(recipe(zero__steps=7))[1], tmp_path) == "other"
    assert dag.mermaid(nodes, tmp_path).splitlines() == [
        "graph LR",
        '  pretrain["pretrain (done)"]',
        '  zero["zero (begun)"]',
        "  pretrain --> zero",
    ]
    assert '  zero["zero"]' in dag.mermaid(nodes)
    for damage in ("", "{", "[]", "{}"):
        (tmp_path / "zero" / "fingerprint.json").write_text(damage)
        assert dag.status(zero, tmp_path) == "other"
