"""Right answers of a sampling stage in readable form, by rules or by a model. DeepSeek-R1 §2.3.1, v2 §B.3.2.

    [stage.cold_start]
    refine = true                 # by rules (data/refine.py)
    refine_by = "v3"              # by a model (data/refine_asked.py)
    [stage.cold_start.refiners.v3]
    url = "http://127.0.0.1:8000/v1"
    model = "deepseek-chat"       # or path = a model of this machine, "stage:zero" the one that wrote

What a refiner replies is kept in RUN/NAME/refinements.jsonl as it comes: a killed stage asks for none of it
twice. A new text is graded again, by the rules, or, where a judge decides, by the judge; rules leave what a
judge read as it is, and its verdict with it.

Must stay true:  a refiner's failure is no fault of the sample: above a share of failures the stage stops, so
                 that one that cannot be reached does not make a small file of dialogues.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aha.config import DataConfig, SampleConfig
from aha.data.contrast import Rewrites
from aha.data.general import is_general
from aha.data.refine import (
    Check,
    Refined,
    Unfit,
    graded_by,
    refine_all,
    refine_wrong,
    verified,
)
from aha.data.refine_asked import rewrite
from aha.data.selecting import Rules, Sampled, untagged
from aha.errors import RunError
from aha.records import Grade, Prompt
from aha.rewards.judge import Judge
from aha.rewards.judge_ask import Asked, Asker, Reply
from aha.rewards.judge_cache import VerdictCache, key_of
from aha.rewards.workers import GraderPool
from aha.stages import opinions, sample_verdicts

REPLIES = "refinements.jsonl"
BLOCK = 64
"""Askings that are handed over together; what came back is on the disk after each block."""
Make = Callable[[], Judge]
"""Makes who is asked; a model of this machine is loaded then, and let go with the last reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """What is selected from, in readable form."""

    samples: list[Sampled]
    rewrites: Rewrites
    facts: dict[str, Any]


def refiner_of(config: SampleConfig, folder: Path) -> Judge:
    """Who rewrites: the model that is asked, how its replies are drawn and where they are kept.

    Raises:
        ConfigError: an endpoint that cannot be.
        ModelError: a model that cannot be used.
    """
    return opinions.judge_of(config.refiners[config.refine_by], folder / REPLIES)


