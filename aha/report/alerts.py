"""Things that go wrong while numbers still look fine, in plain words, with what to do next.

Each rule is a pure function of the recent metric rows (oldest first): None, or what it found and
the next action. `Alerts` keeps those rows and says the same thing at most once in `every` steps.
An alert never stops a run.

Not covered: one bad answer (read the rollouts), disk space, and what is not in the metrics.
To add one: a function here, a line in RULES, a test with rows that fire it and rows that do not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, variance
from typing import Any

from aha.report.metrics import metric

Row = Mapping[str, Any]
Rule = Callable[[Sequence[Row]], str | None]

K = 5  # rows of "all the time"
SHORT = 3  # rows that smooth a share
LONG = 20  # rows of a trend: its first half against its second
OPINIONS = 8  # of a model in these rows, from which a trend of them is looked for
UNPARSED, FAILED, CUT, INFORMATIVE, MIXED = 0.20, 0.01, 0.30, 0.10, 0.20
ENTROPY_FLOOR = 0.02  # nats a token: about 1 token in 200 is still a choice
KL_FLOOR, KL_JUMP = 0.05, 5.0
RATIO_BAND = 0.1
REWARD_ROSE = 0.1  # since the first evaluation
NOISE = 2.0  # standard errors of a difference of two means
FELL = 0.02  # of a score 0..1
SEVERAL, SAME, EMPTY, CANNED = 0.05, 0.5, 0.2, 0.5  # shares of answers
PARTLY = 0.2  # of groups
REWARD_UNTIL = "_reward_until"  # of an evaluated row, known when the rows near it are gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    kind: str
    """Name of the rule."""
    step: int
    text: str
    """What was found and what to do, one or two sentences."""


def all_equal(rows: Sequence[Row]) -> str | None:
    means, stds = _last(rows, "reward/mean", K), _last(rows, "reward/std", K)
    if not means or not stds or max(stds) > 0:
        return None
    if max(map(abs, means)) == 0:
        return (
            f"every reward was 0 for {K} steps: nothing is learned. Try the grader on answers that "
            "you know are right with `aha grade`, then look for the cause with `aha doctor`."
        )
    return (
        f"all rewards were the same ({means[-1]:.3g}) for {K} steps: nothing is learned. Check the "
        "grader with `aha grade` and the recipe with `aha doctor`, or take harder problems."
    )


def not_finite(rows: Sequence[Row]) -> str | None:
    bad = [
        name
        for name, value in rows[-1].items()
        if name.startswith(("policy/", "optim/", "pretrain/", "reward/"))
        and isinstance(value, float)
        and not math.isfinite(value)
    ]
    if bad:
        return f"not a finite number: {', '.join(sorted(bad))}. Lower optim.lr or grad_clip."
    return None


def skipped(rows: Sequence[Row]) -> str | None:
    count = rows[-1].get("optim/skipped/sum") or 0
    if count > 0:
        return (
            f"{count:g} optimizer step(s) skipped because the gradient was not finite. If it goes "
            "on, lower optim.lr."
        )
    return None


def gap(rows: Sequence[Row], max_gap: float) -> str | None:
    now = _last(rows, "policy/gap/mean", 1)
    if now and now[0] > max_gap / 2:
        return (
            f"sampler and trainer differ by {now[0]:.3g} nats a token (the run stops above "
            f"{max_gap:g}). Set model.dtype='float32', or old_logprobs='trainer' with truncated_is."
        )
    ratio = _last(rows, "policy/ratio/mean", 1)
    if ratio and abs(ratio[0] - 1) > RATIO_BAND:
        return (
            f"the mean importance ratio is {ratio[0]:.3g}, not near 1: the policy has left the one "
            "that sampled. Lower optim.lr or minibatches."
        )
    return None


def failures(rows: Sequence[Row]) -> str | None:
    late, broken = _mean(rows, "grade/timeout/share"), _mean(rows, "grade/error/share")
    share = (late or 0.0) + (broken or 0.0)
    if share > FAILED:
        return (
            f"the grader gave no verdict on {_percent(share)} of the answers "
            f"({_percent(late or 0)} out of time): they teach nothing. "
            "Raise grader_seconds or lower grader_workers."
        )
    return None


def unparsed(rows: Sequence[Row]) -> str | None:
    share = _mean(rows, "grade/unparsed/share")
    if share is not None and share > UNPARSED:
        return (
            f"{_percent(share)} of the answers had no answer part that the grader could find. Read "
            "some with `aha sample`; check template, think_tag and answer_tag."
        )
    return None


def cut(rows: Sequence[Row]) -> str | None:
    share = _mean(rows, "rollout/cut/share")
    if share is not None and share > CUT:
        return f"{_percent(share)} of the answers were cut at the cap. Raise max_answer_tokens."
    return None


def uninformative(rows: Sequence[Row]) -> str | None:
    share = _mean(rows, "group/informative/share", K)
    if share is None or share >= INFORMATIVE:
        return None
    right, wrong = _mean(rows, "group/all_right/share", K), _mean(rows, "group/all_wrong/share", K)
    found = f"only {_percent(share)} of the groups hold both right and wrong answers: "
    if right is not None and wrong is not None and right > wrong:
        return found + "the problems are too easy. Take harder ones."
    return found + "the problems are too hard. Take easier ones, or raise group_size."


def form_only(rows: Sequence[Row]) -> str | None:
    form, right = _rise(rows, "reward/format/mean"), _rise(rows, "reward/accuracy/mean")
    if form is not None and right is not None and form > 0.1 and right < 0.01:
        return (
            f"the format reward rose by {form:.2f} while accuracy stayed flat: the model learns "
            "the form only. Lower the weight of format, or take easier problems."
        )
    return None


def hacking(rows: Sequence[Row]) -> str | None:
    seen = [row for row in rows if _number(row.get("heldout/pass_at_1")) is not None]
    if len(seen) < 2 or rows[-1] is not seen[-1]:
        return None
    best = max(seen[:-1], key=lambda row: row["heldout/pass_at_1"])
    now = seen[-1]
    fell = best["heldout/pass_at_1"] - now["heldout/pass_at_1"]
    low = _number(best.get("heldout/pass_at_1_low"))
    earlier, later = _reward_until(rows, best), _reward_until(rows, now)
    if fell <= 0.02 or (low is not None and now["heldout/pass_at_1"] >= low):
        return None  # within the noise
    if earlier is not None and later is not None and later - earlier > 0.02:
        return (
            f"the reward rose from {earlier:.2f} to {later:.2f} since step {best['step']} but "
            f"held-out pass@1 fell from {_percent(best['heldout/pass_at_1'])} to "
            f"{_percent(now['heldout/pass_at_1'])}: the reward may be hacked, or the training "
            "problems memorised. Read the best-paid answers; go back to the best checkpoint."
        )
    return None


def reward_without_skill(rows: Sequence[Row]) -> str | None:
    seen = [row for row in rows if _number(row.get("heldout/pass_at_1")) is not None]
    if len(seen) < 2 or rows[-1] is not seen[-1]:
        return None
    first, now = seen[0], seen[-1]
    high = _number(first.get("heldout/pass_at_1_high"))
    earlier, later = _reward_until(rows, first), _reward_until(rows, now)
    if high is None or earlier is None or later is None or later - earlier <= REWARD_ROSE:
        return None
    fell = now["heldout/pass_at_1"] < first["heldout/pass_at_1"] - 0.02
    if now["heldout/pass_at_1"] > high or fell:  # it learns; or `hacking` says what happens
        return None
    return (
        f"the reward rose from {earlier:.2f} to {later:.2f} since step {first['step']}, held-out pass@1 "
        f"stayed at {_percent(now['heldout/pass_at_1'])} (was {_percent(first['heldout/pass_at_1'])}, "
        "within its interval): what is paid for is not what is measured. Read the best-paid answers."
    )


def flattery(rows: Sequence[Row]) -> str | None:
    """A model's opinion rises while the truth about the same answers falls.

    Halves of the scores among the last LONG rows, OPINIONS at least, against each other; both changes above
    NOISE standard errors of such a difference (a score has no unit of its own), and the truth's above FELL.
    """
    for name in sorted(rows[-1]):
        if not (name.startswith("opinion/") and name.endswith("/score")):
            continue
        truth = name.removesuffix("score") + "truth"
        rose, fell = _shift(rows, name), _shift(rows, truth)
        if rose is None or fell is None:
            continue
        if rose[0] > NOISE * rose[1] and -fell[0] > max(NOISE * fell[1], FELL):
            agree = _mean(rows, name.removesuffix("score") + "agree")
            said = "" if agree is None else f" (the two agree on {_percent(agree)} of the pairs)"
            return (
                f"'{name.split('/')[1]}' rose by {rose[0]:.2f} while what is true of the same answers "
                f"fell by {-fell[0]:.2f}{said}: its taste is learned, not the task. Lower its weight, "
                "give it fewer steps (preference_share), or go back to an earlier checkpoint."
            )
    return None


def enumeration(rows: Sequence[Row]) -> str | None:
    share = _mean(rows, "suspect/several/share")
    if share is not None and share > SEVERAL:
        return (
            f"{_percent(share)} of the answers give three answers or more. Only the last one counts, "
            "so it does not pay; see what makes the model do it."
        )
    return None


def duplicates(rows: Sequence[Row]) -> str | None:
    share, right = (
        _mean(rows, "suspect/duplicates/share", K),
        _mean(rows, "reward/accuracy/mean", K),
    )
    if share is not None and share > SAME and (right is None or right < 0.9):
        return (
            f"{_percent(share)} of the answers are the same text as another one of their group: there "
            "is little left to compare. Raise the temperature or clip_high; look at the entropy."
        )
    return None


def empty_thinking(rows: Sequence[Row]) -> str | None:
    share = _mean(rows, "suspect/empty/share")
    if share is not None and share > EMPTY:
        return (
            f"{_percent(share)} of the answers have thinking tags with nothing in them. The format "
            "reward does not pay for them; take harder problems, or look at the template."
        )
    return None


def echo(rows: Sequence[Row]) -> str | None:
    share = _mean(rows, "suspect/echo/share")
    if share is not None and share > EMPTY:
        return f"in {_percent(share)} of the answers the thinking only says the question again."
    return None


def partly_paid(rows: Sequence[Row]) -> str | None:
    share = _mean(rows, "group/partly_paid/share")
    if share is not None and share > PARTLY:
        return (
            f"in {_percent(share)} of the groups a reward is there for some answers only (None for the "
            "others): those are paid for having it, whatever it says. Let it give every answer a number."
        )
    return None


def canned_thinking(rows: Sequence[Row]) -> str | None:
    share = _mean(rows, "suspect/canned/share")
    if share is not None and share > CANNED:
        return (
            f"in {_percent(share)} of the answers the thinking is that of another question, word for "
            "word: it is written for its tags, not to think. Lower the weight of the format reward, "
            "take easier problems, or ask in another way (data.template)."
        )
    return None


def length_jump(rows: Sequence[Row]) -> str | None:
    lengths, right = _last(rows, "rollout/tokens/mean", LONG), _rise(rows, "reward/accuracy/mean")
    if not lengths:
        return None
    before, now = fmean(lengths[: LONG // 2]), fmean(lengths[-K:])
    if now > 2 * before and (right is None or right < 0.01):
        return (
            f"answers grew from {before:.0f} to {now:.0f} tokens and accuracy did not rise. Look for "
            "repetition (text/repetition/mean); an overlong penalty or `repetition` may help."
        )
    return None


def length_collapse(rows: Sequence[Row]) -> str | None:
    name = "rollout/terminated_tokens/mean"
    lengths, right = _last(rows, name, LONG), _rise(rows, "reward/accuracy/mean")
    if not lengths:
        return None
    before, now = fmean(lengths[: LONG // 2]), fmean(lengths[-K:])
    if now < before / 2 and (right is None or right < 0.01):
        return (
            f"answers that end shrank from {before:.0f} to {now:.0f} tokens and accuracy did not "
            "rise. Check the length penalty and the format reward; lower optim.lr."
        )
    return None


def entropy(rows: Sequence[Row]) -> str | None:
    now, right = _mean(rows, "policy/entropy/mean"), _mean(rows, "reward/accuracy/mean")
    if now is not None and now < ENTROPY_FLOOR and (right is None or right < 0.9):
        return (
            f"entropy is {now:.3g} nats a token: all answers are alike and exploration has ended. "
            "Raise clip_high or kl_coef, or lower optim.lr and go back to an earlier checkpoint."
        )
    return None


def kl_jump(rows: Sequence[Row]) -> str | None:
    values = _last(rows, "policy/kl/mean", K + 1)
    if not values:
        return None
    before, now = median(values[:-1]), values[-1]
    if now > KL_FLOOR and now > KL_JUMP * before:
        return (
            f"KL to the reference jumped from {before:.3g} to {now:.3g} nats a token. Lower "
            "optim.lr, or raise kl_coef."
        )
    return None


def mixed(rows: Sequence[Row]) -> str | None:
    share = _mean(rows, "text/mixed/share", K)
    if share is not None and share > MIXED:
        return (
            f"{_percent(share)} of the answers mix languages in their thinking. The paper's cure "
            "is a cold start and a language-consistency reward."
        )
    return None


def slow(rows: Sequence[Row]) -> str | None:
    """Volatile: its rows and its silence are not part of the saved state."""
    for name, what in (
        ("rate/rollout_tokens_per_s", "sampling"),
        ("rate/update_tokens_per_s", "training"),
    ):
        rates = _last(rows, name, SHORT + K)
        if rates and max(rates[-SHORT:]) < median(rates[:K]) / 2:
            return (
                f"{what} fell from {median(rates[:K]):.0f} to {rates[-1]:.0f} tokens/s. See what "
                "else uses the machine (`aha doctor`)."
            )
    return None


RULES: dict[str, Rule] = {
    "not_finite": not_finite,
    "all_equal": all_equal,
    "skipped": skipped,
    "failures": failures,
    "unparsed": unparsed,
    "cut": cut,
    "uninformative": uninformative,
    "form_only": form_only,
    "hacking": hacking,
    "reward_without_skill": reward_without_skill,
    "flattery": flattery,
    "enumeration": enumeration,
    "duplicates": duplicates,
    "empty_thinking": empty_thinking,
    "echo": echo,
    "canned_thinking": canned_thinking,
    "partly_paid": partly_paid,
    "length_jump": length_jump,
    "length_collapse": length_collapse,
    "entropy": entropy,
    "kl_jump": kl_jump,
    "mixed": mixed,
    "slow": slow,
}


class Alerts:
    """Recent rows and what was said when."""

    def __init__(self, *, every: int = 20, max_gap: float = 0.1) -> None:
        """`every`: steps between alerts of the same kind; `max_gap`: as in the recipe."""
        self._every = every
        self._rules = {"gap": lambda rows: gap(rows, max_gap)} | RULES
        self._rows: list[dict[str, Any]] = []
        self._said: dict[str, int] = {}

    def look(self, row: Row) -> list[Alert]:
        """Take in the metrics of one more step (`step` and declared names); what is new."""
        self._rows.append(_only_numbers(row))
        for near in self._rows[-K - 1 :]:  # before the first step the next K rows count
            reward = _reward_near(self._rows, near) if "heldout/pass_at_1" in near else None
            if reward is not None:
                near[REWARD_UNTIL] = reward
        evaluated = [r for r in self._rows[:-LONG] if "heldout/pass_at_1" in r][-LONG:]
        self._rows = evaluated + self._rows[-LONG:]
        step = row["step"]
        found = []
        for kind, rule in self._rules.items():
            if step - self._said.get(kind, step - self._every) < self._every:
                continue
            text = rule(self._rows)
            if text:
                self._said[kind] = step
                found.append(Alert(kind=kind, step=step, text=text))
        return found

    def state_dict(self) -> dict[str, Any]:
        """Plain values, the same for two runs of the same recipe and seed."""
        return {
            "rows": [
                {
                    name: value
                    for name, value in row.items()
                    if name in ("step", REWARD_UNTIL)
                    or (math.isfinite(value) and not metric(name).volatile)
                }
                for row in self._rows
            ],
            "said": {kind: step for kind, step in self._said.items() if kind != "slow"},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rows = [dict(row) for row in state["rows"]]
        self._said = dict(state["said"])


def _only_numbers(row: Row) -> dict[str, Any]:
    """Without nulls, `attempt` and `time`."""
    return {
        name: value
        for name, value in row.items()
        if name not in ("attempt", "time") and isinstance(value, (int, float))
    }


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and math.isfinite(value)
    return float(value) if good else None


def _last(rows: Sequence[Row], name: str, count: int) -> list[float]:
    """The values of the last `count` rows, or [] unless each of them has one."""
    values = [_number(row.get(name)) for row in rows[-count:]]
    known = [value for value in values if value is not None]
    return known if len(known) == count else []


def _mean(rows: Sequence[Row], name: str, count: int = SHORT) -> float | None:
    values = _last(rows, name, count)
    return fmean(values) if values else None


def _rise(rows: Sequence[Row], name: str) -> float | None:
    """Mean of the second half of the last LONG rows minus mean of their first half."""
    values = _last(rows, name, LONG)
    return fmean(values[LONG // 2 :]) - fmean(values[: LONG // 2]) if values else None


def _shift(rows: Sequence[Row], name: str) -> tuple[float, float] | None:
    """(rise, its standard error) of the second half of the values in the last LONG rows over the first.

    Opinions are there in steps that pay for them only; fewer than OPINIONS say nothing.
    """
    found = (_number(row.get(name)) for row in rows[-LONG:])
    values = [value for value in found if value is not None]
    if len(values) < OPINIONS:
        return None
    half = len(values) // 2
    halves = values[:half], values[half:]
    error = math.sqrt(sum(variance(half) / len(half) for half in halves))
    return fmean(halves[1]) - fmean(halves[0]), error


def _reward_until(rows: Sequence[Row], at: Row) -> float | None:
    """What was stored with an evaluated row when it was new; in a state of before, what is near it still."""
    stored = _number(at.get(REWARD_UNTIL))
    return _reward_near(rows, at) if stored is None else stored


def _reward_near(rows: Sequence[Row], at: Row) -> float | None:
    """Mean reward of the K steps that end with `at`; before the first step, of the next K."""
    before = [row for row in rows if at["step"] - K < row["step"] <= at["step"]]
    after = [row for row in rows if at["step"] < row["step"] <= at["step"] + K]
    for part in (before, after):
        values = [v for row in part if (v := _number(row.get("reward/mean"))) is not None]
        if values:
            return fmean(values)
    return None


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"
