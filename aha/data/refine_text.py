"""Thinking as text: what a sample's thinking says, cleaned, in sentences; and which of them state a result.

    sentences(thinking)   without template debris, repeated lines and loops, blanks made regular
    joined(sentences)     the text again, long paragraphs split between sentences
    steps(sentences)      the sentences that state a result and were not taken back

Works on marks and a few words of English and Chinese; understands nothing. One pass, linear.
Must stay true:  no sentence is changed but for its blanks, none is added.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aha.data.selecting import form
from aha.rewards.repetition import units

PARAGRAPH = 120
"""Words, signs and Chinese characters of a paragraph from which on it is split."""
CYCLE = 8
"""Sentences of the longest loop that is taken out."""
AGAIN = 10
"""Words, signs and Chinese characters of a sentence that is taken out wherever it comes again."""
STEP = 60
"""Words, signs and Chinese characters of a step in a summary, at most."""
NEAR = 8
"""Characters around an equation in which an operator is looked for."""

# -- the thinking -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sentence:
    """A piece of the thinking and what stands in front of it: "", " ", a line break or two."""

    gap: str
    text: str


def sentences(thinking: str, tags: tuple[str, str] = ("think", "answer")) -> Iterator[Sentence]:
    """The thinking without debris, repetitions and loops, in sentences. Code blocks stay whole."""
    out: list[Sentence] = []
    keys: list[str] = []
    seen: set[str] = set()
    for one in _pieces(_debris(tags).sub(" ", thinking)):
        key = " ".join(one.text.casefold().split())
        if key in seen and len(units(key)) >= AGAIN:
            continue
        seen.add(key)
        out.append(one)
        keys.append(key)
        for cycle in range(1, CYCLE + 1):
            if len(keys) >= 2 * cycle and keys[-cycle:] == keys[-2 * cycle : -cycle]:
                del out[-cycle:], keys[-cycle:]
                break
    yield from out


def thinking_of(text: str, tags: tuple[str, str]) -> str | None:
    """The thinking of a sample; of a text without any tag, all of it but the sentence of the answer."""
    parts = form(text, *tags)
    if parts is not None:
        return parts[0]
    if any(f"<{slash}{tag}>" in text for tag in tags if tag for slash in ("", "/")):
        return None
    lines = text.strip().rsplit("\n", 1)
    last = _split(lines[-1])
    if len(lines) == 1 and len(last) == 1:
        return None  # an answer alone
    if _CONCLUSION.search(last[-1][1]):
        lines[-1] = "".join(gap + piece for gap, piece in last[:-1])
    return "\n".join(lines).strip() or None


def _pieces(text: str) -> Iterator[Sentence]:
    """Sentences with their gaps; runs of blanks are one, of blank lines one, code blocks one piece."""
    gap = ""
    block: list[str] = []
    for line in text.replace("\r\n", "\n").replace("\u2028", "\n").split("\n"):
        fence = line.lstrip().startswith(("```", "~~~"))
        if block or fence:
            block.append(line.rstrip())
            if fence and len(block) > 1:
                yield Sentence(gap, "\n".join(block))
                block, gap = [], "\n"
            continue
        plain = " ".join(line.split())
        if not plain:
            gap = "\n\n" if gap else ""
            continue
        for space, piece in _split(plain):
            yield Sentence(space or gap, piece)
            gap = ""
        gap = "\n"
    if block:
        yield Sentence(gap, "\n".join(block))


def _split(line: str) -> list[tuple[str, str]]:
    """(space before, sentence) of a line. No break within formulas or behind the number of an item."""
    dollars = line.count("$") % 2 == 0  # else one is money
    found: list[tuple[str, str]] = []
    space, start, depth, marks = "", 0, 0, 0
    at = 0
    for end in _END.finditer(line):
        piece = line[at : end.start()]
        depth += len(_OPENING.findall(piece)) - len(_CLOSING.findall(piece))
        marks += piece.count("$")
        at = end.start()
        if depth > 0 or (dollars and marks % 2) or _ITEM.fullmatch(line, start, end.start()):
            continue
        if end.end() == len(line):
            break
        found.append((space, line[start : end.start()]))
        space, start = end.group(), end.end()
        at = start
    found.append((space, line[start:]))
    return found


def joined(parts: Sequence[Sentence]) -> str:
    """The text again, with an empty line between sentences where a paragraph grows too long."""
    text: list[str] = []
    size = 0
    for one in parts:
        gap, more = one.gap, len(units(one.text))
        if "\n" in gap:
            size = 0
        elif size and size + more > PARAGRAPH:
            gap, size = "\n\n", 0
        text += [gap if text else "", one.text]
        size += more
    return "".join(text)


def _debris(tags: tuple[str, str]) -> re.Pattern[str]:
    """What templates and tokenizers leave in a text: tags by name, control tokens, a speaker's name."""
    names = "|".join(re.escape(tag) for tag in (*tags, *_TAG_NAMES) if tag)
    return re.compile(
        rf"\breasoning process here\b|\banswer here\b"  # the words of the R1-Zero template
        rf"|</?(?:{names})>|<[|｜][^<>|｜\n]{{1,40}}[|｜]>|^[ \t]*(?:Assistant|助手)\s?[:：]",
        re.IGNORECASE | re.MULTILINE,
    )


