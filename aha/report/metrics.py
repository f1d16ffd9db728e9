"""Every number that a run logs: its name, one sentence, its unit, and how it is combined.

Names read `<what>/<detail>/<statistic>`, lower case (`<what>/<statistic>` where there is no
detail). The same quantity has the same name in the file, the console, the page and the docs.

    metrics.jsonl: {"step": 3, "attempt": 1, "time": 1767225600.0, "reward/mean": 0.5, ...}

Must stay true:  nothing is logged that is not declared here; a value that is not known is null,
                 never 0; volatile values (and `attempt`, `time`) are all that may differ between
                 two runs of the same recipe and seed.
To add one:      a line in METRICS, then `python -m aha.report.metrics > docs/metrics.md`.
"""

import difflib
import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aha.errors import RunError
from aha.files import json_line, write_text

Reduce = Literal["mean", "sum", "max"]
FIXED = ("step", "attempt", "time")
"""Fields of a line that are not metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    sentence: str
    unit: str
    reduce: Reduce
    """How the values of several ranks, or steps, become one."""
    volatile: bool
    """Differs between identical runs: times, rates, memory."""


def _mean(sentence: str, unit: str = "") -> Metric:
    return Metric(sentence=sentence, unit=unit, reduce="mean", volatile=False)


def _share(sentence: str) -> Metric:
    return Metric(sentence=sentence, unit="0..1", reduce="mean", volatile=False)


def _sum(sentence: str, unit: str = "") -> Metric:
    return Metric(sentence=sentence, unit=unit, reduce="sum", volatile=False)


def _max(sentence: str, unit: str = "") -> Metric:
    return Metric(sentence=sentence, unit=unit, reduce="max", volatile=False)


def _seconds(sentence: str) -> Metric:
    return Metric(sentence=sentence, unit="s", reduce="max", volatile=True)


def _rate(sentence: str) -> Metric:
    return Metric(sentence=sentence, unit="tokens/s", reduce="sum", volatile=True)


METRICS: dict[str, Metric] = {
    "reward/mean": _mean("Reward that advantages are computed from; mean over judged answers."),
    "reward/std": _mean("Standard deviation of that reward over all judged answers of the step."),
    "reward/accuracy/mean": _mean("Reward for a right answer, before its weight."),
    "reward/format/mean": _mean("Reward for the asked form, before its weight."),
    "reward/overlong/mean": _mean("Penalty for length near the cap, 0 or below."),
    "reward/<name>/mean": _mean("Any other reward of the recipe by its name, before its weight."),
    "area/<name>/reward": _mean("Reward in one area of problems (math, code, logic, ...)."),
    "area/<name>/correct": _share("Right answers of that area, of those judged."),
    "area/<name>/tokens": _mean("Tokens of an answer in that area.", "tokens"),
    "area/<name>/heldout": _share("Held-out pass@1 of that area."),
    "opinion/<name>/score": _mean(
        "Mean score of a reward model or judge over the answers that a grader judged too."
    ),
    "opinion/<name>/truth": _share("Mean score of the grader over the same answers."),
    "opinion/<name>/agree": _share(
        "Pairs of answers to one question of which both find the same one better; a tie is half."
    ),
    "preference/weight": _share("1 if reward models and judges count in the step, 0 if not yet."),
    "plateau/gain": _mean("Accuracy, or reward, of the last window less that of the one before."),
    "grade/correct/share": _share("Answers that the grader found right."),
    "grade/wrong/share": _share("Answers with an answer part that is not right."),
    "grade/unparsed/share": _share("Answers in which the grader found no answer part."),
    "grade/open/share": _share(
        "Answers to prompts without a right answer; they are in no other share of this kind."
    ),
    "grade/timeout/share": _share("Answers that *our* grader did not judge in time; no reward."),
    "grade/error/share": _share("Answers that *our* grader failed on; no reward."),
    "grade/killed/sum": Metric(
        sentence="Grader processes killed in this attempt so far.",
        unit="processes",
        reduce="sum",
        volatile=True,
    ),
    "group/all_right/share": _share("Groups in which every answer is right."),
    "group/all_wrong/share": _share("Groups in which no answer is right."),
    "group/informative/share": _share("Groups with right and with other answers."),
    "group/partly_paid/share": _share("Groups in which a reward is there for some answers only."),
    "group/flat/share": _share("Groups whose rewards are all equal: their advantage is 0."),
    "group/refilled/sum": _sum("Flat groups replaced by dynamic sampling.", "groups"),
    "advantage/abs/mean": _mean("Size of the advantage over judged answers."),
    "rollout/tokens/mean": _mean("Tokens of an answer, cut ones included.", "tokens"),
    "rollout/tokens/p95": _mean("Length that 95 % of the answers do not exceed.", "tokens"),
    "rollout/tokens/sum": _sum("Tokens sampled in the step.", "tokens"),
    "rollout/think_tokens/mean": _mean("Tokens of the thinking of an answer.", "tokens"),
    "rollout/answer_tokens/mean": _mean("Tokens after the thinking.", "tokens"),
    "rollout/terminated_tokens/mean": _mean("Tokens of the answers that ended.", "tokens"),
    "rollout/cut/share": _share("Answers cut at the token cap."),
    "rollout/eos/share": _share("Answers that the model ended itself."),
    "rollout/stop/share": _share("Answers ended by a stop string."),
    "text/reflection/per_1k": _mean("English reflection words per 1000 answer tokens."),
    "text/reflection/share": _share("Answers with at least one English reflection word."),
    "text/wait/share": _share("Answers with the word `wait`."),
    "text/reflection_zh/share": _share("Answers with at least one Chinese reflection word."),
    "text/han/share": _share("Chinese characters among the letters of the thinking."),
    "text/mixed/share": _share("Answers whose thinking mixes scripts (5 % or more of a second)."),
    "text/repetition/mean": _share("4-grams of an answer that it already had; mean over answers."),
    "suspect/duplicates/share": _share("Answers with the same text as another one of their group."),
    "suspect/several/share": _share("Answers with three boxes or answer tags, or more."),
    "suspect/empty/share": _share("Answers whose thinking tags hold nothing."),
    "suspect/echo/share": _share("Answers whose thinking only says the question again."),
    "suspect/canned/share": _share(
        "Answers whose thinking stands word for word in the answer to another question."
    ),
    "policy/version": _max("Optimizer steps behind the weights that sampled.", "steps"),
    "policy/loss": _mean("The loss: surrogate plus KL term."),
    "policy/entropy/mean": _mean("Entropy at the answer tokens that were computed.", "nats/token"),
    "policy/kl/mean": _mean("KL(policy || reference), estimator k3.", "nats/token"),
    "policy/ratio/mean": _mean("Importance ratio, policy over sampler."),
    "policy/ratio/max": _max("Largest importance ratio."),
    "policy/clip_low/share": _share("Answer tokens whose ratio is bounded from below."),
    "policy/clip_high/share": _share("Answer tokens whose ratio is bounded from above."),
    "policy/gap/mean": _mean("|log p_trainer - log p_engine| of the same weights.", "nats/token"),
    "policy/gap/max": _max("Largest such gap of a token.", "nats"),
    "policy/is_weight/mean": _mean("Weight that corrects engine to trainer, after its cap."),
    "reference/age_steps": _max("Optimizer steps since the reference was renewed.", "steps"),
    "optim/grad_norm": _mean("Norm of the gradient before clipping."),
    "optim/lr": _mean("Learning rate of the step."),
    "optim/skipped/sum": _sum("Optimizer steps skipped: gradient not finite.", "steps"),
    "optim/tokens/sum": _sum("Tokens with a gradient in the step.", "tokens"),
    "heldout/pass_at_1": _share("Held-out problems: mean share of right answers."),
    "heldout/pass_at_1_low": _share("Lower end of its 95 % interval over problems."),
    "heldout/pass_at_1_high": _share("Upper end of its 95 % interval over problems."),
    "heldout/cons_at_k": _share(
        "Held-out problems that a majority vote of the answers gets right."
    ),
    "heldout/cut/share": _share("Held-out answers cut at the token cap."),
    "heldout/unparsed/share": _share("Held-out answers without an answer part."),
    "pretrain/loss": _mean("Cross-entropy of the next token.", "nats/token"),
    "pretrain/loss/drills": _mean("... in one-step drills.", "nats/token"),
    "pretrain/loss/worked": _mean("... in worked problems.", "nats/token"),
    "pretrain/loss/countdown": _mean("... in countdown searches.", "nats/token"),
    "pretrain/loss/logic": _mean("... in puzzles and programs.", "nats/token"),
    "pretrain/loss/talk": _mean("... in requests and their answers.", "nats/token"),
    "pretrain/loss/text": _mean("... in plain text.", "nats/token"),
    "pretrain/loss/template": _mean(
        "... where the R1-Zero template's sentences are.", "nats/token"
    ),
    "pretrain/tokens/sum": _sum("Tokens of the step.", "tokens"),
    "pretrain/expert_load/max": _max("Load of the busiest expert; 1 is its even share."),
    "sft/loss": _mean("Cross-entropy of the answers' tokens; mean over the step.", "nats/token"),
    "sft/heldout/loss": _mean("The same on held-out dialogues.", "nats/token"),
    "sft/examples/sum": _sum("Answers learned in the step.", "answers"),
    "dpo/loss": _mean("Loss of the pairs: -log sigma(margin), or its smoothed form.", "nats"),
    "dpo/accuracy": _share("Pairs whose chosen answer has the higher implicit reward; ties half."),
    "dpo/margin/mean": _mean("Implicit reward of the chosen answer less that of the rejected one."),
    "dpo/chosen/mean": _mean("Log-probability of the chosen answers' tokens.", "nats/token"),
    "dpo/rejected/mean": _mean("Log-probability of the rejected answers' tokens.", "nats/token"),
    "dpo/kl/mean": _mean(
        "k2 against the reference on the tokens of the pairs; a distance, as the model did not write them.",
        "nats/token",
    ),
    "dpo/examples/sum": _sum("Pairs learned in the step.", "pairs"),
    "dpo/heldout/loss": _mean("The loss on held-out pairs.", "nats"),
    "dpo/heldout/accuracy": _share("The accuracy on held-out pairs."),
    "dpo/heldout/margin": _mean("The margin on held-out pairs."),
    "dpo/heldout/chosen": _mean("... their chosen answers.", "nats/token"),
    "dpo/heldout/rejected": _mean("... their rejected answers.", "nats/token"),
    "dpo/heldout/kl": _mean("... their distance from the reference.", "nats/token"),
    "rm/loss": _mean("Loss of a reward model: Bradley-Terry, or cross-entropy of labels.", "nats"),
    "rm/accuracy": _share("Pairs whose chosen answer has the higher score; labels that are right."),
    "rm/margin/mean": _mean(
        "Score of the chosen answer less that of the rejected one; of a label, the score with its sign."
    ),
    "rm/examples/sum": _sum("Pairs or answers learned in the step.", "examples"),
    "rm/heldout/loss": _mean("The loss on held-out examples.", "nats"),
    "rm/heldout/accuracy": _share("The accuracy on held-out examples."),
    "data/epoch": _max("Passes over the data that are complete.", "epochs"),
    "data/cursor": _max("Place in the order of the current pass.", "rows"),
    "time/step_s": _seconds("Wall clock of the whole step."),
    "time/rollout_s": _seconds("Wall clock of sampling answers."),
    "time/grade_wait_s": _seconds("Waiting for graders after the last answer was sampled."),
    "time/update_s": _seconds("Wall clock of forward, backward and optimizer."),
    "time/eval_s": _seconds("Wall clock of the held-out evaluation."),
    "time/checkpoint_s": _seconds("Wall clock of writing the checkpoint."),
    "rate/rollout_tokens_per_s": _rate("Answer tokens sampled per second of sampling."),
    "rate/update_tokens_per_s": _rate("Tokens trained on per second of update."),
    "rate/graded_per_s": Metric(
        sentence="Answers judged per second that grader processes worked.",
        unit="answers/s",
        reduce="sum",
        volatile=True,
    ),
    "memory/peak_gb": Metric(
        sentence="Largest memory of the process.", unit="GB", reduce="max", volatile=True
    ),
}

_REWARD = re.compile(r"reward/[^/\s]+/mean")  # a name from the recipe, whatever it is
_NAMED = re.compile(r"(area|opinion)/[^/\s]+/([a-z]+)")


def metric(name: str) -> Metric:
    """The declaration of `name`.

    Raises:
        KeyError: not declared; names the nearest declared one.
    """
    if name in METRICS:
        return METRICS[name]
    if _REWARD.fullmatch(name):
        return METRICS["reward/<name>/mean"]
    if (found := _NAMED.fullmatch(name)) and (own := f"{found[1]}/<name>/{found[2]}") in METRICS:
        return METRICS[own]
    near = difflib.get_close_matches(name, METRICS, n=1)
    hint = f"did you mean {near[0]!r}? Else " if near else ""
    raise KeyError(f"metric {name!r} is not declared: {hint}add it to METRICS with a sentence")


def check(names: Iterable[str]) -> None:
    """Raise KeyError if a name is not declared."""
    for name in names:
        metric(name)


def comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a line that two runs of the same recipe and seed have in common."""
    return {
        name: value
        for name, value in row.items()
        if name == "step" or (name not in FIXED and not metric(name).volatile)
    }


