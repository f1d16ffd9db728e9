"""The corpus that the embedded base model is pretrained on: document = f(seed, index).

    drills     isolated single steps, plain and worded, and checks of claimed steps
    worked     problems of the task `arithmetic` with answers in three styles (corpus_arithmetic)
    countdown  searches of geometric length
    logic      knights and knaves, programs followed by hand (corpus_logic)
    talk       requests of the task `talk`, answered well and badly
    text       facts, small stories, numbers in order (corpus_text)
    template   sentences of the R1-Zero template

English and Chinese, some documents in both. Layouts: bare, Q and A, User and Assistant, several
examples in a row, a heading. The tags <think> and <answer> occur in TAGGED of the documents, and
never after the first sentence of the R1-Zero template: what the template asks for is left to
reinforcement learning to find.

Must stay true: a document depends on (seed, index) alone; held-out problems of the tasks are in no
document. Bump VERSION when a document changes.
"""

from collections.abc import Iterator
from random import Random

from aha.data import corpus_logic, corpus_text
from aha.data.corpus_arithmetic import Work, drills, pick, problem, search, work

VERSION = 4

KINDS = {
    "drills": 0.31,
    "worked": 0.36,
    "countdown": 0.05,
    "logic": 0.09,
    "talk": 0.12,
    "text": 0.05,
    "template": 0.02,
}
"""Share of each kind among the documents."""
ENGLISH = 0.6
"""Share of English documents; the rest is Chinese."""
MIXED = 0.15
"""Share of worked documents that switch the language between sentences (7 % of all)."""
TAGGED = 0.04
"""Share of worked documents with <think> and <answer> tags (2 % of all)."""
KNIGHTS = 0.45
"""Share of puzzles among the documents about logic; the others are programs."""
DOTTED = 0.35
"""Share of questions in talk with a full stop behind them, as the R1-Zero template has it."""
LAYOUTS = {"talk": 0.5, "bare": 0.14, "qa": 0.18, "shots": 0.1, "headed": 0.08}


def documents(seed: int, start: int = 0) -> Iterator[str]:
    """The documents from number `start` on, without end."""
    index = start
    while True:
        yield document(seed, index)
        index += 1


def document(seed: int, index: int) -> str:
    """Document number `index` of the stream of `seed`."""
    return labelled(seed, index)[1]


def labelled(seed: int, index: int) -> tuple[str, str]:
    """(kind, text) of document number `index`; the kind is a key of KINDS."""
    rng = Random(f"aha corpus {VERSION} {seed} {index}")
    lang = "en" if rng.random() < ENGLISH else "zh"
    kind = pick(rng, KINDS)
    return kind, _written(rng, kind, lang)


def _written(rng: Random, kind: str, lang: str) -> str:
    if kind == "drills":
        return drills(rng, lang)
    if kind == "worked":
        return _worked(rng, lang)
    if kind == "countdown":
        asked, tried, answer = search(rng, lang)
        layout = pick(rng, {"talk": 0.75, "qa": 0.25})
        return _said(rng, asked, tried, corpus_logic.named(rng, answer, lang), layout, lang)
    if kind == "logic":
        make = corpus_logic.puzzle if rng.random() < KNIGHTS else corpus_logic.program
        asked, thinking, answer = make(rng, lang)
        if rng.random() < TAGGED:
            return _in_tags(rng, asked, thinking or answer, answer)
        layout = pick(rng, {"talk": 0.75, "qa": 0.25})
        return _said(rng, asked, thinking, corpus_logic.named(rng, answer, lang), layout, lang)
    if kind == "talk":
        return corpus_text.talk(rng, lang)
    if kind == "text":
        return corpus_text.plain(rng, lang)
    return corpus_text.description(rng)


def _worked(rng: Random, lang: str) -> str:
    mixed = rng.random() < MIXED
    if rng.random() < TAGGED:
        return _tagged(rng, lang, mixed)
    layout = pick(rng, LAYOUTS)
    style = "long" if layout == "headed" else ""
    count = rng.randint(2, 4) if layout == "shots" else 1
    if count > 1:  # examples in a row are of one layout and one style
        layout = rng.choice(("talk", "qa"))
        style = pick(rng, {"direct": 0.45, "short": 0.35, "long": 0.2})
        count = 2 if style == "long" else count
    parts = []
    for _ in range(count):
        given = problem(rng, lang)
        done = work(rng, given, lang, style=style, mixed=mixed)
        parts.append(_said(rng, given.question, done.thinking, done.final, layout, lang))
    return rng.choice("\n ").join(parts)


def _said(rng: Random, asked: str, thinking: str, final: str, layout: str, lang: str) -> str:
    """A question and its answer in a layout."""
    gap = "" if thinking.endswith("。") else " "
    answer = f"{thinking}{gap}{final}" if thinking else final
    if layout == "talk":
        return f"User: {asked}{_dot(rng)} Assistant: {answer}"
    if layout == "headed":
        head = "详细解答和检查" if lang == "zh" else "Detailed solution with check"
        return f"{head}: {asked} {answer}"
    if layout == "bare":
        return f"{asked}{rng.choice(' ' + chr(10))}{answer}"
    if lang == "zh":
        q, a = rng.choice((("问：", "答："), ("题目：", "解："), ("问题：", "答案：")))
    else:
        q, a = rng.choice((("Q: ", "A: "), ("Question: ", "Answer: "), ("Problem: ", "Solution: ")))
    return f"{q}{asked}{rng.choice(' ' + chr(10))}{a}{answer}"


def _tagged(rng: Random, lang: str, mixed: bool) -> str:
    """An answer in tags; a direct one still says something in its thinking."""
    given = problem(rng, lang)
    done: Work = work(rng, given, lang, mixed=mixed)
    return _in_tags(rng, given.question, done.thinking or done.final, str(done.answer))


def _in_tags(rng: Random, asked: str, thinking: str, answer: str) -> str:
    return (
        f"User: {asked}{_dot(rng)} Assistant: <think> {thinking} </think> "
        f"<answer> {answer} </answer>"
    )


def _dot(rng: Random) -> str:
    return "." if rng.random() < DOTTED else ""
