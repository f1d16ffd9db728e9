"""Reward models and judges as rewards of a recipe."""

import math

import pytest
import torch
from byte_words import tokenizer
from judge_server import says, server, verdict

from aha.config import JudgeConfig, resolve
from aha.errors import ConfigError, ModelError, RunError
from aha.records import Grade, Prompt, Rendered, Rollout
from aha.rewards.mix import Mix, Tables
from aha.stages import opinions

RIGHT = Grade(status="correct", score=1.0)
TEXTS = ("<think>3 and 4</think> It is 7.", "<think>no</think> It is 8.", "<think>still open")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random reward model."""
    import transformers as tf

    path = tmp_path_factory.mktemp("reward_model")
    torch.manual_seed(3)
    words = tokenizer()
    tf.LlamaForSequenceClassification(
        tf.LlamaConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
            initializer_range=0.25,
            num_labels=1,
            pad_token_id=None,
        )
    ).save_pretrained(path)
    words.save_pretrained(path)
    return path


def recipe(**zero):
    return resolve({"zero": zero}).zero


def scored(config, path, *texts, weights=None):
    mix = Mix(
        Tables(rewards=weights or config.rewards, by_domain=config.rewards_for),
        more=opinions.of_recipe(config, path),
    )
    prompt = Prompt(id="p", question="What is 3 + 4?", gold="7", domain="helpful")
    question = Rendered(prompt=prompt, text="?", token_ids=(1,))
    rollouts = [
        Rollout(
            prompt_id="p",
            sample=i,
            token_ids=(1,),
            logprobs=(0.0,),
            text=text,
            policy_version=0,
            stopped="eos",
        )
        for i, text in enumerate(texts)
    ]
    return mix.score(question, rollouts, [RIGHT] * len(texts)).scored


def test_a_reward_model_pays_for_the_domain_it_is_weighted_in(folder, tmp_path):
    config = recipe(
        reward_models={"helpful": {"path": str(folder)}},
        rewards_for={"helpful": {"helpful": 0.5}},
    )
    a, b, cut = scored(config, tmp_path, *TEXTS)
    assert a.parts["helpful"] != b.parts["helpful"]
    assert a.reward == 0.5 * a.parts["helpful"]
    assert all(s.valid for s in (a, b, cut))
    # without a summary an answer gets the lowest score of its group: not none, not a better one
    assert cut.parts["helpful"] == min(a.parts["helpful"], b.parts["helpful"])


def test_the_whole_answer_may_be_scored_and_squeezed(folder, tmp_path):
    parts = {"path": str(folder), "part": "whole"}
    plain = recipe(reward_models={"safe": parts}, rewards={"safe": 1.0})
    raw = [s.reward for s in scored(plain, tmp_path, *TEXTS)]
    assert len(set(raw)) == 3
    squeezed = recipe(
        reward_models={"safe": parts | {"center": 0.1, "scale": 2.0, "sigmoid": True}},
        rewards={"safe": 1.0},
    )
    for value, s in zip(raw, scored(squeezed, tmp_path, *TEXTS), strict=True):
        assert s.reward == pytest.approx(1 / (1 + math.exp(-2 * (value - 0.1))))


def test_extreme_scores_stay_finite():
    level = opinions.Level(0.0, 1e30)
    assert [opinions.transformed(v, level, True) for v in (-1e30, 1e30)] == pytest.approx([0, 1])


def test_what_is_too_long_for_the_reward_model_has_no_reward(folder, tmp_path):
    config = recipe(reward_models={"helpful": {"path": str(folder)}}, rewards={"helpful": 1.0})
    fine, long = scored(config, tmp_path, "fine", "word " * 300)
    assert fine.valid
    assert (long.valid, long.parts) == (False, {})


def test_a_judge_pays_and_its_verdicts_are_kept(tmp_path):
    answers = says(verdict("correct"))
    with server(answers) as (url, seen):
        config = recipe(judges={"same": {"url": url, "model": "judge-1"}}, rewards={"same": 1.0})
        first = scored(config, tmp_path, "It is 7.", "It is seven.")
        assert [s.reward for s in first] == [1.0, 1.0]
        asked = len(seen)
        again = scored(config, tmp_path, "It is 7.", "It is seven.")
        assert [s.reward for s in again] == [1.0, 1.0]
        assert len(seen) == asked == 2
    assert len((tmp_path / opinions.CACHE).read_text().splitlines()) == 2
    assert (seen[0]["body"]["model"], seen[0]["body"]["temperature"]) == ("judge-1", 0)


def test_a_judge_that_fails_is_no_reward_of_zero(tmp_path):
    with server(says("I would rather not say.")) as (url, _):
        config = recipe(judges={"same": {"url": url, "model": "judge-1"}}, rewards={"same": 1.0})
        [unknown] = scored(config, tmp_path, "It is 7.")
    assert (unknown.valid, unknown.parts) == (False, {})


def test_a_judge_that_goes_on_failing_stops_the_run(tmp_path):
    with server(says("I would rather not say.")) as (url, _):
        config = recipe(judges={"same": {"url": url, "model": "judge-1"}}, rewards={"same": 1.0})
        with pytest.raises(RunError, match=r"'same' gave no verdict on 40 of 40 .*aha resume"):
            scored(config, tmp_path, *(f"It is {i}." for i in range(40)))


@pytest.mark.parametrize(
    "zero, said",
    [
        (
            {"reward_models": {"accuracy": {"path": "x"}}},
            "'accuracy' is already the name of a reward",
        ),
        ({"reward_models": {"helpful": {"path": "x"}}}, "'helpful' has no weight"),
    ],
)
def test_what_cannot_be_meant_is_refused(zero, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        opinions.of_recipe(recipe(**zero), tmp_path)


def test_a_model_that_is_no_reward_model_is_refused(tmp_path):
    config = recipe(reward_models={"helpful": {"path": "aha:base"}}, rewards={"helpful": 1.0})
    with pytest.raises(ModelError, match="not a reward model"):
        opinions.of_recipe(config, tmp_path)


def test_a_judge_is_in_one_place():
    for fields in ({}, {"url": "http://127.0.0.1:1/v1"}, {"url": "http://x", "path": "y"}):
        with pytest.raises(ValueError, match="either url and model, or path"):
            JudgeConfig(**fields)


def test_where_no_alert_can_tell_of_hacking_it_is_said():
    def asked(*kinds, steps=30, share=0.5):
        config = recipe(
            steps=steps,
            preference_share=share,
            reward_models={"helpful": {"path": "x"}},
            rewards_for={"helpful": {"helpful": 1.0, "format": 1.0}},
        )
        tables = Tables(rewards=config.rewards, by_domain=config.rewards_for)
        prompts = [
            Prompt(id=kind, question="?", gold="", kind=kind, domain="helpful") for kind in kinds
        ]
        return opinions.unwatched(
            config, tables, [*prompts, Prompt(id="m", question="?", gold="1")]
        )

    assert asked("talk", "open") == []
    assert "nothing knows" in asked("open")[0]
    assert "in 4 steps" in asked("talk", steps=8)[0]
    assert asked() == []