class MetricsFile:
    """One JSON line a step. Each line is handed to the system before `append` returns.

    A killed writer can leave half a last line: opening the file removes it.
    """

    def __init__(self, path: Path) -> None:
        """Raises RunError: the file cannot be read, or is damaged before its last line."""
        self.path = path
        if path.exists():
            self._rewrite(last_step=None)

    def append(
        self, step: int, values: Mapping[str, float | None], *, attempt: int = 1
    ) -> dict[str, Any]:
        """Write one line and return it. A value that is not finite is written as null.

        Raises:
            KeyError: an undeclared name.
            RunError: the line cannot be written.
        """
        check(values)
        row: dict[str, Any] = {"step": step, "attempt": attempt, "time": round(time.time(), 3)}
        row |= {name: _finite(value) for name, value in values.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json_line(row) + "\n")
        except OSError as error:
            raise RunError(
                f"cannot write {self.path}: {error.strerror or error}; free space or make the "
                "folder writable, then run the same command again"
            ) from error
        return row

    def rows(self) -> list[dict[str, Any]]:
        """All lines, oldest first; [] if there is no file."""
        return [row for _, row in self._lines()] if self.path.exists() else []

    def truncate_after(self, step: int) -> None:
        """Drop the lines of later steps (resuming from a checkpoint of `step`); a no-op if none.

        The other lines keep their bytes. The file is replaced whole: a kill leaves the old one.
        """
        if self.path.exists():
            self._rewrite(last_step=step)

    def _rewrite(self, last_step: int | None) -> None:
        kept = [
            line for line, row in self._lines() if last_step is None or row["step"] <= last_step
        ]
        text = "".join(line + "\n" for line in kept)
        if text.encode() != self.path.read_bytes():
            write_text(self.path, text)

    def _lines(self) -> list[tuple[str, dict[str, Any]]]:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror or error}") from error
        while lines and not lines[-1]:
            lines.pop()
        found = []
        for number, raw in enumerate(lines, 1):
            try:
                line = raw.decode("utf-8")
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                    raise ValueError("not an object with a step")
            except ValueError as error:
                if number == len(lines):
                    break  # torn: the writer was killed here
                raise RunError(
                    f"{self.path}, line {number} is damaged ({error}): restore the file, or delete "
                    "that line"
                ) from error
            found.append((line, row))
        return found


def as_markdown() -> str:
    """docs/metrics.md."""
    parts = [_HEAD]
    area = ""
    for name, it in METRICS.items():
        if name.split("/")[0] != area:
            area = name.split("/")[0]
            parts.append(f"\n## {area}\n\n| name | what | unit | over ranks |\n|---|---|---|---|\n")
        star = " \\*" if it.volatile else ""
        parts.append(f"| `{name}`{star} | {it.sentence} | {it.unit} | {it.reduce} |\n")
    return "".join(parts)


_HEAD = """# Metrics

Made from `aha/report/metrics.py` by `python -m aha.report.metrics > docs/metrics.md`; do not edit.

`metrics.jsonl` has one line a step: `step`, `attempt` (how often the run was started), `time`
(seconds since 1970), and the metrics below that the step has. `null` is "not known", never 0.
Names read `<what>/<detail>/<statistic>`. Shares are 0..1. A star marks volatile metrics: they,
`attempt` and `time` are all that differs between two runs of the same recipe, seed and thread
count.
"""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


if __name__ == "__main__":
    print(as_markdown(), end="")
