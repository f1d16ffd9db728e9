"""Each rule fires on rows that show its trouble, and is silent on a run that learns."""

import json
import math

import pytest

from aha.report.alerts import RULES, Alerts
from aha.report.metrics import check


def healthy(step: int) -> dict[str, float]:
    """A run that learns: accuracy 0.1 -> 0.7 in 60 steps, longer answers, some entropy."""
    right = 0.1 + 0.01 * min(step, 60)
    return {
        "step": step,
        "reward/mean": right + 0.9,
        "reward/std": 0.4,
        "reward/accuracy/mean": right,
        "reward/format/mean": 0.9,
        "grade/timeout/share": 0.0,
        "grade/error/share": 0.0,
        "grade/unparsed/share": 0.05,
        "group/all_right/share": 0.2,
        "group/all_wrong/share": 0.3,
        "group/informative/share": 0.5,
        "rollout/cut/share": 0.02,
        "rollout/terminated_tokens/mean": 100.0 + step,
        "policy/loss": 0.1,
        "policy/entropy/mean": 0.5,
        "policy/kl/mean": 0.001 * step,
        "policy/gap/mean": 1e-6,
        "policy/ratio/mean": 1.0,
        "optim/skipped/sum": 0,
        "text/mixed/share": 0.0,
        "rate/rollout_tokens_per_s": 400.0,
        "rate/update_tokens_per_s": 900.0,
    }


def run(change, steps=40, alerts=None):
    """Kinds that a run fires, with the step of each, when `change(step)` is laid over it."""
    alerts = alerts or Alerts()
    said = []
    for step in range(1, steps + 1):
        row = healthy(step) | change(step)
        check(row.keys() - {"step"})
        said += [(alert.kind, alert.step) for alert in alerts.look(row)]
    return said


def kinds(change, **more):
    return {kind for kind, _ in run(change, **more)}


def test_a_run_that_learns_is_left_in_peace():
    assert run(lambda step: {}, steps=100) == []


def late(step, since=20):
    return step > since


@pytest.mark.parametrize(
    "kind, change",
    [
        ("not_finite", lambda s: {"policy/loss": math.nan} if s == 9 else {}),
        ("all_equal", lambda s: {"reward/mean": 0.0, "reward/std": 0.0} if late(s) else {}),
        ("all_equal", lambda s: {"reward/mean": 2.0, "reward/std": 0.0} if late(s) else {}),
        ("skipped", lambda s: {"optim/skipped/sum": 1} if s == 9 else {}),
        ("gap", lambda s: {"policy/gap/mean": 0.06} if late(s) else {}),
        ("gap", lambda s: {"policy/ratio/mean": 1.2} if late(s) else {}),
        ("failures", lambda s: {"grade/timeout/share": 0.02} if late(s) else {}),
        ("unparsed", lambda s: {"grade/unparsed/share": 0.3} if late(s) else {}),
        ("cut", lambda s: {"rollout/cut/share": 0.31} if late(s) else {}),
        ("uninformative", lambda s: {"group/informative/share": 0.05} if late(s) else {}),
        (
            "form_only",
            lambda s: {"reward/format/mean": 0.02 * s, "reward/accuracy/mean": 0.1},
        ),
        (
            "length_collapse",
            lambda s: {
                "rollout/terminated_tokens/mean": 20.0 if late(s) else 100.0,
                "reward/accuracy/mean": 0.3,
            },
        ),
        ("entropy", lambda s: {"policy/entropy/mean": 0.001} if late(s) else {}),
        ("kl_jump", lambda s: {"policy/kl/mean": 0.5} if late(s) else {}),
        ("mixed", lambda s: {"text/mixed/share": 0.5} if late(s) else {}),
        ("slow", lambda s: {"rate/rollout_tokens_per_s": 150.0} if late(s) else {}),
        ("enumeration", lambda s: {"suspect/several/share": 0.06} if late(s) else {}),
        (
            "duplicates",
            lambda s: {"suspect/duplicates/share": 0.6} if late(s) else {},
        ),
        ("empty_thinking", lambda s: {"suspect/empty/share": 0.3} if late(s) else {}),
        ("echo", lambda s: {"suspect/echo/share": 0.3} if late(s) else {}),
        ("canned_thinking", lambda s: {"suspect/canned/share": 0.6} if late(s) else {}),
        ("partly_paid", lambda s: {"group/partly_paid/share": 0.3} if late(s) else {}),
        (
            "flattery",  # the score climbs, what is true of the same answers sinks
            lambda s: {"opinion/rm/score": 0.1 * s, "opinion/rm/truth": 0.8 - 0.005 * s},
        ),
        (
            "length_jump",
            lambda s: {
                "rollout/tokens/mean": 250.0 if late(s) else 100.0,
                "reward/accuracy/mean": 0.3,
            },
        ),
        (
            "reward_without_skill",
            lambda s: {
                1: {"heldout/pass_at_1": 0.30, "heldout/pass_at_1_high": 0.36},
                40: {"heldout/pass_at_1": 0.31, "heldout/pass_at_1_high": 0.37},
            }.get(s, {}),
        ),
        (
            "hacking",
            lambda s: {
                10: {"heldout/pass_at_1": 0.40, "heldout/pass_at_1_low": 0.35},
                30: {"heldout/pass_at_1": 0.30, "heldout/pass_at_1_low": 0.25},
            }.get(s, {}),
        ),
    ],
)
def test_each_rule_sees_its_trouble_and_only_that(kind, change):
    assert kinds(change) == {kind}
    assert kind == "gap" or kind in RULES


