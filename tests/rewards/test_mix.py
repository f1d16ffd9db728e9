"""Weighted rewards."""

import pytest

from aha.errors import ConfigError
from aha.records import Grade, Rollout
from aha.rewards.mix import Mix

GOOD = "a</think><answer>b</answer>"


def rollout(text):
    return Rollout(
        prompt_id="p",
        sample=0,
        token_ids=(1,),
        logprobs=(0.0,),
        text=text,
        policy_version=0,
        stopped="eos",
    )


def test_reward_is_the_weighted_sum():
    mix = Mix({"accuracy": 1.0, "format": 0.5})
    scored = mix.score(rollout(GOOD), "<think>", Grade(status="correct", score=1.0))
    assert scored.parts == {"accuracy": 1.0, "format": 1.0}
    assert scored.reward == 1.5
    assert scored.valid
    wrong = mix.score(rollout("b"), "", Grade(status="wrong", score=0.0))
    assert (wrong.reward, wrong.valid) == (0.0, True)


def test_the_prefill_counts_for_the_format():
    mix = Mix({"format": 1.0})
    right = Grade(status="correct", score=1.0)
    assert mix.score(rollout(GOOD), "<think>", right).reward == 1.0
    assert mix.score(rollout(GOOD), "", right).reward == 0.0


def test_no_reward_is_known_when_the_grader_failed():
    for status in ("timeout", "error"):
        scored = Mix({"accuracy": 1.0, "format": 1.0}).score(
            rollout(GOOD), "<think>", Grade(status=status, score=0.0)
        )
        assert (scored.valid, scored.reward) == (False, 0.0)


def test_an_unknown_reward_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        Mix({"acuracy": 1.0})


def test_tag_names():
    mix = Mix({"format": 1.0}, "思考", "回答")
    right = Grade(status="correct", score=1.0)
    assert mix.score(rollout("<思考>a</思考><回答>b</回答>"), "", right).reward == 1.0
