"""From a model's samples to dialogues worth learning: rejection sampling. DeepSeek-R1 §2.3.3.

    select(samples, rules, heldout) -> Selected: rows of dialogues, and a decision for every sample

The paper keeps what is correct and drops thinking with mixed languages, long paragraphs or code blocks.
Answers to general questions (a greeting, advice, a translation) come the same way; `Rules.think` says
which of them are learned without their thinking. A sample is dropped for the first of these reasons:

    grader_failed   our grader, or the judge, has no verdict
    no_verdict      an open question that nobody has judged
    not_correct     wrong, no answer was found, or below `min_score`
    cut             ended by the token cap
    unfinished      a thinking part or an answer tag that was opened and not closed
    format          not thinking and then an answer, each tag once, nothing before
    (a fault)       what makes it hard to read, by its name: rewards/readability.py
    length          more tokens than `max_tokens`
    contaminated    question or answer shares a run of words with a held-out question or its reference
                    solution: data/overlap.py
    duplicate       the same text, or the same words of thinking, as a preferred answer to this question
    over_cap        `per_prompt` preferred ones were kept for this question

Must stay true:  every sample has one decision; what is kept does not depend on the order of the samples.
Holds not:       sampling and grading (rollout/), rewriting (refine.py).
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from aha.data.areas import area
from aha.data.general import TRIVIAL_WORDS, is_trivial, translates
from aha.data.overlap import Index, N, tokens
from aha.data.thinking import split
from aha.records import Grade, Group, Prompt, Stopped
from aha.rewards.language import target
from aha.rewards.readability import LIMITS, Limits, faults

SHOWN = 3
"""Examples of each reason in the facts."""
SHOWN_CHARS = 400
"""Characters of an example's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One judged answer of a model."""

    prompt: Prompt
    sample: int
    """Number among the answers to this prompt by this policy."""
    text: str
    prefill: str = ""
    """What the prompt already wrote of the answer, e.g. `<think>\\n`."""
    tokens: int = 0
    """Tokens of the answer as it was sampled."""
    stopped: Stopped = "eos"
    grade: Grade
    policy: str = ""
    """Which weights wrote it."""
    rewritten: str = ""
    """By what: "rules" or "model" (refine.py); "" as it was sampled."""

    @property
    def response(self) -> str:
        return self.prefill + self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is kept, and how it is written."""

    limits: Limits = LIMITS
    """Of readability. Code blocks in the thinking are no fault for problems of the area `code`."""
    max_tokens: int = 0
    """Longest answer; 0 for no limit of its own."""
    correct: bool = True
    """Only answers that were judged to be right; False: whatever the verdict."""
    min_score: float = 0.0
    """Score that a kept answer has at least; 0: the verdict "correct" decides."""
    per_prompt: int = 1
    """Answers kept for one question; 0 for all."""
    think: Literal["keep", "none", "auto"] = "keep"
    """Which answers are written with their thinking: all, none, or all but those to trivial questions.
    Without it they begin with an empty thinking part."""
    trivial_words: int = TRIVIAL_WORDS
    """For `auto`: a question of the areas helpful and general with no more words is trivial."""
    bare: bool = False
    """Answers that have no thinking are good as they are: a person wrote them."""
    prefer: Literal["shortest", "seeded"] = "shortest"
    """Which answers are kept where there are more: those of the fewest tokens, or any, by `seed`."""
    seed: int = 0
    overlap_words: int = N
    """Words in a row that an answer may not share with a held-out problem; 0: only whole questions."""
    think_tag: str = "think"
    answer_tag: str = ""
    """The samples' tags. Without an answer tag the answer is what follows the thinking."""
    write_think_tag: str = ""
    """Thinking tag of the rows; "" for the samples' own."""

    def __post_init__(self) -> None:
        numbers = {
            "max_tokens": self.max_tokens,
            "per_prompt": self.per_prompt,
            "overlap_words": self.overlap_words,
            "trivial_words": self.trivial_words,
        }
        if min(numbers.values()) < 0:
            said = ", ".join(f"{name}={number}" for name, number in numbers.items())
            raise ValueError(f"{said}: none may be below 0 (0 switches a rule off)")