def readable(
    samples: Sequence[Sampled],
    config: SampleConfig,
    data: DataConfig,
    rules: Rules,
    *,
    check: Check,
    judged: frozenset[sample_verdicts.Name] = frozenset(),
    refiner: Make | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Readable:
    """The right answers rewritten, and what pairs are made of.

    General answers have no value that could be boxed: of them only an answer tag is taken off.

    Args:
        rules: how answers are written as they were sampled.
        judged: the samples whose verdict is that of a judge.
        refiner: makes who rewrites; None: the rules do.

    Raises:
        RunError: the refiner, or the judge of its texts, left too much without a reply.
    """
    think, answer = data.think_tag, rules.answer_tag
    general = [untagged(one, think, answer) for one in samples if is_general(one.prompt)]
    reasoned = [one for one in samples if not is_general(one.prompt)]

    def by_judge(one: Sampled) -> bool:
        return sample_verdicts.name_of(one) in judged

    made = by_rules = refine_all(
        reasoned, check, by_judge=by_judge, think_tag=think, answer_tag=answer
    )
    if refiner is not None:
        found = _by_model(reasoned, refiner, config, (think, answer), progress)
        made = verified(found, check, by="model", think_tag=think)
    formed = refine_wrong(reasoned, check, by_judge=by_judge, think_tag=think, answer_tag=answer)
    return Readable(
        samples=[*made.samples, *general],
        rewrites=Rewrites(sampled=reasoned, by_rules=[*by_rules.samples, *formed], rules=rules),
        facts=made.facts(),
    )


def _by_model(
    samples: Sequence[Sampled],
    refiner: Make,
    config: SampleConfig,
    tags: tuple[str, str],
    progress: Callable[[int, int], None],
) -> list[tuple[Sampled, Refined | Unfit]]:
    """What a model wrote. It has gone when this returns: that of a judge may be loaded then."""
    made = refiner()
    assert made.cache is not None
    most = config.max_refiner_failures
    asker = Kept(made.asker, made.cache, most_failed=most, progress=progress)
    try:
        return rewrite(
            asker, samples, sampling=made.sampling, think_tag=tags[0], answer_tag=tags[1]
        )
    finally:
        made.cache.close()


def check_of(
    graders: GraderPool,
    config: SampleConfig,
    *,
    judge: Make | None = None,
    think_tag: str = "think",
) -> Check:
    """Grades of new texts: by the rules, and by the judge where these have no verdict or are not asked.

    The judge's verdicts are kept where those on the samples are.

    Raises (when it is called):
        RunError: the judge left more than `max_judge_failures` of them without an answer.
    """
    by_graders = graded_by(graders, think_tag=think_tag)

    def check(cases: Sequence[tuple[Prompt, str]]) -> list[Grade]:
        asked = [
            (sample_verdicts.left_to_judge(prompt, config), response) for prompt, response in cases
        ]
        grades = by_graders(asked)
        if judge is None or not any(sample_verdicts.undecided(grade) for grade in grades):
            return grades
        texts = [
            Sampled(prompt=prompt, sample=place, text=response, grade=grade)
            for place, ((prompt, response), grade) in enumerate(zip(cases, grades, strict=True))
        ]
        ruled = sample_verdicts.rule(texts, judge(), most_unreached=config.max_judge_failures)
        return [one.grade for one in ruled.samples]

    return check


class Kept:
    """An asker whose replies are kept on the disk as they come: none is paid for twice.

    A failure is not kept. Equal askings are one. Blocks are cut from all askings, known or not, so that a
    model of this machine decodes the same ones side by side after a kill.

    Raises (from ask_all):
        RunError: more than `most_failed` of the askings have no reply, or the file cannot be written.
    """

    def __init__(
        self,
        asker: Asker,
        cache: VerdictCache,
        *,
        most_failed: float = 1.0,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> None:
        self._asker, self._cache = asker, cache
        self._most_failed, self._progress = most_failed, progress

    @property
    def name(self) -> str:
        return self._asker.name

    def ask_all(self, asked: Sequence[Asked]) -> list[Reply]:
        keys = [self._key(one) for one in asked]
        different = dict(zip(keys, asked, strict=True))
        found: dict[str, Reply] = {}
        failed: list[Reply] = []
        for start in range(0, len(different), BLOCK):
            block = list(different.items())[start : start + BLOCK]
            found |= self._block(block)
            failed += [found[key] for key, _ in block if found[key].status != "ok"]
            if len(failed) > self._most_failed * len(different):
                raise RunError(
                    f"the refiner {self.name} left {len(failed)} of {len(different)} askings without a "
                    f"reply, above max_refiner_failures={self._most_failed:g} (first: "
                    f"{failed[0].status}: {failed[0].reason}). Samples and replies are kept: mend it and "
                    "run again"
                )
            self._progress(len(found), len(different))
        return [found[key] for key in keys]

    def _block(self, block: Sequence[tuple[str, Asked]]) -> dict[str, Reply]:
        found = {key: reply for key, _ in block if (reply := self._known(key)) is not None}
        fresh = [(key, one) for key, one in block if key not in found]
        replies = self._asker.ask_all([one for _, one in fresh]) if fresh else []
        for (key, _), reply in zip(fresh, replies, strict=True):
            found[key] = replace(reply, ms=0.0, tries=1)
            if reply.status == "ok":
                self._cache.put(key, json.dumps({"text": reply.text, "cut": reply.cut}))
        return found

    def _known(self, key: str) -> Reply | None:
        said = self._cache.get(key)
        try:
            row = json.loads(said) if said is not None else {}
            if isinstance(row["text"], str) and isinstance(row["cut"], bool):
                return Reply(status="ok", text=row["text"], cut=row["cut"])
        except (ValueError, KeyError, TypeError):
            pass  # none of ours: asked again
        return None

    def _key(self, one: Asked) -> str:
        messages = [dict(message) for message in one.messages]
        return key_of("refine", self.name, messages, asdict(one.sampling))
