"""Fingerprints leave defaults out, so a default that becomes another one must bump a version.

python -m tests.stages.test_defaults     (writes defaults.json again, after new keys or bumped versions)
"""

import json
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from aha.config import (
    DataConfig,
    JudgingConfig,
    ModelConfig,
    PretrainConfig,
    RewardModelConfig,
    Section,
    resolve,
)
from aha.config.recipe import STAGES
from aha.stages import dag

PINNED = Path(__file__).parent / "defaults.json"
SHARED = {"data": DataConfig, "model": ModelConfig}
"""Read by stages of every kind."""
OWN = {"pretrain": PretrainConfig, "reward_models": RewardModelConfig, "judges": JudgingConfig}


def defaults_of(section):
    """Plain values by name of key, with dots; what a recipe must say itself is left out."""
    found = {}
    for name, field in section.model_fields.items():
        value = field.get_default(call_default_factory=True)
        if isinstance(value, Section):
            found |= {f"{name}.{key}": item for key, item in value.model_dump().items()}
        elif value is not PydanticUndefined:
            found[name] = value
    return json.loads(json.dumps(found))


def defaults():
    tables = SHARED | {kind: STAGES[kind] for kind in STAGES} | OWN
    return {
        "versions": dag.VERSIONS,
        "defaults": {name: defaults_of(table) for name, table in sorted(tables.items())},
    }


def test_a_default_changes_only_with_a_version():
    pinned, now = json.loads(PINNED.read_text("utf-8")), defaults()
    for name, keys in pinned["defaults"].items():
        kinds = [name] if name in dag.VERSIONS else list(dag.VERSIONS)
        bumped = all(pinned["versions"][kind] != now["versions"][kind] for kind in kinds)
        for key, value in keys.items():
            same = now["defaults"][name].get(key, value) == value
            assert same or bumped, (
                f"{name}.{key} has another default: bump VERSIONS of {kinds} (dag.py)"
            )
    assert now == pinned, "new keys, or bumped versions: python -m tests.stages.test_defaults"


@pytest.mark.parametrize("kind", sorted(STAGES))
def test_a_key_at_its_default_is_as_one_that_is_not_there(kind):
    """So is a key that a later version brings."""
    needed = {"train": "a.jsonl"} if kind in ("sft", "dpo", "reward_model") else {}
    if kind == "judge":
        needed = {"answers": "a.jsonl", "judge": {"path": "aha:base"}}
    bare = {"kind": kind} | needed
    spelt = resolve({"stage": {"it": bare}}).stage["it"].model_dump(mode="json") | bare
    there = {key: value for key, value in spelt.items() if value is not None}
    prints = [dag.graph(resolve({"stage": {"it": it}}))[-1].fingerprint for it in (bare, there)]
    assert len(there) > len(bare) + 3
    assert prints[0] == prints[1]


if __name__ == "__main__":
    PINNED.write_text(json.dumps(defaults(), indent=1, sort_keys=True) + "\n", "utf-8")
