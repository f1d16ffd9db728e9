"""The routes of cold-start data: how a model is asked for long, checked thinking. DeepSeek-R1 §2.3.1.

    few_shot   worked examples of long thinking in front of the question
    detailed   the bare demand for a detailed answer with reflection and verification

    as_text(route, prompt)       for a base model: text to be continued
    as_messages(route, prompt)   for a chat model

A suffix stands behind every question, those of the examples too; a system message comes before the demand.
The third route, samples of R1-Zero in readable form, is refine.py; the fourth, people, is review.py.
Examples are the user's dialogues or ours, in the language of the question; a trivial question (`1+1=?`)
gets short ones, so that its thinking stays short.

Holds not: sampling; what is done with the samples (selecting.py, refine.py).
"""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from aha.data.areas import area
from aha.data.dialogues import Dialogue
from aha.data.language import code
from aha.data.overlap import tokens
from aha.data.thinking import split
from aha.errors import ConfigError
from aha.records import Prompt, Rendered
from aha.rewards.language import target

Route = Literal["few_shot", "detailed"]
SHOTS = 2
"""Examples in front of a question."""

HEADINGS = {"en": "Detailed solution with check", "zh": "详细解答和检查"}
"""What a text for base models begins with, route `detailed`; such headings stand in the corpus of the
bases that come with the package."""

DEMANDS = {
    "en": (
        "Answer in detail. Think first, between <{think}> and </{think}>, the way one thinks aloud: say "
        "what is asked and what is given, go step by step, doubt what is not certain, and before you "
        "are done verify the result in another way; if something is wrong, go back. Keep the "
        "paragraphs short and stay in the language of the question. After </{think}> write a short, "
        "clean solution for the reader that ends with the answer in \\boxed{{}}."
    ),
    "zh": (
        "请详细作答。先在 <{think}> 和 </{think}> 之间思考，像自言自语一样：说清题目问什么、给了什么，"
        "一步一步推，对没把握的地方提出怀疑，结束之前换一种方法验证结果，发现错了就回头重来。段落要短，"
        "全程使用题目的语言。在 </{think}> 之后为读者写一份简短清楚的解答，最后把答案放在 \\boxed{{}} 中。"
    ),
}
"""What a chat model is told. `{think}` is the thinking tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A question as a base model reads it."""

    text: str
    prefill: str = ""
    """The end of `text` that already belongs to the answer."""
    stop: tuple[str, ...] = ()
    """Strings that end an answer: the next question of the layout."""

    def answer(self, text: str) -> str:
        """What was sampled, without the string that ended it: it belongs to the next question."""
        ends = [text.find(string) for string in self.stop if string in text]
        return text[: min(ends)] if ends else text


def as_text(
    route: Route,
    prompt: Prompt,
    *,
    examples: Sequence[Dialogue] | None = None,
    shots: int = SHOTS,
    think_tag: str = "think",
    tagged: bool = True,
    suffix: str = "",
) -> Asking:
    """A question for a base model.

    `few_shot` shows thinking and summary in their form and opens the thinking for the model, or, not
    `tagged`, each example on one line without tags: a small base model does not learn a form from two
    examples. Answers of that layout and of `detailed` have no tags; refine.py reads them.
    `examples`: dialogues to choose from, None for ours.

    Raises:
        ConfigError: no example, or one with more than one question.
    """
    lang = _lang(prompt)
    if route == "detailed":
        stop = tuple(f"\n{heading}:" for heading in HEADINGS.values())
        return Asking(text=f"{HEADINGS[lang]}: {_with(prompt.question, suffix)}", stop=stop)
    turns = [_turn(one) for one in chosen(prompt, examples, shots)]
    turns = [(_with(question, suffix), answer) for question, answer in turns]
    asked = _with(prompt.question, suffix)
    if not tagged:
        lines = [
            f"User: {question} Assistant: {_on_one_line(answer)}\n" for question, answer in turns
        ]
        text = f"{''.join(lines)}User: {asked} Assistant:"
        return Asking(text=text, stop=("\nUser:", " User:"))
    prefill = f"<{think_tag}>\n"
    shown = [
        f"User: {question}\nAssistant: {_retagged(answer, think_tag)}\n\n"
        for question, answer in turns
    ]
    text = f"{''.join(shown)}User: {asked}\nAssistant: {prefill}"
    return Asking(text=text, prefill=prefill, stop=("\nUser:",))