@pytest.mark.parametrize(
    "change",
    [
        # one bad step is not a trend
        lambda s: {"rollout/cut/share": 0.6} if s == 9 else {},
        lambda s: {"grade/unparsed/share": 0.4} if s == 9 else {},
        lambda s: {"reward/mean": 0.0, "reward/std": 0.0} if s == 9 else {},
        lambda s: {"rate/rollout_tokens_per_s": 100.0} if s == 9 else {},
        # a score that rises with the truth, one that rises alone, noise of both
        lambda s: {"opinion/rm/score": 0.1 * s, "opinion/rm/truth": 0.5 + 0.005 * s},
        lambda s: {"opinion/rm/score": 0.1 * s, "opinion/rm/truth": 0.5},
        lambda s: {"opinion/rm/score": s * 7 % 5, "opinion/rm/truth": (s * 3 % 4) / 4},
        # without the truth beside it nothing is said
        lambda s: {"opinion/rm/score": 0.1 * s},
        # answers get short because the model has learned to stop: accuracy rises
        lambda s: {"rollout/terminated_tokens/mean": 20.0 if late(s) else 100.0},
        # held-out falls within the noise of the best
        lambda s: {
            10: {"heldout/pass_at_1": 0.40, "heldout/pass_at_1_low": 0.30},
            30: {"heldout/pass_at_1": 0.35, "heldout/pass_at_1_low": 0.25},
        }.get(s, {}),
        # held-out rises with the reward, above the interval of the first evaluation
        lambda s: {
            1: {"heldout/pass_at_1": 0.30, "heldout/pass_at_1_high": 0.36},
            40: {"heldout/pass_at_1": 0.60, "heldout/pass_at_1_high": 0.66},
        }.get(s, {}),
        # all answers alike because nearly all are right
        lambda s: {"suspect/duplicates/share": 0.9, "reward/accuracy/mean": 0.95},
        # answers grow while accuracy rises
        lambda s: {"rollout/tokens/mean": 250.0 if late(s) else 100.0},
        # metrics that are not known are not zero
        lambda s: dict.fromkeys(healthy(s).keys() - {"step"}),
        lambda s: {"policy/kl/mean": None, "reward/std": None},
    ],
)
def test_no_false_alarm(change):
    assert run(change) == []


def test_too_hard_and_too_easy_are_told_apart():
    rare = {"group/informative/share": 0.0}
    for wrong, right, word in ((0.9, 0.1, "too hard"), (0.1, 0.9, "too easy")):
        alerts = Alerts()
        row = rare | {"group/all_wrong/share": wrong, "group/all_right/share": right}
        said = [a for step in range(1, 8) for a in alerts.look({"step": step} | row)]
        assert [word in a.text for a in said] == [True]


def test_the_same_thing_is_said_once_in_a_while():
    def always(step):
        return {"rollout/cut/share": 0.5}

    # true from the third row on: said at 3, 23, 43
    assert run(always, steps=45) == [("cut", 3), ("cut", 23), ("cut", 43)]
    assert run(always, steps=12, alerts=Alerts(every=4)) == [("cut", 3), ("cut", 7), ("cut", 11)]


def test_held_out_is_compared_with_the_best_however_long_ago():
    def change(step):
        seen = {1: (0.5, 0.45), 100: (0.52, 0.47), 200: (0.3, 0.25)}.get(step)
        value = {"reward/mean": step / 100}
        if seen:
            value |= {"heldout/pass_at_1": seen[0], "heldout/pass_at_1_low": seen[1]}
        return value

    assert run(change, steps=200) == [("hacking", 200)]


