"""Samples of R1-Zero in readable form, by rules: `<think> … </think> <answer> … </answer>` becomes

    <think>
    the same thinking: white space, tags and template debris, repeated lines and loops taken out,
    long paragraphs split at the ends of sentences
    </think>

    the last steps that led to the answer, word for word. The answer is \\boxed{…}.

DeepSeek-R1 §2.3.1 (v2 §B.3.2) has DeepSeek-V3 rewrite thinking and summary; refine_asked.py asks a
model. Without one, these rules do what needs no understanding: nothing is added, translated or
corrected, and what cannot be made readable that way is refused with the reason. The thinking about a
trivial question becomes its one step. A worked solution without any tag (the base model's own way) is
read as thinking. What a judge approved, and no rule can extract, stays word for word: then its verdict
holds for the new text too. Wrong answers get the same form by the same rules (`refine_wrong`), to be
compared with right ones (contrast.py).

Holds not:       what is done to the text of the thinking (refine_text.py).
Must stay true:  every sentence of the result but the last stood in the sample; the answer is the same,
                 and so is its verdict.
Not covered:     wrong sentences of the thinking (a summary leaves out what our arithmetic finds false).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aha.data.cold_start import is_trivial
from aha.data.contrast import WRONG
from aha.data.refine_text import TURN, joined, sentences, steps, thinking_of
from aha.data.selecting import (
    SHOWN,
    SHOWN_CHARS,
    Sampled,
    form,
    language_of,
    limits_for,
    written,
)
from aha.data.thinking import split
from aha.records import Grade, Prompt
from aha.rewards.answer import extract, lead_off, unwrap_box
from aha.rewards.language import target
from aha.rewards.readability import LIMITS, Limits, faults
from aha.rewards.workers import GraderPool

STEPS = 3
"""Steps of a summary."""
MAX_ANSWER = 200
"""Characters of an answer that goes into a box."""
CLOSINGS = {"en": "The answer is \\boxed{{{}}}.", "zh": "答案是 \\boxed{{{}}}。"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """A readable answer."""

    thinking: str
    summary: str

    def response(self, think_tag: str = "think") -> str:
        return written(self.thinking, self.summary, think_tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Why a sample cannot be made readable: format, another_turn, language, answer_form, changed_answer,
    not_correct, grader_failed, a fault of rewards/readability.py; of a model also asked, tags, longer,
    new_numbers, mentions_thinking."""

    reason: str
    detail: str = ""


Check = Callable[[Sequence[tuple[Prompt, str]]], list[Grade]]
"""Grades of responses, in their order."""
ByJudge = Callable[[Sampled], bool]
"""Whether the verdict on a sample is that of a judge, who read all that follows the thinking."""


def by_rules(one: Sampled) -> bool:
    """The ByJudge of samples that rules alone have graded."""
    return False


def graded_by(pool: GraderPool, *, phase: str = "refine", think_tag: str = "think") -> Check:
    """A Check by a pool of graders. `phase` names its cases in the pool's journal."""

    def check(cases: Sequence[tuple[Prompt, str]]) -> list[Grade]:
        for place, (prompt, response) in enumerate(cases):
            key = f"{phase}/{prompt.id}/{place}"
            pool.submit(key, prompt.kind, prompt.gold, response, think_tag=think_tag, answer_tag="")
        said = {int(key.rpartition("/")[2]): grade for key, grade in pool.drain()}
        return [said[place] for place in range(len(cases))]

    return check


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """Samples in readable form, and why the others are not."""

    samples: list[Sampled]
    unfit: list[tuple[Sampled, Unfit]]

    def facts(self) -> dict[str, Any]:
        """Counts by reason, and the first examples of each."""
        counts: dict[str, int] = {}
        examples: dict[str, list[dict[str, Any]]] = {}
        for sampled, why in sorted(self.unfit, key=lambda pair: pair[1].reason):
            counts[why.reason] = counts.get(why.reason, 0) + 1
            shown = examples.setdefault(why.reason, [])
            if len(shown) < SHOWN:
                text = sampled.response[:SHOWN_CHARS]
                name = f"{sampled.prompt.id}/{sampled.sample}"
                shown.append({"sample": name, "detail": why.detail[:SHOWN_CHARS], "text": text})
        read = len(self.samples) + len(self.unfit)
        return {
            "samples": read,
            "refined": len(self.samples),
            "unfit": counts,
            "examples": examples,
        }


