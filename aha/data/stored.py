"""Answers that an RL stage stored, to be learned from again.

    RUN/NAME/rollouts/step_000012.jsonl     readable rows: question, text, verdict, reward
    RUN/NAME/rollouts/step_000012.parquet   token ids and the sampler's log-probabilities, same order

    stage:zero                      right answers of all steps (supervised training: RFT)
    stage:zero?correct=false        wrong ones too
    stage:zero?steps=50-100&n=500   the first 500 usable ones of these steps
    stage:zero                      for a stage of pairs: a right and a wrong answer of one group

In place of `stage:NAME`, the folder RUN/NAME. Every stored answer is kept or counted under a reason:

    grader_failed   our grader has no verdict
    not_correct     wrong, or no answer was found                              (correct=true)
    cut             ended by the token cap; of a pair it may be the rejected one
    empty           no text
    duplicate       the same text as an earlier answer to this question        (dialogues)
    over_cap        `per_problem` earlier ones to this question were kept      (dialogues)
    flat            no other answer of its group is better or worse            (pairs)
    spare           its group gave its pairs without it                        (pairs)
    after_n         `n` were kept before

Must stay true:  what is kept is a function of the files, the keys and the seed.
Holds not:       what of a dialogue or a pair is learned (stages/), the loss.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha import files
from aha.data import query
from aha.data.query import Query
from aha.errors import ConfigError, DataError
from aha.records import Prompt

ROLLOUTS = "rollouts"
EVERY_STEP = (0, 10**12)
CORRECT = ("correct",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One stored answer."""

    prompt: Prompt
    step: int
    """Optimizer step that it was sampled for."""
    sample: int
    attempt: int
    prefill: str
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """The sampler's, nats, one per token, under its temperature."""
    stopped: str
    status: str
    reward: float
    valid: bool

    @property
    def response(self) -> str:
        """All of the answer, what the prompt wrote of it included."""
        return self.prefill + self.text

    @property
    def id(self) -> str:
        return f"{self.prompt.id}/{self.step}.{self.attempt}.{self.sample}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPair:
    """Two answers of one group, of which one earned more."""

    chosen: Stored
    rejected: Stored

    @property
    def id(self) -> str:
        return f"{self.chosen.id}-{self.rejected.sample}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers of a source that are kept, and what became of the others."""

    source: str
    kept: list[Stored]
    rows: int
    dropped: dict[str, int]

    def sentence(self) -> str:
        return f"{self.source}: {_sentence(len(self.kept), 'kept', self.rows, self.dropped)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The pairs of a source, and what became of the answers that are in none."""

    source: str
    kept: list[StoredPair]
    rows: int
    """Answers read. 2 x pairs + dropped."""
    dropped: dict[str, int]

    def sentence(self) -> str:
        return f"{self.source}: {_sentence(len(self.kept), 'pairs', self.rows, self.dropped)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The keys of a source."""

    correct: bool = True
    """Keep right answers only; of pairs: the chosen one is right and the rejected one is not."""
    steps: tuple[int, int] = EVERY_STEP
    per_problem: int = 0
    """Answers kept to one question; pairs taken from one group. 0: all answers, one pair."""
    margin: float = 0.0
    """Pairs: the reward of the chosen answer is higher by more than this."""
    n: int = 0
    """The first n that are kept; 0: all."""


def holds(source: str) -> bool:
    """Is this the folder of a stage with stored answers?"""
    try:
        return (folder_of(source) / ROLLOUTS).is_dir()
    except OSError:
        return False


def folder_of(source: str) -> Path:
    """The stage's folder that a source names."""
    return Path(query.parse(source).where).expanduser()


def load_answers(source: str) -> Answers:
    """The answers of a source that can be learned as they are, oldest step first.

    Raises:
        ConfigError: a key that is not known.
        DataError: nothing there, damaged files, nothing kept.
    """
    asked = _asked(query.parse(source), ("correct", "steps", "per_problem", "n"))
    kept: list[Stored] = []
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    of_question: Counter[str] = Counter()
    rows = 0
    for step in _steps(folder_of(source), asked.steps):
        for one in step:
            rows += 1
            reason = _alone(one, correct=asked.correct)
            content = _digest(one.prompt.question, one.response)
            if not reason and content in seen:
                reason = "duplicate"
            elif not reason and 0 < asked.per_problem <= of_question[one.prompt.question]:
                reason = "over_cap"
            if not reason and asked.n and len(kept) >= asked.n:
                reason = "after_n"
            if reason:
                dropped[reason] += 1
                continue
            seen.add(content)
            of_question[one.prompt.question] += 1
            kept.append(one)
    _refuse_none(source, bool(kept), rows, dropped, "an answer that can be learned")
    return Answers(source=source, kept=kept, rows=rows, dropped=dict(sorted(dropped.items())))


