"""Prompts without a right answer in the numbers of a step, and opinions beside what is true."""

import pytest

from aha.records import Grade, Group, Prompt, Rendered, Rollout, Scored
from aha.report import step_metrics
from aha.report.metrics import check
from aha.rewards.grade import OPEN


def group(kind, *answers, name="q", domain=""):
    """answers: (Grade, parts)."""
    scored = []
    for sample, (grade, parts) in enumerate(answers):
        rollout = Rollout(
            prompt_id=name, sample=sample, token_ids=(1,), logprobs=(0.0,), text="a",
            policy_version=0, stopped="eos",
        )  # fmt: skip
        scored.append(Scored(rollout=rollout, grade=grade, parts=parts, reward=sum(parts.values())))
    prompt = Prompt(id=name, question="?", gold="", kind=kind, domain=domain)
    return Group(rendered=Rendered(prompt=prompt, text="?", token_ids=(1,)), scored=tuple(scored))


def graded(score, **parts):
    return Grade(status="correct" if score == 1 else "wrong", score=score), parts


def of(*groups):
    values = step_metrics.of_groups(groups, [], think_tag="think", answer_tag="answer")
    check(values)
    return values


MATH = group("math", graded(1.0), graded(0.0), graded(0.0), graded(0.0))
TALK = group("open", (OPEN, {"helpful": 1.0}), (OPEN, {"helpful": 3.0}), domain="helpful")


def test_open_prompts_are_not_wrong_ones():
    mixed, alone = of(MATH, TALK), of(MATH)
    for name in alone:
        if name.startswith("grade/"):
            assert mixed[name] == alone[name], name
    assert mixed["grade/correct/share"] == 0.25
    assert mixed["grade/open/share"] == pytest.approx(2 / 6)
    assert (mixed["group/all_wrong/share"], mixed["group/informative/share"]) == (0.0, 1.0)
    assert mixed["reward/helpful/mean"] == 2.0
    assert "grade/open/share" not in alone


def test_what_only_open_prompts_could_say_is_not_known():
    values = of(TALK)
    for name in ("grade/correct/share", "grade/wrong/share", "group/all_wrong/share"):
        assert values[name] is None
    assert values["group/flat/share"] == 0.0  # there is something to learn
    assert step_metrics.accuracy([TALK]) is None
    assert step_metrics.accuracy([TALK, MATH]) == 0.25
    by = step_metrics.by_area([MATH, TALK])
    assert (by["area/helpful/correct"], by["area/math/correct"]) == (None, 0.25)
    assert by["area/helpful/reward"] == 2.0


def test_an_opinion_beside_the_truth_by_hand():
    # pairs whose truths differ: (0.5, 1.0) the model agrees; (1.0, 0.0) it does not; (0.5, 0.0) a tie
    talk = group(
        "talk",
        graded(0.5, helpful=1.0), graded(1.0, helpful=3.0), graded(0.0, helpful=4.0),
        graded(0.0, helpful=1.0), (Grade(status="error", score=0.0), {"helpful": 9.0}), graded(1.0),
    )  # fmt: skip
    values = step_metrics.opinions([talk, TALK], {"helpful", "other"})
    check(values)
    assert values.keys() == {f"opinion/helpful/{what}" for what in ("score", "truth", "agree")}
    assert values["opinion/helpful/score"] == (1 + 3 + 4 + 1) / 4
    assert values["opinion/helpful/truth"] == 1.5 / 4
    # (.5,1): right, (.5,0 of 4): wrong, (.5,0 of 1): tie, (1,0 of 4): wrong, (1,0 of 1): right
    assert values["opinion/helpful/agree"] == pytest.approx(2.5 / 5)


def test_truth_does_not_depend_on_what_is_paid():
    """Two answers with the same score of the grader: nothing to agree on."""
    talk = group("talk", graded(1.0, helpful=1.0), graded(1.0, helpful=2.0))
    values = step_metrics.opinions([talk], {"helpful"})
    assert values["opinion/helpful/truth"] == 1.0
    assert values["opinion/helpful/agree"] is None


def test_a_reward_that_some_answers_of_a_group_lack_is_counted():
    whole = group("math", graded(1.0, language=1.0), graded(0.0, language=0.0))
    other = group("math", graded(1.0, form=1.0), graded(0.0, form=0.0))  # of another domain
    torn = group("math", graded(1.0, language=1.0), graded(0.0))
    assert of(whole, other)["group/partly_paid/share"] == 0.0
    assert of(whole, torn, other, other)["group/partly_paid/share"] == 0.25