def refine_all(
    samples: Sequence[Sampled],
    check: Check,
    *,
    by_judge: ByJudge = by_rules,
    limits: Limits = LIMITS,
    think_tag: str = "think",
    answer_tag: str = "answer",
) -> Rewritten:
    """Correct samples in readable form, graded again; what comes out is ready for selecting.select.

    Of samples that a judge approved (`by_judge`) the verdict is kept: it was on what they still say.
    """
    made: list[tuple[Sampled, Refined | Unfit]] = []
    for one in samples:
        if one.grade.status != "correct" or one.stopped == "length":
            made.append((one, Unfit(reason="not_correct", detail=one.grade.reason or one.stopped)))
        else:
            tags = (think_tag, answer_tag)
            made.append((one, _of_sample(one, by_judge(one), limits, tags)))
    return verified(made, check, by="rules", by_judge=by_judge, think_tag=think_tag)


def refine_wrong(
    samples: Sequence[Sampled],
    check: Check,
    *,
    by_judge: ByJudge = by_rules,
    limits: Limits = LIMITS,
    think_tag: str = "think",
    answer_tag: str = "answer",
) -> list[Sampled]:
    """Wrong answers in the form of `refine_all`, with their verdicts; those left out that cannot have it.

    A cut answer never gets an end by rules; one that is right when it is graded in the new form was wrong
    in form alone.
    """
    tags = (think_tag, answer_tag)
    made = [
        (one, result.response(think_tag))
        for one in samples
        if one.grade.status in WRONG and one.stopped != "length"
        if isinstance(result := _of_sample(one, by_judge(one), limits, tags), Refined)
    ]
    graded = [(one.prompt, response) for one, response in made if not by_judge(one)]
    grades = iter(check(graded) if graded else [])
    return [
        replace(one, text=response, prefill="", rewritten="rules")
        for one, response in made
        if by_judge(one) or next(grades).status in WRONG
    ]


def _of_sample(
    one: Sampled, judged: bool, limits: Limits, tags: tuple[str, str]
) -> Refined | Unfit:
    lang, limits = language_of(one.prompt), limits_for(one.prompt, limits)
    question = one.prompt.question
    if judged:
        return word_for_word(
            one.response, question, lang, limits=limits, think_tag=tags[0], answer_tag=tags[1]
        )
    return refined(
        one.response,
        question,
        one.grade.extracted or "",
        lang,
        limits=limits,
        think_tag=tags[0],
        answer_tag=tags[1],
    )


def verified(
    made: Sequence[tuple[Sampled, Refined | Unfit]],
    check: Check,
    *,
    by: str,
    by_judge: ByJudge = by_rules,
    think_tag: str = "think",
) -> Rewritten:
    """What was rewritten, if its answer is still right; that of `by_judge` samples is not looked at again."""
    good = [
        (one, result.response(think_tag))
        for one, result in made
        if isinstance(result, Refined) and not by_judge(one)
    ]
    grades = iter(check([(one.prompt, response) for one, response in good]) if good else [])
    samples, unfit = [], []
    for one, result in made:
        if isinstance(result, Unfit):
            unfit.append((one, result))
            continue
        grade = one.grade if by_judge(one) else next(grades)
        if grade.status == "correct":
            text = result.response(think_tag)
            samples.append(replace(one, text=text, prefill="", grade=grade, rewritten=by))
        else:
            reason = "grader_failed" if grade.failed else "changed_answer"
            unfit.append((one, Unfit(reason=reason, detail=grade.reason)))
    return Rewritten(samples=samples, unfit=unfit)


def refined(
    text: str,
    question: str,
    answer: str,
    lang: str,
    *,
    limits: Limits = LIMITS,
    think_tag: str = "think",
    answer_tag: str = "answer",
) -> Refined | Unfit:
    """A correct sample in readable form, or why there is none.

    Args:
        text: the whole response, prefill included.
        answer: what the grader took for its answer (Grade.extracted).
        lang: language of the question; "" to look for it, where it has no words in the thinking.

    >>> made = refined("<think> 1 + 2 = 3.  So 3. </think> <answer> 3 </answer>", "1+2=?", "3", "en")
    >>> made.thinking, made.summary
    ('1 + 2 = 3.', 'The answer is \\\\boxed{3}.')
    """
    tags = (think_tag, answer_tag)
    thought = thinking_of(text, tags)
    lang = lang or target(question) or target(thought or "") or "en"
    if lang not in CLOSINGS:
        return Unfit(reason="language", detail=f"no sentence for the answer in {lang!r}")
    boxed = _plain_value(lead_off(unwrap_box(answer)))
    if not boxed or len(boxed) > MAX_ANSWER or "\n" in boxed or not _balanced(boxed):
        return Unfit(reason="answer_form", detail=boxed[:SHOWN_CHARS])
    if thought is None:
        return Unfit(reason="format")
    if TURN.search(thought):
        return Unfit(reason="another_turn")
    parts = list(sentences(thought, tags))
    if not parts:
        return Unfit(reason="empty_thinking")
    found = steps(parts)
    closing = CLOSINGS[lang].format(boxed)
    if is_trivial(question) and (step := _step_to(boxed, found)):
        made = Refined(thinking=step, summary=closing)
    else:
        made = Refined(thinking=joined(parts), summary=_summary(found, closing, lang))
    return judged(made, boxed, lang, limits=limits, think_tag=think_tag)