def load_pairs(source: str, *, seed: int) -> Pairs:
    """Pairs of answers of one group, the best with the worst; equal ones in an order of the seed.

    Raises:
        ConfigError: a key that is not known.
        DataError: nothing there, damaged files, no group with two answers that differ.
    """
    asked = _asked(query.parse(source), ("correct", "steps", "per_problem", "margin", "n"))
    kept: list[StoredPair] = []
    dropped: Counter[str] = Counter()
    rows = 0
    for step in _steps(folder_of(source), asked.steps):
        rows += len(step)
        for group in _groups(step):
            made, reasons = _pairs_of(group, asked, seed)
            room = max(0, asked.n - len(kept)) if asked.n else len(made)
            kept += made[:room]
            dropped.update(reasons)
            if late := 2 * len(made[room:]):
                dropped["after_n"] += late
    what = "two answers to one problem, one better than the other"
    _refuse_none(source, bool(kept), rows, dropped, what)
    return Pairs(source=source, kept=kept, rows=rows, dropped=dict(sorted(dropped.items())))


def read(folder: Path, steps: tuple[int, int] = EVERY_STEP) -> Iterator[list[Stored]]:
    """Step after step, the stored answers of a stage's folder.

    Raises:
        DataError: no stored answers; files that are damaged or do not belong together.
    """
    return _steps(folder, steps)


# -- which ------------------------------------------------------------------------------------------------


def _asked(asked: Query, known: Sequence[str]) -> _Asked:
    where = f"stored answers {asked.where}"
    keys = dict(asked.keys)
    query.take_weight(asked)
    query.refuse_unknown(asked.keys, known, where=where)
    values: dict[str, Any] = {}
    if "correct" in keys:
        values["correct"] = query.truth(keys["correct"], where=f"{where}?correct")
    if "steps" in keys:
        low, dash, high = keys["steps"].partition("-")
        first = query.integer(low, where=f"{where}?steps")
        last = query.integer(high, where=f"{where}?steps") if dash else first
        if not 0 <= first <= last:
            raise ConfigError(f"{where}?steps={keys['steps']}: write FIRST-LAST, e.g. 50-100")
        values["steps"] = first, last
    for name in ("per_problem", "n"):
        if name in keys:
            values[name] = query.integer(keys[name], where=f"{where}?{name}")
            if values[name] < 1:
                raise ConfigError(f"{where}?{name}={keys[name]}: write 1 or more")
    if "margin" in keys:
        values["margin"] = query.number(keys["margin"], where=f"{where}?margin")
        if values["margin"] < 0:
            raise ConfigError(f"{where}?margin={keys['margin']}: write 0 or more")
    return _Asked(**values)


def _alone(one: Stored, *, correct: bool) -> str:
    """Why an answer is dropped whatever the others are; "" if it is not."""
    if not one.valid:
        return "grader_failed"
    if correct and one.status not in CORRECT:
        return "not_correct"
    if one.stopped == "length":
        return "cut"
    return "" if one.response.strip() and one.token_ids else "empty"


def _groups(step: Sequence[Stored]) -> Iterator[list[Stored]]:
    """The answers to one question in one phase."""
    groups: dict[tuple[str, str, int], list[Stored]] = {}
    for one in step:
        groups.setdefault((one.prompt.source, one.prompt.id, one.attempt), []).append(one)
    yield from groups.values()


