"""The level of a reward model's scores: center and scale, measured once on answers of the starting policy.

    center = mean score                                  over all answers
    scale  = 1 / (spread of scores within a question)    pooled over the questions

So a score of 1 is one usual difference between two answers to the same question, as a right answer or
the asked form is. The spread between questions is left out: a group's baseline takes it away anyway.
The paper scales no score (docs/departures.md).

    RUN/STAGE/normalise.json     {"helpful": {"center", "scale", "questions", "answers", "scored"}}

The questions are drawn by the seed among those that the reward model is paid for. The measurement has an
engine and a random stream of its own. A resumed run reads the file and never measures again.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from aha import files
from aha.data.order import permutation
from aha.errors import ConfigError, RunError
from aha.records import Rendered, Rollout
from aha.rewards.mix import Tables
from aha.rewards.named import Reward
from aha.stages.opinions import Level, Scorer

if TYPE_CHECKING:
    from aha.train.run import Run

NORMALISE = "normalise.json"


def settle(run: "Run", rewards: Mapping[str, Reward], tables: Tables, seed: int) -> None:
    """Give every reward model that asks for it its level: the stored one, or a measured one.

    Raises:
        ConfigError: no training question is paid for by such a model.
        RunError: the file of a run that has begun is gone, or the scores have no spread.
    """
    asking = {
        name: reward.function
        for name, reward in rewards.items()
        if isinstance(reward.function, Scorer) and reward.function.level is None
    }
    if not asking:
        return
    stored = run.folder / NORMALISE
    facts = _stored(run, asking)
    if facts is None:
        facts = _measured(run, asking, tables, seed)
        files.write_json(stored, facts)
        run.event("normalise", stage=run.folder.name, levels=facts)
    for name, scorer in asking.items():
        it = facts[name]
        scorer.level = Level(it["center"], it["scale"])
        run.console.note(
            f"normalise {name}: center {it['center']:.3g}, scale {it['scale']:.3g}, from "
            f"{it['scored']} of {it['answers']} answers to {it['questions']} questions at the start"
        )


def level(groups: Sequence[Sequence[float]]) -> Level | None:
    """Center and scale from the scores of each question's answers; None if none differ.

    >>> level([[1.0, 3.0], [5.0, 7.0]])  # mean 4; squares 2 + 2 over 1 + 1 degrees of freedom
    Level(center=4.0, scale=0.7071067811865475)
    """
    scores = [score for group in groups for score in group]
    free = sum(len(group) - 1 for group in groups if group)
    squares = math.fsum((s - fmean(group)) ** 2 for group in groups if group for s in group)
    spread = math.sqrt(squares / free) if free else 0.0
    if spread <= FLAT * max(1.0, *(abs(score) for score in scores), 0.0):
        return None
    return Level(fmean(scores), 1 / spread)


FLAT = 1e-6
"""Spread, by the size of the scores, below which differences are rounding."""


def _stored(run: "Run", asking: Mapping[str, Scorer]) -> dict[str, Any] | None:
    path = run.folder / NORMALISE
    try:
        facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        facts = {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}; put a copy of it back") from error
    if asking.keys() <= facts.keys():
        return facts
    if run.resumed:
        raise RunError(
            f"{path} is gone: it held the level of {', '.join(asking)} at the start of this run, which "
            f"cannot be measured any more. Put it back, or move {run.folder} away to start over"
        )
    return None


def _measured(
    run: "Run", asking: Mapping[str, Scorer], tables: Tables, seed: int
) -> dict[str, Any]:
    """Answers to the chosen questions, and the level of each model's scores on its own ones."""
    chosen = {
        name: _chosen(run.questions, name, tables, scorer.asked.normalise_questions, seed)
        for name, scorer in asking.items()
    }
    for name, places in chosen.items():
        if not places:
            raise ConfigError(
                f"reward model '{name}' has normalise='start', but no training question is paid for by "
                "it; add data of its area, or set normalise='none'"
            )
    places = sorted({place for found in chosen.values() for place in found})
    answers = _answers(run, [run.questions[place] for place in places])
    texts = dict(zip(places, answers, strict=True))
    facts = {}
    for name, scorer in asking.items():
        raw = [
            scorer.raw(
                run.questions[place].prompt.question,
                [run.questions[place].prefill + one.text for one in texts[place]],
            )
            for place in chosen[name]
        ]
        groups = [[score for score in group if score is not None] for group in raw]
        found = level(groups)
        scored = sum(map(len, groups))
        if found is None:
            raise RunError(
                f"reward model '{name}' cannot be normalised: of {sum(map(len, raw))} answers of the "
                f"starting policy it scores {scored}, all alike. An answer without a summary has no "
                "score (part='whole' reads everything); or set normalise='none'"
            )
        facts[name] = {
            "center": found.center,
            "scale": found.scale,
            "questions": len(raw),
            "answers": sum(map(len, raw)),
            "scored": scored,
        }
    return facts


def _chosen(
    questions: Sequence[Rendered], name: str, tables: Tables, most: int, seed: int
) -> list[int]:
    """Places of the questions that are asked for one model."""
    paid = [i for i, question in enumerate(questions) if tables.of(question.prompt).get(name)]
    return [paid[i] for i in permutation(len(paid), f"normalise {seed}", 0)[:most]]


def _answers(run: "Run", questions: Sequence[Rendered]) -> list[list[Rollout]]:
    """group_size answers to each question, in the order of questions and samples."""
    from aha.models.adapters import merged
    from aha.rollout.local.engine import LocalEngine

    own, size = run.engine, run.config.group_size
    engine = LocalEngine(
        own.policy,
        eos_ids=tuple(own.eos),
        decode=own.decode,
        budget_bytes=own.budget,
        max_rows=own.max_rows,
    )
    engine.load(run.state.step)
    params = replace(run.params, stream=(*run.params.stream, "normalise"))
    found: dict[str, list[Rollout]] = {question.prompt.id: [] for question in questions}
    start, done, tokens = time.perf_counter(), 0, 0
    with merged(run.trainer.policy):
        for question in questions:
            engine.submit(question.prompt.id, question.token_ids, size, params)
        while engine.pending():
            for rollout in engine.step():
                found[rollout.prompt_id].append(rollout)
                done += 1
                tokens += len(rollout.token_ids)
            rate = tokens / (time.perf_counter() - start)
            run.console.heartbeat(done, len(questions) * size, rate)
    engine.rest()
    return [sorted(found[q.prompt.id], key=lambda one: one.sample) for q in questions]
