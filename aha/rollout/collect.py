"""One rollout phase: questions to the engine, each answer to the graders the moment it ends.

Graders work in their own processes while other answers still decode. The order of everything that
comes back is that of the questions and samples, whatever finished first.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from aha.records import Grade, Group, Rendered, Rollout
from aha.rollout.engine import Engine, SamplingParams


class Graders(Protocol):
    def submit(self, key: str, kind: str, gold: str, response: str, **options: object) -> None: ...
    def poll(self, timeout: float = 0) -> list[tuple[str, Grade]]: ...
    def pending(self) -> int: ...


Score = Callable[[Rendered, Sequence[Rollout], Sequence[Grade]], Group]
"""(question, its answers, their grades) -> the group, scored."""


def collect(
    engine: Engine,
    graders: Graders,
    score: Score,
    questions: Sequence[Rendered],
    n: int,
    params: SamplingParams,
    *,
    phase: str,
    attempt: int = 0,
    mode: str = "rl",
    tags: tuple[str, str] = ("think", "answer"),
    progress: Callable[[int, int], None] | None = None,
    waited: Callable[[float], None] | None = None,
) -> list[Group]:
    """`n` scored answers to each question.

    Args:
        phase: names the phase in the graders' keys (and so in their journal).
        progress: called after each decoding step with answers ended and answer tokens so far.
        waited: told the seconds that graders took after the last answer had been sampled.

    Raises:
        ValueError: two questions with one id (their answers could not be told apart).
    """
    by_id = {question.prompt.id: question for question in questions}
    if len(by_id) < len(questions):
        raise ValueError("two questions of one phase have the same id")
    for question in questions:
        engine.submit(question.prompt.id, question.token_ids, n, params, attempt=attempt)
    rollouts: dict[str, Rollout] = {}
    grades: dict[str, Grade] = {}
    tokens = 0

    def hand_over(rollout: Rollout) -> None:
        question = by_id[rollout.prompt_id]
        key = _key(phase, rollout)
        rollouts[key] = rollout
        graders.submit(
            key,
            question.prompt.kind,
            question.prompt.gold,
            rollout.text,
            prefill=question.prefill,
            mode=mode,
            think_tag=tags[0],
            answer_tag=tags[1],
        )

    while engine.pending():
        for rollout in engine.step():
            tokens += len(rollout.token_ids)
            hand_over(rollout)
        grades.update(graders.poll(0))
        if progress:
            progress(len(rollouts), tokens)
    sampled = time.perf_counter()
    while graders.pending():
        grades.update(graders.poll(0.05))
        if progress:
            progress(len(rollouts), tokens)

    if waited:
        waited(time.perf_counter() - sampled)
    keys: dict[str, list[str]] = {question.prompt.id: [] for question in questions}
    for key, rollout in sorted(rollouts.items(), key=lambda item: item[1].sample):
        keys[rollout.prompt_id].append(key)
    return [
        score(
            q, [rollouts[key] for key in keys[q.prompt.id]], [grades[k] for k in keys[q.prompt.id]]
        )
        for q in questions
    ]


def _key(phase: str, rollout: Rollout) -> str:
    return f"{phase}/{rollout.attempt}/{rollout.prompt_id}/{rollout.sample}"
