"""The nouns: what flows through the pipeline, one record in, one record out.

    Prompt -> Rendered -> Rollout -> Scored -> Sample -> (train/batch.py: tensors)

Holds:           frozen dataclasses of plain Python values, each writable as one JSON line.
Holds not:       tensors, models, behaviour.
Must stay true:  a field never changes its meaning; what cannot be known yet is the next record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Stopped = Literal["eos", "stop", "length"]
Status = Literal["correct", "wrong", "unparsed", "open", "timeout", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One problem, as the data has it. `id` is unique in its source and stable between runs."""

    id: str
    question: str
    gold: str
    """What a right answer is; how it is written depends on `kind`."""
    kind: str = "math"
    """Which grader judges the answer: a name of rewards/grade.py's GRADERS, such as math or code."""
    source: str = ""
    """Where it came from: a file name, a data set id, a procedural task."""
    lang: str = ""
    """Language of the question (en, zh), "" if not known."""
    domain: str = ""
    """For tables by domain; "" if not known."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """What else the row held; handed to reward functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A prompt as the model reads it."""

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...]
    prefill: str = ""
    """The tail of `text` that already belongs to the answer, e.g. `<think>\\n`. Rewards see
    prefill + answer, so that a prefilled tag counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One answer, as sampled. Never edited afterwards; training uses `token_ids`, never `text`."""

    prompt_id: str
    sample: int
    """Index within its group, 0 .. group_size-1."""
    token_ids: tuple[int, ...]
    """Answer only; includes the end-of-sequence token if the model wrote one."""
    logprobs: tuple[float, ...]
    """The sampler's, nats, one per token, under the sampling temperature."""
    text: str
    """Decoded answer without the end-of-sequence token (prompt and prefill are not in it)."""
    policy_version: int
    """Optimizer steps behind the weights that wrote it."""
    stopped: Stopped
    """eos: the model ended; stop: a stop string ended it; length: cut at the token cap."""
    attempt: int = 0
    """0, or the number of the dynamic-sampling refill that drew this group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """A grader's verdict on one answer.

    correct, wrong, unparsed are the model's doing. open: the prompt has no right answer, so there is
    nothing to find. timeout and error are failures of *our* grader: never a reward of 0, but out of
    the group's baseline and counted.
    """

    status: Status
    score: float
    """0..1; meaningful only for correct, wrong and unparsed."""
    reason: str = ""
    """In plain words, for logs: no_answer, not_equal, time_limit, ..."""
    extracted: str | None = None
    """The answer part that was compared, None if none was found."""
    ms: float = 0.0
    """Wall-clock milliseconds spent grading. Volatile: differs between identical runs."""

    @property
    def failed(self) -> bool:
        """Our grader's fault: the answer has no verdict."""
        return self.status in ("timeout", "error")

    @property
    def graded(self) -> bool:
        """Is there a verdict that says how right the answer is? What counts in shares of right ones."""
        return self.status in ("correct", "wrong", "unparsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A rollout and what it earned."""

    rollout: Rollout
    grade: Grade
    parts: Mapping[str, float]
    """Unweighted rewards by name: accuracy, format, ..."""
    reward: float
    """What the advantage is computed from: the weighted sum of `parts`."""
    valid: bool = True
    """False when a grader failed: no reward is known, the answer gets no gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All answers to one prompt in one phase."""

    rendered: Rendered
    scored: tuple[Scored, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A scored answer and its credit."""

    scored: Scored
    advantage: tuple[float, ...]
    """One number per answer token (the group methods give every token the same)."""
