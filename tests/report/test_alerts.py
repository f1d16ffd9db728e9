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
