"""The recipe of docs/all_scenarios.md, and the keys of its stage."""

import re
import tomllib
from pathlib import Path

import pytest

from aha.config import resolve
from aha.errors import ConfigError
from aha.stages import dag, normalise
from aha.stages.opinions import Level

PAGE = Path(__file__).parents[2] / "docs" / "all_scenarios.md"


def test_the_recipe_of_the_docs_is_one():
    [text] = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    recipe = resolve(tomllib.loads(text))
    edges = {node.name: {parent.name for parent in node.parents} for node in dag.graph(recipe)}
    assert edges == {"helpful": set(), "harmless": set(), "r1": {"helpful", "harmless"}}
    r1 = recipe.stage["r1"]
    assert r1.temperature == 0.7
    assert f"from step {r1.preference_from + 1} on" in text
    assert r1.preferences == {"helpful", "harmless"}


def stage(**zero):
    models = {"helpful": {"path": "x"}}
    tables = {"helpful": {"helpful": 1.0, "format": 0.5}}
    return resolve({"zero": {"reward_models": models, "rewards_for": tables} | zero}).zero


@pytest.mark.parametrize(
    "steps, share, before",
    [
        (1700, 0.235, 1300),  # the paper's last 400
        (100, 1.0, 0),
        (30, 0.1, 27),  # 30 x 0.1 is 3.0000000000000004 in floating point
        (3, 0.01, 2),  # one step at least
        (7, 0.5, 3),  # rounded up
    ],
)
def test_the_first_step_with_preference_rewards(steps, share, before):
    assert stage(steps=steps, preference_share=share).preference_from == before


@pytest.mark.parametrize("minibatches, before", [(1, 24), (2, 24), (16, 16), (32, 0)])
def test_phases_are_not_divided_so_the_phase_in_which_they_begin_is_theirs(minibatches, before):
    asked = {"steps": 32, "preference_share": 0.25, "minibatches": minibatches}
    assert stage(**asked).preference_from == before


@pytest.mark.parametrize(
    "zero, said",
    [
        ({"preference_share": 0.0}, "preference_share"),
        ({"preference_share": 0.5, "rewards_for": {"helpful": {"helpful": 1.0}}},
         r"rewards_for\.helpful: .* would earn nothing at first"),
        ({"preference_share": 0.5, "rewards_for": {"helpful": {"helpful": 1.0, "format": 0.0}}},
         "would earn nothing at first"),
        ({"preference_share": 0.5, "reward_models": {}}, "and there are none"),
        ({"plateau_window": 3, "minibatches": 2}, "not a multiple of minibatches=2"),
        ({"plateau_window": 4, "dynamic_sampling": 1}, "needs dynamic_sampling = 0"),
        ({"reward_models": {"helpful": {"path": "x", "normalise": "start", "scale": 2.0}}},
         "measures center and scale"),
        ({"reward_models": {"helpful": {"path": "x", "normalise": "always"}}}, "normalise"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(zero, said):
    with pytest.raises(ConfigError, match=said):
        stage(**zero)


def test_a_level_by_hand():
    # questions {1, 3}, {10, 14}, {5}: mean 33/5; squares 2 + 8 + 0 over 1 + 1 + 0 degrees: spread sqrt 5
    found = normalise.level([[1.0, 3.0], [10.0, 14.0], [5.0], []])
    assert found == Level(pytest.approx(6.6), pytest.approx(5**-0.5))


@pytest.mark.parametrize("groups", [[], [[]], [[1.0], [2.0]], [[3.0, 3.0]], [[1e9, 1e9 + 1e-5]]])
def test_scores_without_spread_have_no_level(groups):
    assert normalise.level(groups) is None


def test_the_spread_between_questions_is_none_of_ours():
    """Shifting one question's scores, as an easy question does, leaves the scale."""
    one = normalise.level([[1.0, 2.0, 4.0], [0.0, 1.0, 2.0]])
    other = normalise.level([[1.0, 2.0, 4.0], [100.0, 101.0, 102.0]])
    assert one is not None
    assert other is not None
    assert one.scale == pytest.approx(other.scale)