# -- the summary ------------------------------------------------------------------------------------------


def steps(parts: Sequence[Sentence]) -> list[str]:
    """Sentences that state a result: no doubt, no check, no guess, not taken back, not false."""
    found = []
    for one, after in zip(parts, [*parts[1:], Sentence("", "")], strict=True):
        text = one.text
        if (
            ("=" in text or _SO.match(text))
            and any(sign.isdigit() for sign in text)
            and len(units(text)) <= STEP
            and "\n" not in text
            and not text.endswith(("?", "？", ":", "："))
            and not _DOUBT.search(text)
            and not _CONCLUSION.search(text)
            and not _RETRACTED.match(after.text)
            and not is_false(text)
        ):
            found.append(text)
    return list(dict.fromkeys(found))


def is_false(sentence: str) -> bool:
    """Whether a sentence holds plain arithmetic with whole numbers whose result is wrong.

    >>> is_false("So 20 * 13 = 250."), is_false("2 + 3 * 4 = 14"), is_false("x + 1 = 3")
    (True, False, False)
    """
    plain = sentence.replace("\\times", "*").replace("\\cdot", "*").replace("\\div", "/")
    for match in _EQUATION.finditer(plain):
        before = plain[max(0, match.start() - NEAR) : match.start()].rstrip()[-1:]
        after = plain[match.end() : match.end() + NEAR].lstrip()[:1]
        if match[2] is None or before in _OPERATORS or after in _OPERATORS - {"="}:
            continue
        value = _value(_TERM.findall(match[1]))
        said = match[2].replace("−", "-")
        places = len(said.partition(".")[2])
        if value is not None and abs(value - Fraction(said)) > (
            Fraction(1, 10**places) if places else 0
        ):
            return True
    return False


def _value(terms: Sequence[str]) -> Fraction | None:
    """number sign number …, products first; None for a division by zero."""
    total, product = Fraction(0), Fraction(int(terms[0]))
    for sign, number in zip(terms[1::2], terms[2::2], strict=True):
        value = Fraction(int(number))
        if sign in "*×":
            product *= value
        elif sign in "/÷":
            if not value:
                return None
            product /= value
        else:
            total, product = total + product, value if sign == "+" else -value
    return total + product


_TAG_NAMES = (
    "think", "thinking", "answer", "reasoning", "reflection", "solution", "summary", "response",
    "output", "user", "assistant", "system", "bos", "eos", "pad", "unk",
)  # fmt: skip
TURN = re.compile(r"^[ \t]*(?:User|Human|用户)\s?[:：]", re.IGNORECASE | re.MULTILINE)
_END = re.compile(r"(?<=[。！？；])\s*|(?<=[.!?])\s+(?=[^\sa-z])")
_ITEM = re.compile(r"\s*(?:\d{1,3}|[A-Za-z]|e\.g|i\.e|vs|cf|Mr|Mrs|Dr)\.")
_OPENING = re.compile(r"\\[(\[]|\\begin\b|(?<!\\)\{")
_CLOSING = re.compile(r"\\[)\]]|\\end\b|(?<!\\)\}")
_SO = re.compile(
    r"(?:so|thus|hence|therefore|this gives|we get)\b|所以|因此|故|得到|得", re.IGNORECASE
)
_DOUBT = re.compile(
    r"\b(?:wait|mistakes?|however|retry|errors?|verify|verifying|wrong|check|checking|maybe|perhaps|"
    r"guess|about|near|around|roughly|approximately|estimate|hmm|not|no|alternatively|let|suppose|assume|"
    r"try|probably|seems|looks|if|right|correct|indeed|actually)\b"
    r"|等等|等一下|不对|检查|验证|验算|重新|错|再想|再算一次|可能|也许|大约|大概|差不多|猜|看起来|是不是|不是|假设|"
    r"如果|试|没错|对了|就算",
    re.IGNORECASE,
)
_RETRACTED = re.compile(
    r"(?:wait|no\b|but wait|hmm|actually|that is (?:wrong|not)|that's (?:wrong|not)|so it is not)"
    r"|等等|等一下|不对|不是|错|所以不是",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(
    r"\\boxed|\banswer\b|\bthe (?:final )?result is\b|^(?:so )?it is \S+$|答案|结果是|^等于 ?\S+$",
    re.IGNORECASE,
)
_OPERATORS = {*"+-−*/×÷^·%=(\\"}
_EQUATION = re.compile(
    r"(?<![\w.,])(\d{1,15}+(?:\s{0,3}+[-+−*×/÷]\s{0,3}+\d{1,15}+)++)(?![\w^]|\.\d)"
    r"(?:\s{0,3}+=\s{0,3}+([-−]?\d{1,15}+(?:\.\d{1,9}+)?)(?![\w^%]|[.,]\d))?"
)
_TERM = re.compile(r"\d+|[-+−*×/÷]")