def _pairs_of(
    group: Sequence[Stored], asked: _Asked, seed: int
) -> tuple[list[StoredPair], list[str]]:
    """Pairs of a group, and the reasons why its other answers are in none."""
    reasons: list[str] = []
    usable: list[Stored] = []
    for one in group:
        reason = _alone(one, correct=False)
        if reason in ("", "cut"):
            usable.append(one)
        else:
            reasons.append(reason)
    better = [one for one in usable if one.stopped != "length"]
    worse = list(usable)
    if asked.correct:
        better = [one for one in better if one.status in CORRECT]
        worse = [one for one in worse if one.status not in CORRECT]
    better.sort(key=lambda one: (-one.reward, _digest(str(seed), one.id)))
    worse.sort(key=lambda one: (one.reward, _digest(str(seed), one.id)))
    pairs: list[StoredPair] = []
    used: set[int] = set()
    for chosen, rejected in zip(better, worse, strict=False):
        apart = chosen.reward - rejected.reward > asked.margin
        if len(pairs) >= (asked.per_problem or 1) or not apart:
            break
        if {chosen.sample, rejected.sample} & used or chosen.response == rejected.response:
            continue
        used |= {chosen.sample, rejected.sample}
        pairs.append(StoredPair(chosen=chosen, rejected=rejected))
    left = [one for one in usable if one.sample not in used]
    if pairs:
        return pairs, [*reasons, *("spare" for _ in left)]
    return [], [*reasons, *("cut" if one.stopped == "length" else "flat" for one in left)]


def _refuse_none(source: str, kept: bool, rows: int, dropped: Counter[str], what: str) -> None:
    if not kept:
        said = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
        raise DataError(
            f"{source}: none of {rows} stored answers is {what} ({said or 'none were read'}); take "
            "more steps (steps=), or correct=false"
        )


def _sentence(count: int, what: str, rows: int, dropped: dict[str, int]) -> str:
    said = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
    return f"{count} {what} of {rows} stored answers; dropped: {said or 'none'}"


def _digest(*parts: str) -> str:
    text = "\x1f".join(parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# -- the files --------------------------------------------------------------------------------------------


def _steps(folder: Path, steps: tuple[int, int]) -> Iterator[list[Stored]]:
    rollouts = folder / ROLLOUTS
    try:
        there = sorted(path for path in rollouts.glob("step_*.jsonl") if _number(path) >= 0)
    except OSError as error:
        raise DataError(f"cannot look into {rollouts}: {error.strerror or error}") from error
    if not there:
        raise DataError(
            f"no stored answers in {rollouts}; name the folder of an RL stage, RUN/NAME, or stage:NAME"
        )
    numbers = [_number(path) for path in there]
    if not any(steps[0] <= number <= steps[1] for number in numbers):
        raise DataError(
            f"{rollouts} has no step from {steps[0]} to {steps[1]}; it has {min(numbers)} to "
            f"{max(numbers)}"
        )
    for path, number in zip(there, numbers, strict=True):
        if steps[0] <= number <= steps[1]:
            yield _of_step(path, number)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("step_")
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def _of_step(path: Path, number: int) -> list[Stored]:
    import pyarrow
    import pyarrow.parquet as pq

    beside = path.with_suffix(".parquet")
    advice = f"restore both files, or leave step {number} out with steps="
    try:
        rows = files.read_jsonl(path)
        columns = ["prompt_id", "sample", "token_ids", "logprobs"]
        table = pq.read_table(beside, columns=columns).to_pydict()
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or beside} is missing; {advice}") from error
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} or {beside.name} cannot be read ({error}); {advice}") from error
    tokens = list(zip(*(table[name] for name in columns), strict=True))
    if len(tokens) != len(rows):
        raise DataError(f"{path} has {len(rows)} answers and {beside.name} {len(tokens)}; {advice}")
    made = []
    for line, (row, beside_it) in enumerate(zip(rows, tokens, strict=True), 1):
        try:
            made.append(_of_row(row, beside_it, number))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}:{line}: {type(error).__name__} {error}; {advice}") from error
    return made


def _of_row(row: Any, tokens: tuple[Any, ...], step: int) -> Stored:
    prompt_id, sample, token_ids, logprobs = tokens
    if (row["prompt_id"], row["sample"]) != (prompt_id, sample):
        raise ValueError(f"the token ids beside it are of {prompt_id} sample {sample}")
    if len(token_ids) != len(logprobs) or len(token_ids) != row["tokens"]:
        raise ValueError(
            f"{row['tokens']} tokens, {len(token_ids)} ids, {len(logprobs)} log-probabilities"
        )
    row["text"].encode()  # half a character cannot have been sampled
    names = ("question", "gold", "kind", "source", "lang", "domain")
    return Stored(
        prompt=Prompt(id=prompt_id, **{name: row[name] for name in names}),
        step=step,
        sample=sample,
        attempt=row["attempt"],
        prefill=row["prefill"],
        text=row["text"],
        token_ids=tuple(token_ids),
        logprobs=tuple(logprobs),
        stopped=row["stopped"],
        status=row["status"],
        reward=float(row["reward"]),
        valid=bool(row["valid"]),
    )
