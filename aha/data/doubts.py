"""What is odd about a problem that a run would use: reasons to look at it again.

What is covered: control tokens, tags of the template, characters that are not seen or were decoded
wrongly, a language that is not the declared one, a gold answer that stands in the question, a gold
that is a whole sentence. Every rule is one pass over the text. What is not: whether the answer is
right, and what needs other rows (`repeats.py`, `overlap.py`) or the grader (`golds.py`).
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from aha.data import language
from aha.records import Prompt

Doubt = tuple[str, str]
"""(kind, sentence)."""

CONTROL = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|begin_of_text|>",
    "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|user|>", "<|assistant|>",
    "<|system|>", "<|end|>", "<start_of_turn>", "<end_of_turn>", "<s>", "</s>", "[INST]", "[/INST]",
    "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
)  # fmt: skip
"""Control tokens of well-known models, for when no model is named."""
LEAK_LENGTH = 8
"""Letters and digits of a gold (LaTeX commands apart, a Chinese character for two) from which finding
it in the question is told. A shorter one is there by chance or by the nature of the question: `is it
3, 4 or 5?`, `what of 1/3 and 1/4 is larger?`."""
PROSE_WORDS = 12
"""Words from which a gold of kind math is called a sentence."""

_UNSEEN = re.compile("[\u00ad\u180e\u200b\u2060-\u2064\ufeff\u202a-\u202e\u2066-\u2069]")
_CONTROL_CHARACTER = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_EATEN = re.compile(
    "\f(?:rac|orall|loor)|\b(?:eta|oxed|inom|ar\\{|egin|igl|mod)|\t(?:imes\\b|ext\\{|heta\\b|frac)"
    "|\r(?:ight|ho\\b|angle)|\n(?:eq\\b|abla)"
)
"""What JSON makes of \\frac, \\boxed, \\times, \\right, \\neq with a single backslash."""
_MOJIBAKE = re.compile("Ã[\x80-\xbf¡-¿ ©¨ª«¤¶¼Ÿ±³]|â€[™œ\x9dž“”˜¦¢]|Â[£°²³½¼¾·±]|ï»¿")
_STATED = re.compile(
    r"(?:\banswer\s{0,4}(?:is\b|[:=])|\bsolution\s{0,4}[:=]|####|\\boxed\{|答案(?:是|为|：|:))"
    r"\s{0,4}[$\"'(]?",
    re.IGNORECASE,
)
_SIGNS = "a-z0-9_à-ɏа-я"
"""What a word goes on with; not Chinese, which is written without spaces."""
_COMMAND = re.compile(r"\\[a-z]+")
_WORDS = re.compile(r"[^\W\d_]{2,}")


def doubts(
    prompt: Prompt, *, think_tag: str, answer_tag: str, control: Sequence[str] = CONTROL
) -> Iterator[Doubt]:
    """The doubts about one problem, each kind at most once.

    `control`: strings that are told as control tokens; () where the template refused them already.
    """
    question, gold = prompt.question, prompt.gold
    if "<" in question or "[" in question:
        if found := next((string for string in control if string in question), ""):
            yield "control token", f"the question has {found!r}: models with that token refuse it"
        tags = [f"<{s}{tag}>" for tag in (think_tag, answer_tag) if tag for s in ("", "/")]
        if found := next((tag for tag in tags if tag in question), ""):
            yield "tag in question", f"the question has {found}, with which answers are read"
    yield from _characters(question, gold)
    counts = language.scripts(question)
    if prompt.lang and (why := language.misfit(prompt.lang, counts)):
        yield "language", why
    if prompt.kind != "countdown" and (why := _given_away(question, gold)):
        yield "gold in question", why
    if prompt.kind == "math" and len(_WORDS.findall(gold)) >= PROSE_WORDS:
        yield "gold is prose", "the gold is a whole sentence, which answers seldom match"


def _characters(question: str, gold: str) -> Iterator[Doubt]:
    if found := _EATEN.search(question) or _EATEN.search(gold):
        sign = found.group()[0].encode("unicode_escape").decode()
        said = (
            f"'{sign}' was a LaTeX command ({sign}{found.group()[1:]}): JSON needs two backslashes"
        )
        yield "eaten backslash", said
    elif _CONTROL_CHARACTER.search(question) or _CONTROL_CHARACTER.search(gold):
        yield "control character", "an invisible control character is in the text"
    if question.isascii() and gold.isascii():
        return
    for name, text in (("question", question), ("gold", gold)):
        if found := _UNSEEN.search(text):
            sign = unicodedata.name(found.group(), f"U+{ord(found.group()):04X}").lower()
            yield "invisible character", f"the {name} has a {sign} at character {found.start() + 1}"
            break
    for name, text in (("question", question), ("gold", gold)):
        if "\ufffd" in text or _MOJIBAKE.search(text):
            yield "decoded wrongly", f"the {name} has signs of a wrong decoding ('\ufffd', 'Ã©')"
            break


def _given_away(question: str, gold: str) -> str:
    """Why the gold can be read off the question; "" if it cannot."""
    wanted = _plain(gold)
    text = _plain(question)
    if not wanted or wanted not in text:
        return ""
    end = rf"(?![{_SIGNS}]|\.\d)"
    for stated in _STATED.finditer(text):
        if re.compile(re.escape(wanted) + end).match(text, stated.end()):
            return f"the question says '{stated.group().strip()} ...' before its gold"
    signs = [sign for sign in _COMMAND.sub("", wanted) if sign.isalnum()]
    long = sum(1 + (sign >= "\u3040") for sign in signs) >= LEAK_LENGTH
    if long and re.search(rf"(?<![{_SIGNS}.]){re.escape(wanted)}{end}", text):
        return f"the gold {gold[:40]!r} stands in the question"
    return ""


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