def slow_rise(step):
    """The reward rises by 0.005 a step up to step 100 and is flat then; of evaluations that is the best."""
    value = {"reward/mean": 0.005 * min(step, 100)}
    if step % 20 == 0:
        right = 0.5 if step == 100 else 0.4
        value |= {"heldout/pass_at_1": right, "heldout/pass_at_1_low": right - 0.05}
    return value


def test_the_reward_at_an_old_evaluation_is_that_of_the_steps_up_to_it():
    """Steps 96 to 100 have a mean of 0.49, 0.01 below what comes after; the evaluations up to step 100 alone
    have one of 0.3, and the reward would seem to have risen by 0.2 while held-out answers got worse."""
    assert run(slow_rise, steps=200) == []


@pytest.mark.parametrize("at", [3, 60, 101, 121, 139])
def test_it_is_the_same_after_a_resume(at):
    def states(first, last, alerts):
        for step in range(first, last):
            alerts.look(healthy(step) | slow_rise(step))
        return json.dumps(alerts.state_dict(), allow_nan=False)

    whole, again = Alerts(), Alerts()
    again.load_state_dict(json.loads(states(1, at, Alerts())))
    assert states(at, 181, again) == states(1, 181, whole)


def test_a_state_of_before_has_no_reward_with_its_evaluations():
    """What stands near them is taken, and never an evaluation far away."""
    first = Alerts()
    for step in range(1, 151):
        first.look(healthy(step) | slow_rise(step))
    state = json.loads(json.dumps(first.state_dict()))
    rows = [
        {name: value for name, value in row.items() if not name.startswith("_")}
        for row in state["rows"]
    ]
    assert rows != state["rows"]
    again = Alerts()
    again.load_state_dict(state | {"rows": rows})
    said = [a for s in range(151, 201) for a in again.look(healthy(s) | slow_rise(s))]
    assert said == []


def test_an_evaluation_before_the_first_step_is_held_against_the_first_steps():
    """The reward rises by 0.4 in 20 steps; held-out pass@1 rises for a moment and is back at step 40."""

    def change(step):
        right = {20: 0.40, 40: 0.31}.get(step)
        value = {"reward/mean": 0.2 + 0.02 * min(step, 20)}
        return value if right is None else value | held(right)

    def held(right):
        return {
            f"heldout/pass_at_1{end}": right + by
            for end, by in (("", 0), ("_low", -0.1), ("_high", 0.06))
        }

    alerts = Alerts()
    alerts.look({"step": 0} | held(0.30))
    [said] = [a for step in range(1, 41) for a in alerts.look(healthy(step) | change(step))]
    assert (said.kind, said.step) == ("reward_without_skill", 40)
    assert "rose from 0.26 to 0.60" in said.text  # steps 1 to 5, steps 36 to 40


def test_a_resumed_run_says_what_the_whole_run_says():
    def change(step):
        return {
            "rollout/cut/share": 0.5,
            "policy/loss": math.inf if step == 12 else 0.1,
            "rate/rollout_tokens_per_s": 400.0 * 0.8**step,
        }

    def steps(alerts, first, last):
        return [a for s in range(first, last) for a in alerts.look(healthy(s) | change(s))]

    whole = [a for a in steps(Alerts(), 1, 60) if a.kind != "slow"]
    first = Alerts()
    said = steps(first, 1, 25)
    text = json.dumps(first.state_dict(), allow_nan=False)
    assert "rate/" not in text
    assert "slow" not in text
    again = Alerts()
    again.load_state_dict(json.loads(text))
    said += steps(again, 25, 60)
    assert [a for a in said if a.kind != "slow"] == whole
    assert json.dumps(again.state_dict(), allow_nan=False)


def test_every_alert_says_what_to_do():
    for change in (
        lambda s: {"reward/mean": 0.0, "reward/std": 0.0},
        lambda s: {"rollout/cut/share": 0.5},
    ):
        alerts = Alerts()
        for step in range(1, 9):
            for alert in alerts.look(healthy(step) | change(step)):
                assert alert.text.endswith(".")
                assert any(word in alert.text for word in ("aha grade", "max_answer_tokens"))


@pytest.mark.parametrize("paying, kinds_said", [(15, {"flattery"}), (8, {"flattery"}), (7, set())])
def test_opinions_of_the_last_steps_only_are_watched_too(paying, kinds_said):
    """A stage of 30 steps whose last ones pay for an opinion, in some of them only."""

    def change(step):
        if step <= 30 - paying:
            return {}
        return {"opinion/rm/score": 0.3 * step, "opinion/rm/truth": 1.5 - 0.03 * step}

    assert kinds(change, steps=30) == kinds_said