def as_messages(
    route: Route,
    prompt: Prompt,
    *,
    examples: Sequence[Dialogue] | None = None,
    shots: int = SHOTS,
    think_tag: str = "think",
    system: str = "",
    suffix: str = "",
) -> tuple[dict[str, str], ...]:
    """A question for a chat model: `role` and `content`. Both routes say what is wanted.

    `system`: what the system message says before that.

    Raises:
        ConfigError: as `as_text`.
    """
    demand = DEMANDS[_lang(prompt)].format(think=think_tag)
    said = f"{system}\n\n{demand}" if system else demand
    messages = [{"role": "system", "content": said}]
    if route == "few_shot":
        for question, answer in map(_turn, chosen(prompt, examples, shots)):
            messages.append({"role": "user", "content": _with(question, suffix)})
            messages.append({"role": "assistant", "content": _retagged(answer, think_tag)})
    return (*messages, {"role": "user", "content": _with(prompt.question, suffix)})


def rendered(
    asking: Asking,
    prompt: Prompt,
    encode: Callable[[str], Sequence[int]],
    *,
    bos: Sequence[int] = (),
) -> Rendered:
    """The asking with its tokens; `encode` adds no special token, `bos` goes in front."""
    ids = (*bos, *encode(asking.text))
    return Rendered(prompt=prompt, text=asking.text, token_ids=ids, prefill=asking.prefill)


def chosen(prompt: Prompt, examples: Sequence[Dialogue] | None, shots: int) -> list[Dialogue]:
    """The examples for a question: of its language, never the question itself, its order by its id.

    Those of its domain or area come first.
    """
    lang = _lang(prompt)
    if examples is None:
        examples = (SHORT if is_trivial(prompt.question) else EXAMPLES)[lang]
    same = [one for one in examples if _lang_of(one) == lang] or list(examples)
    asked = tuple(tokens(prompt.question))
    fit = [one for one in same if _words_asked(one) != asked]
    if not fit or shots < 1:
        raise ConfigError(
            f"prompt {prompt.id}: few_shot needs shots of 1 or more (here {shots}) and an example that is "
            f"not the question itself (here {len(fit)} of {len(examples)})"
        )
    fit.sort(key=lambda one: _digest(prompt.id, one.id))
    fit.sort(key=lambda one: one.domain not in (prompt.domain, area(prompt)))
    return fit[:shots]


def check_examples(examples: Sequence[Dialogue], source: str) -> None:
    """Whether dialogues can be shown in front of a question.

    Raises:
        ConfigError: one has more than a question and its answer; says which and how many.
    """
    others = [one for one in examples if not _is_pair(one)]
    if others:
        raise ConfigError(
            f"examples={source!r}: {len(others)} of {len(examples)} dialogues are more than one question "
            f"and its answer (first: {others[0].id}); an example has no system message and no earlier turns"
        )


def is_trivial(question: str) -> bool:
    """One operation on two small numbers and hardly a word more: little thinking is enough.

    Small: up to 99 for sums and differences, up to 9 for products and quotients.

    >>> is_trivial("1+1=?"), is_trivial("what is 1 plus 2"), is_trivial("What is 23 * 17?")
    (True, True, False)
    """
    if len(question) > MOST_CHARS:
        return False
    numbers = _NUMBER.findall(question)
    signs = _SIGN.findall(question.lower())
    words = _WORD.findall(_SIGN.sub(" ", question.lower()))
    if len(numbers) != 2 or len(signs) != 1 or len(words) > MOST_WORDS:
        return False
    largest = 99 if signs[0] in _SUMS else 9
    return all(number.isdigit() and int(number) <= largest for number in numbers)


MOST_CHARS = 80
MOST_WORDS = 10
"""Words (or Chinese characters) of a trivial question, besides numbers and signs."""
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_SUMS = ("+", "-", "−", "plus", "minus", "add", "加", "减")
_SIGN = re.compile(r"[-+−*×/÷]|\b(?:plus|minus|times|add|divided by)\b|[加减乘除]")
_WORD = re.compile(r"[a-z]+|[\u4e00-\u9fff]")


def _is_pair(example: Dialogue) -> bool:
    return [role for role, _ in example.messages] == ["user", "assistant"]


def _turn(example: Dialogue) -> tuple[str, str]:
    if not _is_pair(example):
        raise ConfigError(f"example {example.id}: an example is one question and its answer")
    return example.messages[0][1], example.messages[1][1]


def _retagged(answer: str, think_tag: str) -> str:
    return answer.replace("<think>", f"<{think_tag}>").replace("</think>", f"</{think_tag}>")