def word_for_word(
    text: str,
    question: str,
    lang: str,
    *,
    limits: Limits = LIMITS,
    think_tag: str = "think",
    answer_tag: str = "answer",
) -> Refined | Unfit:
    """A sample whose answer a judge read: readable thinking, and the answer part as it was.

    Of an answer tag its content; where that is no sentence but a value, in the box of `refined`. Of a text
    without tags the answer part is the sentence that states the answer.

    >>> said = "<think> Sound needs air. </think> <answer> There is no air. </answer>"
    >>> word_for_word(said, "Why is space silent?", "en").summary
    'There is no air.'
    """
    lang = lang or target(question)
    tags = (think_tag, answer_tag)
    thought = thinking_of(text, tags)
    if thought is None:
        return Unfit(reason="format")
    said = _answer_part(text, thought, tags)
    if not said:
        return Unfit(reason="answer_form", detail="no sentence with the answer")
    if TURN.search(thought) or TURN.search(said):
        return Unfit(reason="another_turn")
    if answer_tag and form(text, *tags) is not None and not said.endswith(_ENDS):
        found = refined(
            text, question, said, lang, limits=limits, think_tag=think_tag, answer_tag=answer_tag
        )
        if isinstance(found, Refined) and f"\\boxed{{{said}}}" in found.summary:
            return found
    parts = list(sentences(thought, tags))
    if not parts:
        return Unfit(reason="empty_thinking")
    made = Refined(thinking=joined(parts), summary=said)
    if not _has_form(made, think_tag):
        return Unfit(reason="format", detail="a tag is left")
    return _faultless(made, lang, limits)


def judged(
    made: Refined, answer: str, lang: str, *, limits: Limits, think_tag: str
) -> Refined | Unfit:
    """A rewritten answer, unless its form, its language or its answer is wrong."""
    response = made.response(think_tag)
    if not _has_form(made, think_tag):
        return Unfit(reason="format", detail="a tag is left")
    if extract(response, think_tag=think_tag, answer_tag="").text != answer:
        return Unfit(reason="changed_answer", detail=answer)
    return _faultless(made, lang, limits)


def _has_form(made: Refined, think_tag: str) -> bool:
    parts = (made.thinking.strip(), made.summary.strip())
    return form(made.response(think_tag), think_tag) == parts


def _faultless(made: Refined, lang: str, limits: Limits) -> Refined | Unfit:
    found = faults(made.thinking, made.summary, language=lang, limits=limits)
    return Unfit(reason=found[0], detail=", ".join(found)) if found else made


def _answer_part(text: str, thought: str, tags: tuple[str, str]) -> str:
    """What a judge read as the answer, without its tag; of a text without tags its last sentence."""
    parts = form(text, *tags)
    if parts is None:
        whole = text.strip()
        return whole[len(thought) :].strip() if whole.startswith(thought) else ""
    return (split(text, *tags).answer or "") if tags[1] else parts[1]


def _step_to(answer: str, found: Sequence[str]) -> str:
    """The first step that ends in the answer; "" if none does."""
    return next((step for step in found if step.rstrip(" .。$").endswith(f" {answer}")), "")


def _summary(found: Sequence[str], closing: str, lang: str) -> str:
    """The last steps, and the sentence with the answer."""
    if not found:
        return closing
    stop = "。" if lang == "zh" else "."
    said = [
        step if step.endswith((".", "。", "!", "！", "]", "$$")) else step + stop for step in found
    ]
    shown = said[-STEPS:]
    if any(mark in step for step in shown for mark in ("\\[", "$$")):
        return "\n".join([*shown, "", closing])
    text = shown[0]
    for step in shown[1:]:
        text += step if text.endswith("。") else f" {step}"
    return f"{text}\n\n{closing}"


def _plain_value(answer: str) -> str:
    """Of a sum that was worked out in the answer (`10 + 3 = 13`) the result."""
    match = _WORKED.fullmatch(answer)
    return match[1] if match else answer


def _balanced(text: str) -> bool:
    depth = 0
    for sign in re.sub(r"\\[\\{}]", "", text):
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    return depth == 0


_ENDS = (".", "。", "!", "！", "?", "？")
_WORKED = re.compile(r"[\d\s+*×/÷=−().-]{1,200}=\s{0,3}([-−]?\d{1,15})")