RULES = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of a sample."""

    sampled: Sampled
    reason: str = ""
    """Why it was dropped; "" for what is kept."""
    detail: str = ""
    """In plain words, where there is more to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """Decisions in an order of their own (question, then sample), and the rows of what is kept."""

    decisions: list[Decision]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Counts by reason, in all and by area and domain, with the first examples of each reason."""
        examples: dict[str, list[dict[str, Any]]] = {}
        for one in self.decisions:
            shown = examples.setdefault(one.reason, [])
            if one.reason and len(shown) < SHOWN:
                shown.append(_example(one))
        return {
            **_counts(self.decisions),
            "questions": len({one.sampled.prompt.question for one in self.decisions}),
            "questions_kept": len({row["question"] for row in self.rows}),
            "by": {
                "area": _by(self.decisions, lambda prompt: area(prompt)),
                "domain": _by(self.decisions, lambda prompt: prompt.domain or "other"),
            },
            "examples": {reason: shown for reason, shown in sorted(examples.items()) if shown},
        }

    def sentence(self) -> str:
        counts = Counter(one.reason for one in self.decisions)
        kept = counts.pop("", 0)
        said = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        return f"{kept} kept of {len(self.decisions)} samples; dropped: {said or 'none'}"


def of_group(group: Group, *, policy: str = "") -> list[Sampled]:
    """The samples of a rollout phase to one question."""
    return [
        Sampled(
            prompt=group.rendered.prompt,
            sample=one.rollout.sample,
            text=one.rollout.text,
            prefill=group.rendered.prefill,
            tokens=len(one.rollout.token_ids),
            stopped=one.rollout.stopped,
            grade=one.grade,
            policy=policy,
        )
        for one in group.scored
    ]


def of_row(row: Mapping[str, Any], prompt: Prompt, *, policy: str = "") -> Sampled:
    """A stored line of a rollout phase (rollouts/) or an evaluation (samples.jsonl)."""
    return Sampled(
        prompt=prompt,
        sample=row["sample"],
        text=row["text"] if "text" in row else row["response"],
        prefill=row["prefill"],
        tokens=row["tokens"],
        stopped=row["stopped"],
        grade=Grade(
            status=row["status"],
            score=float(row.get("score", row["status"] == "correct")),
            reason=row["reason"],
            extracted=row["extracted"],
        ),
        policy=policy,
    )


def select(
    samples: Iterable[Sampled], rules: Rules = RULES, heldout: Sequence[Prompt] = ()
) -> Selected:
    """Decide on every sample.

    Raises:
        ValueError: two samples of one policy with the same prompt and number.
    """
    ordered = sorted(samples, key=_identity)
    for one, other in pairwise(ordered):
        if _identity(one) == _identity(other):
            raise ValueError(
                f"two samples number {one.sample} to prompt {one.prompt.id}: they cannot be told apart"
            )
    reasons = [_alone(one, rules) for one in ordered]
    left = [place for place, (reason, _) in enumerate(reasons) if not reason]
    for place, shared in _contaminated([ordered[place] for place in left], heldout, rules).items():
        reasons[left[place]] = ("contaminated", shared)
    left = [place for place in left if not reasons[place][0]]
    for place, why in _beside_others([ordered[place] for place in left], rules).items():
        reasons[left[place]] = why
    decisions = [
        Decision(sampled=one, reason=reason, detail=detail)
        for one, (reason, detail) in zip(ordered, reasons, strict=True)
    ]
    kept = [one.sampled for one in decisions if not one.reason]
    return Selected(decisions=decisions, rows=_rows(kept, rules))


def form(text: str, think_tag: str = "think", answer_tag: str = "") -> tuple[str, str] | None:
    """(thinking, what follows) of a text that has the form; None if it has not.

    The form is that of rewards/format.py, but a part may be blank: that is a fault with a name of its
    own. What follows keeps its answer tag.

    >>> form("<think>1 + 1</think> 2")
    ('1 + 1', '2')
    """
    text = text.strip()
    opening, closing = f"<{think_tag}>", f"</{think_tag}>"
    if not text.startswith(opening) or text.count(opening) != 1 or text.count(closing) != 1:
        return None
    thinking, _, rest = text[len(opening) :].partition(closing)
    rest = rest.strip()
    if answer_tag:
        opening, closing = f"<{answer_tag}>", f"</{answer_tag}>"
        whole = rest.startswith(opening) and rest.endswith(closing)
        if not whole or text.count(opening) != 1 or text.count(closing) != 1:
            return None
    return thinking.strip(), rest


def written(thinking: str, summary: str, think_tag: str = "think") -> str:
    """An answer as DeepSeek-R1 writes it: the thinking in its tags, a blank line, the summary."""
    return f"<{think_tag}>\n{thinking.strip()}\n</{think_tag}>\n\n{summary.strip()}"


def language_of(prompt: Prompt) -> str:
    """The language that an answer should be in; "" if it is not known."""
    return prompt.lang or target(prompt.question)


def thinks(prompt: Prompt, rules: Rules) -> bool:
    """Whether the answer to a question is learned with its thinking."""
    if rules.think == "auto":
        return not is_trivial(prompt, rules.trivial_words)
    return rules.think == "keep"


def parts_of(one: Sampled, rules: Rules) -> tuple[str, str] | None:
    """(thinking, what follows) as they are learned; None for a text that has not the form.

    An answer that is learned without thinking, or that a person wrote, need not have any.
    """
    wanted = thinks(one.prompt, rules)
    text = one.response
    tags = (f"<{rules.think_tag}>", f"</{rules.think_tag}>")
    if (rules.bare or not wanted) and not any(tag in text for tag in tags):
        text = written("", text, rules.think_tag)
    found = form(text, rules.think_tag, rules.answer_tag)
    return found if found is None or wanted else ("", found[1])


def untagged(one: Sampled, think_tag: str = "think", answer_tag: str = "answer") -> Sampled:
    """The sample with what stands in its answer tag in place of the tag; as it is without the form."""
    parts = form(one.response, think_tag, answer_tag)
    if parts is None or not answer_tag:
        return one
    answer = split(one.response, think_tag, answer_tag).answer or ""
    return replace(one, text=written(parts[0], answer, think_tag), prefill="")


def limits_for(prompt: Prompt, limits: Limits) -> Limits:
    """Code belongs into the thinking about a programming problem."""
    return replace(limits, code=True) if area(prompt) == "code" else limits


# -- one sample by itself ---------------------------------------------------------------------------------


def _alone(one: Sampled, rules: Rules) -> tuple[str, str]:
    """Why a sample is dropped whatever the others are, and more about it; ("", "") if it is not."""
    if rules.correct and (why := _unproven(one.grade, rules.min_score)):
        return why, one.grade.reason
    if one.stopped == "length":
        return "cut", ""
    parsed = split(one.response, rules.think_tag, rules.answer_tag)
    opened = rules.answer_tag and parsed.answer is None and f"<{rules.answer_tag}>" in parsed.rest
    if not parsed.complete or opened:
        return "unfinished", ""
    parts = parts_of(one, rules)
    if parts is None:
        return "format", ""
    thinking, rest = parts
    limits = limits_for(one.prompt, rules.limits)
    if rules.bare or not thinks(one.prompt, rules):
        limits = replace(limits, words=0)
    found = faults(
        thinking,
        rest if parsed.answer is None else parsed.answer,
        language=language_of(one.prompt),
        limits=limits,
    )
    if translates(one.prompt):
        found = [fault for fault in found if fault != "summary_language"]
    if found:
        return found[0], ", ".join(found)
    if rules.max_tokens and one.tokens > rules.max_tokens:
        return "length", f"{one.tokens} tokens"
    return "", ""


def _unproven(grade: Grade, least: float) -> str:
    """Why a verdict does not speak for an answer; "" if it does."""
    if grade.failed:
        return "grader_failed"
    if grade.status == "open":
        return "no_verdict"
    right = grade.score >= least if least else grade.status == "correct"
    return "" if right else "not_correct"


def _contaminated(
    samples: Sequence[Sampled], heldout: Sequence[Prompt], rules: Rules
) -> dict[int, str]:
    """Places of samples that share text with a held-out question or its solution, and what they share."""
    if not heldout:
        return {}
    answers = [
        Prompt(id=f"{place}", question=written(*_parts(one, rules)), gold="")
        for place, one in enumerate(samples)
    ]
    questions = [one.prompt for one in samples]
    index = Index(heldout, rules.overlap_words, solutions=True)
    found: dict[int, str] = {}
    for texts in (questions, answers):
        for place, text in enumerate(texts):
            for other, _, shared in index.of(text)[:1]:
                found.setdefault(place, f"{heldout[other].id}: {shared}")
    return found


# -- among the samples to one question --------------------------------------------------------------------


def _beside_others(samples: Sequence[Sampled], rules: Rules) -> dict[int, tuple[str, str]]:
    """Places of samples that are dropped because of others to the same question."""
    by_question: dict[str, list[int]] = {}
    for place, one in enumerate(samples):
        by_question.setdefault(one.prompt.question.strip(), []).append(place)
    dropped: dict[int, tuple[str, str]] = {}
    for places in by_question.values():
        seen: dict[str, Sampled] = {}
        kept = 0
        for place in sorted(places, key=lambda at: _preference(samples[at], rules)):
            one = samples[place]
            keys = _keys(one, rules)
            same = next((seen[key] for key in keys if key in seen), None)
            if same is not None:
                dropped[place] = ("duplicate", f"of sample {same.sample} to {same.prompt.id}")
            elif rules.per_prompt and kept >= rules.per_prompt:
                dropped[place] = ("over_cap", "")
            else:
                kept += 1
            for key in keys:
                seen.setdefault(key, one)
    return dropped


def _keys(one: Sampled, rules: Rules) -> list[str]:
    """What two samples share if one of them is a duplicate: their text, the words of their thinking."""
    parts = _parts(one, rules)
    words = tokens(parts[0])
    return [_digest("text", *parts)] + ([_digest("thinking", *words)] if words else [])


def _parts(one: Sampled, rules: Rules) -> tuple[str, str]:
    parts = parts_of(one, rules)
    assert parts is not None, "samples without the form are dropped before"
    return parts


def _preference(one: Sampled, rules: Rules) -> tuple[Any, ...]:
    if rules.prefer == "shortest":
        return (one.tokens, *_identity(one))
    return (_digest(str(rules.seed), *map(str, _identity(one))),)


def _identity(one: Sampled) -> tuple[str, str, str, int]:
    return one.prompt.source, one.prompt.id, one.policy, one.sample


def _digest(*parts: str) -> str:
    text = "\x1f".join(parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# -- what comes out ---------------------------------------------------------------------------------------


def _rows(kept: Sequence[Sampled], rules: Rules) -> list[dict[str, Any]]:
    """Rows of dialogues (dialogues.py reads them). Two samples of one name get a number behind it."""
    rows = []
    names: Counter[str] = Counter()
    for one in kept:
        parts = _parts(one, rules)
        name = f"{one.prompt.id}/{one.sample}"
        names[name] += 1
        origin: dict[str, Any] = {"sample": one.sample, "policy": one.policy}
        if one.rewritten:
            origin["rewritten"] = one.rewritten
        rows.append(
            {
                "id": name if names[name] == 1 else f"{name}~{names[name]}",
                "question": one.prompt.question,
                "response": written(*parts, rules.write_think_tag or rules.think_tag),
                "domain": one.prompt.domain,
                "area": area(one.prompt),
                "source": one.prompt.source,
                "from": origin,
            }
        )
    return rows


def _counts(decisions: Sequence[Decision]) -> dict[str, Any]:
    counts = Counter(one.reason for one in decisions)
    kept = counts.pop("", 0)
    return {"samples": len(decisions), "kept": kept, "dropped": dict(sorted(counts.items()))}


def _by(decisions: Sequence[Decision], key: Any) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Decision]] = {}
    for one in decisions:
        groups.setdefault(key(one.sampled.prompt), []).append(one)
    return {name: _counts(groups[name]) for name in sorted(groups)}


def _example(one: Decision) -> dict[str, Any]:
    text = one.sampled.response
    return {
        "prompt": one.sampled.prompt.id,
        "sample": one.sampled.sample,
        "detail": one.detail[:SHOWN_CHARS],
        "text": text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…",
    }