def _on_one_line(answer: str) -> str:
    """Thinking and the sentence with the answer; the rest of the summary says nothing new.

    An answer without thinking is its own solution: all of it.
    """
    parsed = split(answer, "think", "")
    if not parsed.think:
        return " ".join(parsed.rest.split())
    lines = parsed.rest.strip().split("\n")
    return " ".join(f"{parsed.think} {lines[-1]}".split())


def _lang(prompt: Prompt) -> str:
    """The language that we ask in: Chinese for Chinese questions, else English."""
    return "zh" if (code(prompt.lang) or target(prompt.question)) == "zh" else "en"


def _with(question: str, suffix: str) -> str:
    """As templates.py puts a suffix behind a question."""
    return question + suffix if not suffix or suffix[0].isspace() else f"{question} {suffix}"


@functools.lru_cache(maxsize=10_000)
def _words_asked(example: Dialogue) -> tuple[str, ...]:
    return tuple(tokens(example.messages[-2][1]))


@functools.lru_cache(maxsize=10_000)
def _lang_of(example: Dialogue) -> str:
    return "zh" if target(" ".join(text for _, text in example.messages)) == "zh" else "en"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _made(name: str, domain: str, question: str, thinking: str, summary: str) -> Dialogue:
    answer = f"<think>\n{thinking}\n</think>\n\n{summary}"
    return Dialogue(
        id=f"ours-{name}",
        messages=(("user", question), ("assistant", answer)),
        source="cold_start",
        domain=domain,
    )


EXAMPLES: dict[str, tuple[Dialogue, ...]] = {
    "en": (
        _made(
            "en-product",
            "math",
            "Compute 7 + 24 * 13.",
            "I need 7 + 24 * 13. The product comes first.\n\n"
            "24 * 13 is about 300, but I want it exactly. 24 * 10 = 240 and 24 * 3 = 72, so 24 * 13 = "
            "240 + 72 = 312.\n\n"
            "Now 7 + 312 = 319.\n\n"
            "Let me verify the product another way: 25 * 13 = 325, and 325 - 13 = 312. It agrees.",
            "First the product: 24 * 13 = 240 + 72 = 312.\nThen the sum: 7 + 312 = 319.\n\n"
            "The answer is \\boxed{319}.",
        ),
        _made(
            "en-difference",
            "math",
            "Work out 19 * 14 - 6.",
            "First the product: 19 * 14 is near 250. Wait, that is only a guess.\n\n"
            "19 * 14: 10 * 14 = 140, 9 * 14 = 126, 140 + 126 = 266.\n\n"
            "Then 266 - 6 = 260.\n\n"
            "Let me check: 20 * 14 = 280, and 280 - 14 = 266, right. So it is 260.",
            "First 19 * 14 = 140 + 126 = 266.\nThen 266 - 6 = 260.\n\nThe answer is \\boxed{260}.",
        ),
        _made(
            "en-knights",
            "logic",
            'Knights always tell the truth, knaves always lie. Ann says: "Bob is a knave." Bob says: '
            '"Ann and I are of the same kind." Who is what?',
            "There are two people, and each is a knight or a knave. Let me try both kinds for Ann.\n\n"
            "Suppose Ann is a knave. Then what she says is false, so Bob is a knight. But then Bob tells "
            "the truth, and Ann and Bob would be of the same kind. They are not, so this fails.\n\n"
            "So Ann is a knight. Her sentence is true: Bob is a knave.\n\n"
            "Let me verify with Bob: he claims that both are of the same kind. They are not, so he "
            "lies, as a knave must. It fits.",
            "If Ann were a knave, Bob would be a knight whose sentence is false: impossible. So Ann is a "
            "knight, and by her true sentence Bob is a knave; his sentence is then false, as it must "
            "be.\n\nThe answer is \\boxed{\\text{Ann is a knight, Bob is a knave}}.",
        ),
        _made(
            "en-order",
            "logic",
            "Tom is taller than Sam. Rose is shorter than Sam. Jack is taller than Tom. Who is the "
            "second tallest?",
            "Four people: Tom, Sam, Rose, Jack. I want their order.\n\n"
            "Tom is taller than Sam, and Sam is taller than Rose: Tom, Sam, Rose.\n\n"
            "My first thought is that Sam is second. But wait, Jack is not placed yet. Jack is taller "
            "than Tom, so he stands in front: Jack, Tom, Sam, Rose.\n\n"
            "Check every sentence: Tom before Sam, yes; Rose behind Sam, yes; Jack before Tom, yes. The "
            "second is Tom.",
            "The three sentences give the order Jack, Tom, Sam, Rose, from tall to short.\n\n"
            "The answer is \\boxed{\\text{Tom}}.",
        ),
    ),
    "zh": (
        _made(
            "zh-product",
            "math",
            "计算 7 + 24 * 13。",
            "要算 7 + 24 * 13，先算乘法。\n\n"
            "24 * 13 大约是 300，但是要算准。24 * 10 = 240，24 * 3 = 72，所以 24 * 13 = 240 + 72 = "
            "312。\n\n再加上 7：7 + 312 = 319。\n\n"
            "换一种方法验证乘法：25 * 13 = 325，325 - 13 = 312。一样，没有错。",
            "先算乘法：24 * 13 = 240 + 72 = 312。\n再算加法：7 + 312 = 319。\n\n"
            "答案是 \\boxed{319}。",
        ),
        _made(
            "zh-difference",
            "math",
            "求 19 * 14 - 6 的值。",
            "先算乘法：19 * 14 大约是 250。等等，这只是猜的。\n\n"
            "19 * 14：10 * 14 = 140，9 * 14 = 126，140 + 126 = 266。\n\n"
            "再算 266 - 6 = 260。\n\n"
            "检查一下：20 * 14 = 280，280 - 14 = 266，没错。所以是 260。",
            "先算 19 * 14 = 140 + 126 = 266。\n再算 266 - 6 = 260。\n\n答案是 \\boxed{260}。",
        ),
        _made(
            "zh-knights",
            "logic",
            "骑士总说真话，无赖总说假话。小明说：“小李是无赖。”小李说：“小明和我是同一种人。”他们各是什么人？",
            "一共两个人，每个人不是骑士就是无赖。先看小明的两种可能。\n\n"
            "假设小明是无赖，那么他的话是假的，小李就是骑士。可是骑士说真话，小明和小李就应该是同一种人，"
            "这和假设不合，所以不可能。\n\n"
            "所以小明是骑士，他的话是真的：小李是无赖。\n\n"
            "用小李的话验证：他说两个人是同一种人，其实不是，他说了假话，无赖正该如此。都对上了。",
            "如果小明是无赖，小李就是骑士，但小李的话却是假的，矛盾。所以小明是骑士；由他的真话，小李是无赖，"
            "而小李的话确实是假的。\n\n答案是 \\boxed{\\text{小明是骑士，小李是无赖}}。",
        ),
        _made(
            "zh-order",
            "logic",
            "小王比小张高，小赵比小张矮，小陈比小王高。谁是第二高的？",
            "四个人：小王、小张、小赵、小陈，要排出高矮。\n\n"
            "小王比小张高，小张比小赵高：小王、小张、小赵。\n\n"
            "一开始想第二高的是小张。等等，小陈还没有排。小陈比小王高，所以排在最前面：小陈、小王、小张、"
            "小赵。\n\n"
            "检查每一句：小王在小张前面，对；小赵在小张后面，对；小陈在小王前面，对。第二个是小王。",
            "由三句话，从高到矮是小陈、小王、小张、小赵。\n\n答案是 \\boxed{\\text{小王}}。",
        ),
    ),
}
"""Long thinking with reflection and verification, by language; written for this package."""

