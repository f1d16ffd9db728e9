"""A language model as judge: which of two answers is better, and does an answer match a reference.

Holds:           the two ways of judging, their records, and what counts as a verdict.
Holds not:       who is asked (judge_ask, judge_http), prompts and reading (judge_text), what is
                 settled without asking (judge_screen), replies on disk (judge_cache).
Must stay true:  no verdict is invented: what cannot be read is no score, and a judge's failure is
                 never a mark against the answer. Only the summary, after `</think>`, is judged.

The paper judges with the first for reward model data, with the second for rejection sampling, and
for no reasoning reward (DeepSeek-R1, Methods): what such a reward pays for is soon found out.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from aha.records import Grade
from aha.rewards.judge_ask import Asked, Asker, Message, Reply, Sampling
from aha.rewards.judge_cache import VerdictCache, key_of
from aha.rewards.judge_screen import screened, summary
from aha.rewards.judge_text import (
    MAX_TEXT,
    PROMPT_VERSION,
    SCORES,
    Reading,
    pairwise_messages,
    read_correctness,
    read_pairwise,
    reference_messages,
)

Outcome = Literal["judged", "unparsed", "refused", "timeout", "error"]
Order = Literal["ab", "ba"]
MAX_EXTRACTED = 4100
"""Characters of the judged text that a Grade keeps."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who judges, how its replies are drawn, and where verdicts are kept."""

    asker: Asker
    sampling: Sampling = field(default_factory=Sampling)
    cache: VerdictCache | None = None
    think_tag: str = "think"
    answer_tag: str = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """One asking about a pair."""

    round: int
    order: Order
    """ab: as given; ba: the second answer stood first."""
    status: Outcome
    score: int | None
    """-2..2, above 0 for the pair's first answer, whichever stood first; None without a verdict."""
    reason: str = ""
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the judge holds of two answers.

    `score` is the mean over the rounds in which both orders were read, so that a judge's liking for
    a place cancels. There is one if these are at least half of the rounds.
    """

    status: Outcome
    score: float | None
    """-2..2, above 0 if the first answer is better; None unless status is judged."""
    consistent: bool | None
    """Whether both orders named the same winner (or a tie) in every round that has both; None
    without one."""
    opinions: tuple[Opinion, ...]
    """In the order asked; () if it was settled without asking."""
    reason: str = ""
    """screened: ... if an answer was empty; else why there is no score."""

    @property
    def scores(self) -> tuple[int | None, ...]:
        """By asking: ab, ba, ab, ba, ..."""
        return tuple(opinion.score for opinion in self.opinions)


def pairwise(judge: Judge, question: str, a: str, b: str, *, rounds: int = 2) -> Comparison:
    """Compare two responses to one question: `rounds` times in both orders.

    The paper asks four times with random places (DeepSeek-R1, supplement, reward model data); two
    rounds of both places are four askings. An empty response loses by 2 without asking, two tie.

    Raises:
        ValueError: rounds < 1.
        RunError: the cache cannot be written.
    """
    return pairwise_all(judge, [(question, a, b)], rounds=rounds)[0]


def pairwise_all(
    judge: Judge, pairs: Sequence[tuple[str, str, str]], *, rounds: int = 2
) -> list[Comparison]:
    """`pairwise` of many (question, a, b), all askings handed over together."""
    if rounds < 1:
        raise ValueError(f"rounds={rounds}; a comparison needs one round or more")
    settled: list[Comparison | None] = []
    asked: list[Asked] = []
    for question, a, b in pairs:
        texts = summary(a, judge.think_tag), summary(b, judge.think_tag)
        settled.append(_without_asking(question, texts, judge))
        if settled[-1] is None:
            first, second = str(texts[0]), str(texts[1])
            for number in range(rounds):
                for x, y in ((first, second), (second, first)):
                    messages = pairwise_messages(question, x, y, salt=f"{number}")
                    asked.append(_asked(judge, messages, number))
    told = iter(_tell(judge, asked, read_pairwise))
    return [done or _compare([next(told) for _ in range(2 * rounds)]) for done in settled]


def against_reference(judge: Judge, question: str, reference: str, answer: str) -> Grade:
    """Does a response agree with the reference? correct (1) or wrong (0).

    wrong without asking: `screened: ...` (nothing in it). unparsed: `too_long`. The judge's own
    failures are `error` (judge_unparsed, judge_refused, judge_error) and `timeout`: no verdict.

    Raises:
        RunError: the cache cannot be written.
    """
    return against_reference_all(judge, [(question, reference, answer)])[0]


def against_reference_all(judge: Judge, cases: Sequence[tuple[str, str, str]]) -> list[Grade]:
    """`against_reference` of many (question, reference, answer), handed over together."""
    settled: list[Grade | None] = []
    texts: list[str] = []
    asked: list[Asked] = []
    for question, reference, answer in cases:
        text = summary(answer, judge.think_tag)
        settled.append(_graded_without_asking(question, reference, text, judge))
        texts.append(text or "")
        if settled[-1] is None:
            messages = reference_messages(question, reference, text or "")
            asked.append(_asked(judge, messages, 0))
    told = iter(_tell(judge, asked, read_correctness))
    grades = [done or _grade(next(told)) for done in settled]
    return [
        replace(grade, extracted=text[:MAX_EXTRACTED] or None)
        for grade, text in zip(grades, texts, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """One asking, answered and read."""

    status: Outcome
    verdict: str = ""
    reason: str = ""
    cached: bool = False
    ms: float = 0.0


def _asked(judge: Judge, messages: tuple[Message, ...], number: int) -> Asked:
    seed = None if judge.sampling.seed is None else judge.sampling.seed + number
    return Asked(messages=messages, sampling=replace(judge.sampling, seed=seed))


def _tell(judge: Judge, asked: Sequence[Asked], read: Callable[[str], Reading]) -> list[_Told]:
    """What the judge says to each asking: from the cache, or asked now. Equal askings are one."""
    plain = [
        json.dumps([[dict(message) for message in one.messages], asdict(one.sampling)])
        for one in asked
    ]
    known: dict[str, _Told] = {}
    fresh: dict[str, Asked] = {}
    for text, one in zip(plain, asked, strict=True):
        if text in known or text in fresh:
            continue
        reply = judge.cache.get(_key(judge, text)) if judge.cache is not None else None
        reading = read(reply) if reply is not None else Reading("")
        if reading.verdict:
            known[text] = _Told(status="judged", verdict=reading.verdict, cached=True)
        else:
            fresh[text] = one
    replies = judge.asker.ask_all(list(fresh.values())) if fresh else []
    for (text, _), reply_ in zip(fresh.items(), replies, strict=True):
        known[text] = _read(reply_, read)
        if judge.cache is not None and known[text].status == "judged":
            judge.cache.put(_key(judge, text), reply_.text)
    return [known[text] for text in plain]


def _key(judge: Judge, text: str) -> str:
    return key_of(PROMPT_VERSION, judge.asker.name, text)


def _read(reply: Reply, read: Callable[[str], Reading]) -> _Told:
    if reply.status != "ok":
        return _Told(status=reply.status, reason=reply.reason, ms=reply.ms)
    if reply.cut:
        return _Told(status="unparsed", reason="cut: the reply met max_tokens", ms=reply.ms)
    reading = read(reply.text)
    if not reading.verdict:
        return _Told(status="unparsed", reason=reading.reason, ms=reply.ms)
    return _Told(status="judged", verdict=reading.verdict, ms=reply.ms)


def _without_asking(
    question: str, texts: tuple[str | None, str | None], judge: Judge
) -> Comparison | None:
    """The comparison, where a rule settles it: an answer without content, or a text too long."""
    why = [screened(text, answer_tag=judge.answer_tag) for text in texts]
    if any(why):
        score = 2.0 * (bool(why[1]) - bool(why[0]))
        said = ", ".join(
            f"{name} {reason}" for name, reason in zip("ab", why, strict=True) if reason
        )
        reason = f"screened: {said}"
        return Comparison(status="judged", score=score, consistent=True, opinions=(), reason=reason)
    for name, text in (("question", question), ("a", texts[0] or ""), ("b", texts[1] or "")):
        if len(text) > MAX_TEXT:
            reason = f"too_long: {name} has {len(text)} characters, of {MAX_TEXT} at most"
            return Comparison(
                status="unparsed", score=None, consistent=None, opinions=(), reason=reason
            )
    return None


def _compare(told: Sequence[_Told]) -> Comparison:
    """A comparison from its askings, ab and ba by turns."""
    opinions = []
    for place, one in enumerate(told):
        order: Order = "ba" if place % 2 else "ab"
        score = None
        if one.status == "judged":
            score = SCORES[one.verdict] * (-1 if order == "ba" else 1)
        opinions.append(
            Opinion(
                round=place // 2,
                order=order,
                status=one.status,
                score=score,
                reason=one.reason,
                cached=one.cached,
            )
        )
    scores = [opinion.score for opinion in opinions]
    both = [
        (x, y)
        for x, y in zip(scores[::2], scores[1::2], strict=True)
        if x is not None and y is not None
    ]
    consistent = all(_sign(x) == _sign(y) for x, y in both) if both else None
    if both and 2 * len(both) >= len(scores) // 2:
        mean = sum(x + y for x, y in both) / (2 * len(both))
        return Comparison(
            status="judged", score=mean, consistent=consistent, opinions=tuple(opinions)
        )
    failed = Counter(opinion.status for opinion in opinions if opinion.score is None)
    status = failed.most_common(1)[0][0]
    first = next(opinion.reason for opinion in opinions if opinion.status == status)
    reason = f"{sum(failed.values())} of {len(opinions)} askings without a verdict: {first}"
    return Comparison(
        status=status, score=None, consistent=consistent, opinions=tuple(opinions), reason=reason
    )


def _sign(score: int) -> int:
    return (score > 0) - (score < 0)


def _graded_without_asking(
    question: str, reference: str, answer: str | None, judge: Judge
) -> Grade | None:
    if not reference.strip():
        return Grade(status="error", score=0.0, reason="no_reference")
    why = screened(answer, reference=reference, answer_tag=judge.answer_tag)
    if why:
        return Grade(status="wrong", score=0.0, reason=f"screened: {why}")
    if len(answer or "") > MAX_TEXT:
        return Grade(status="unparsed", score=0.0, reason="too_long")
    for name, text in (("question", question), ("reference", reference)):
        if len(text) > MAX_TEXT:
            return Grade(status="error", score=0.0, reason=f"too_long: the {name}")
    return None


def _grade(told: _Told) -> Grade:
    if told.status == "judged":
        right = told.verdict == "correct"
        return Grade(
            status="correct" if right else "wrong",
            score=float(right),
            reason="" if right else "judge: incorrect",
            ms=told.ms,
        )
    status: Literal["timeout", "error"] = "timeout" if told.status == "timeout" else "error"
    reason = f"judge_{told.status}: {told.reason}"
    return Grade(status=status, score=0.0, reason=reason, ms=told.ms)
