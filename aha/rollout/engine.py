"""What every rollout engine promises: prompts in, finished answers out, each with its log-probabilities.

`local/` implements it on any transformers causal LM. Token ids in, token ids out: an engine never
re-tokenises what it sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aha.records import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How answers are drawn."""

    max_tokens: int
    """Cap on answer tokens."""
    temperature: float = 1.0
    """Logits are divided by it; 0 is greedy. Log-probabilities are those of the tempered logits."""
    top_p: float = 1.0
    """Evaluation only: training rollouts refuse a value below 1."""
    top_k: int = 0
    """Evaluation only: 0 is off."""
    stop: tuple[str, ...] = ()
    """An answer ends once its text contains one of these; the text and its tokens are kept."""
    stream: tuple[int | str, ...] = ()
    """Names the random stream, e.g. (seed, stage, phase); prompt, sample, attempt and token number
    are added by the engine. Same stream, same weights: same random numbers, and (float32, up to
    rounding at the border between two tokens) the same answer, whoever decodes beside it."""
    forced: tuple[int, ...] = ()
    """Benchmarks only: sample i ignores end-of-sequence and stop strings and ends after
    forced[i % len(forced)] tokens (none above max_tokens). The scheduler does not look at it."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens}; an answer has at least one token")
        if any(not 1 <= n <= self.max_tokens for n in self.forced):
            raise ValueError(f"forced={self.forced}: lengths are 1 to max_tokens={self.max_tokens}")
        if not all(self.stop):
            raise ValueError(
                "stop: an empty string ends every answer before it begins; leave it out"
            )
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError(
                f"temperature={self.temperature}, top_p={self.top_p}, top_k={self.top_k}: needs "
                "temperature >= 0, 0 < top_p <= 1, top_k >= 0"
            )


class Engine(Protocol):
    """Continuous batching: submit any number of groups, then step until nothing is left."""

    version: int
    """Policy version of the weights it decodes with."""

    def submit(
        self,
        prompt_id: str,
        token_ids: Sequence[int],
        n: int,
        params: SamplingParams,
        *,
        attempt: int = 0,
    ) -> None:
        """Queue `n` answers to one prompt; the prompt is computed once for all of them."""

    def step(self) -> list[Rollout]:
        """One decoding step for all live answers; returns those that ended in it."""

    def pending(self) -> int:
        """Answers queued or live."""

    def score(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        *,
        temperature: float = 1.0,
    ) -> list[list[float]]:
        """Log-probability (nats) of each token of each answer after its prompt."""

    def load(self, version: int) -> None:
        """New weights are in place: drop every cached key and value, remember the version."""