SHORT: dict[str, tuple[Dialogue, ...]] = {
    "en": (
        _made(
            "en-short-sum",
            "math",
            "How much is 4 + 3?",
            "4 + 3 = 7.",
            "4 + 3 = 7.\n\nThe answer is \\boxed{7}.",
        ),
        _made(
            "en-short-difference",
            "math",
            "what is 9 minus 2",
            "9 - 2 = 7.",
            "9 - 2 = 7.\n\nThe answer is \\boxed{7}.",
        ),
        _made(
            "en-short-product",
            "math",
            "3*2=?",
            "3 * 2 = 6.",
            "3 * 2 = 6.\n\nThe answer is \\boxed{6}.",
        ),
    ),
    "zh": (
        _made(
            "zh-short-sum",
            "math",
            "4 + 3 等于多少？",
            "4 + 3 = 7。",
            "4 + 3 = 7。\n\n答案是 \\boxed{7}。",
        ),
        _made(
            "zh-short-difference",
            "math",
            "9 减 2 是多少",
            "9 - 2 = 7。",
            "9 - 2 = 7。\n\n答案是 \\boxed{7}。",
        ),
        _made(
            "zh-short-product",
            "math",
            "3*2=?，算一下",
            "3 * 2 = 6。",
            "3 * 2 = 6。\n\n答案是 \\boxed{6}。",
        ),
    ),
}
"""For trivial questions, whose thinking has nothing to doubt."""
