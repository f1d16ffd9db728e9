"""The math grader: is the extracted answer equal to the gold answer?

    cheap    the same string after normalisation; two plain numbers, compared exactly
    exact    forms (forms.py) compared part by part (compare.py)
    symbolic math-verify, for LaTeX that our own parser does not know, behind a screen

Holds not:       where the answer stands (answer.py), deadlines (workers.py).
Must stay true:  nothing of either text is evaluated as Python; work is bounded; a gold that cannot
                 be read is a failure of ours ("error"), never a reward.
"""

import re
from functools import lru_cache

from aha.records import Grade
from aha.rewards.answer import Extracted, lead_off, unwrap_box
from aha.rewards.compare import matches
from aha.rewards.equality import value
from aha.rewards.forms import Form, Scalar, Words
from aha.rewards.normalise import clean, key, ungroup
from aha.rewards.reading import read
from aha.rewards.tokens import MAX_BYTES, Restated, TooBig, Unreadable, screen
from aha.rewards.tree import symbols
from aha.rewards.units import is_known_chinese

_PLAIN = re.compile(
    r"\s*(?:\\?\$\s*)?([-+−]?)\s*(?:\\?\$\s*)?(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?\s*\$?\.?\s*"
)
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_CHOICE_GOLD = re.compile(r"\(?\s*([A-J])\s*[.)]?")
_CHOICE = re.compile(
    r"(?:(?:option|choice|answer)\s*)?(?:\(\s*([A-Ja-j])\s*\)|([A-J])\s*(?:[.):]|(?=\Z))|([a-j])[.)]?\Z)"
    r"\s*(.*)",
    re.IGNORECASE | re.DOTALL,
)
_OTHER_CHOICE = re.compile(
    r"\(\s*[A-J]\s*\)|(?<![A-Za-z\\])[B-J](?![A-Za-z])|\bA[.):]|\b(?:or|and|not)\b"
)
_SEVERAL = re.compile(r"\(?[A-H]\)?(?:(?:\s*,\s*|\s+|,?\s*and\s*)?\(?[A-H]\)?){1,7}")
_NUMBER = re.compile(r"(?<![\w.,])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|[.,]\d)")
_SENTENCE = re.compile(r"[A-Za-z0-9 ,.'$%-]{1,300}")
_CHINESE_NUMBER = re.compile(
    r"(?<![\dA-Za-z_.,:-])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\dA-Za-z_:]|[.,]\d)"
)
_CHINESE_SENTENCE = re.compile(r"[\w ,.%]{1,300}")
_CHINESE_HEDGES = re.compile(
    "[不非没无未否约或若如假错近超估猜除几倍半负余第百千万亿比和与加减乘点多少左]|大概|以上|以下|以内|上下|"
    "之间|可能|也许|大于|小于|分之|至"
)
_HEDGES = re.compile(
    r"n't\b|\b(?:not|never|no|or|either|between|about|approximately|approx|least|most|over|under|"
    r"nearly|almost|around|roughly|than|except|unless|wrong|incorrect|plus|minus|times|divided|"
    r"half|halves|twice|double|triple|dozen|hundred|thousand|million|billion|if|guess|maybe|perhaps|"
    r"sum|product|root|squared|cubed|third|thirds|quarter|quarters|tenths|mod|negative|unknown)\b",
    re.IGNORECASE,
)


def grade_math(gold: str, found: Extracted) -> Grade:
    """Verdict on an extracted answer: correct, wrong, unparsed; error if the gold is unreadable."""
    settled = settle(gold, found)
    if settled is not None:
        return settled
    answer = found.text or ""
    if answer.strip() == gold.strip() != "":
        return _verdict(True, answer)
    try:
        wanted = gold_text(gold)
    except TooBig as error:
        return _unreadable_gold(error.reason, answer)
    if not wanted:
        return _unreadable_gold("empty", answer)
    try:
        text = answer_text(answer)
        if key(text) == key(wanted):
            return _verdict(True, answer)
        choice = _choice_verdict(wanted, text)
        if choice is not None:
            return _verdict(choice, answer)
    except TooBig as error:
        return _unparsed(error.reason, answer)
    return _compare(wanted, text, answer, found)


def settle(gold: str, found: Extracted) -> Grade | None:
    """The verdict where it takes microseconds: no answer, too long, plain numbers. Else None."""
    answer = found.text
    if answer is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    if len(answer) > MAX_BYTES:
        return Grade(status="unparsed", score=0.0, reason="too_long", extracted=answer[:200])
    cheap = _plain_verdict(gold, answer)
    return None if cheap is None else _verdict(cheap, answer)


def _compare(gold_text: str, text: str, answer: str, found: Extracted) -> Grade:
    gold_form = _read_gold(gold_text)
    if isinstance(gold_form, TooBig):
        return _unreadable_gold(gold_form.reason, answer)
    try:
        form: Form | Unreadable = read(text)
    except (TooBig, Restated) as error:
        return _unparsed(error.reason, answer)
    except Unreadable as error:
        form = error
    except RecursionError:
        return _unparsed("too_deep", answer)
    if isinstance(gold_form, Unreadable) or isinstance(form, Unreadable):
        return _symbolic(gold_form, form, gold_text, text, answer)
    try:
        if matches(gold_form, form) or _loose(gold_form, gold_text, form, text, found):
            return _verdict(True, answer)
        return _verdict(False, answer)
    except (Unreadable, ArithmeticError, RecursionError) as error:
        if _gold_fails(gold_form):
            return _unreadable_gold(_reason(error), answer)
        return _unparsed(_reason(error), answer)


def _symbolic(
    gold_form: Form | Unreadable, form: Form | Unreadable, gold_text: str, text: str, answer: str
) -> Grade:
    from aha.rewards.symbolic import same

    unread = isinstance(gold_form, Unreadable)
    symbolic = isinstance(gold_form, Scalar) and bool(symbols(gold_form.node))
    verdict: bool | None = None
    if isinstance(form, Words):
        verdict = False
    elif unread or symbolic:  # for all other golds an unreadable answer is just that
        verdict = same(gold_text, text)
    if verdict:
        return _verdict(True, answer)
    if unread and verdict is None:
        return _unreadable_gold(_reason(gold_form), answer)
    if verdict is None and isinstance(form, Unreadable):
        return _unparsed(form.reason, answer)
    return _verdict(False, answer)


def _loose(gold_form: Form, gold_text: str, form: Form, text: str, found: Extracted) -> bool:
    """Forms accepted for plain numbers only: a decimal comma; one number in a plain sentence."""
    if not isinstance(gold_form, Scalar) or gold_form.node[0] != "num":
        return False
    if _DECIMAL_COMMA.fullmatch(text) and "." in gold_text:
        return matches(gold_form, read(text.replace(",", ".")))
    if found.place == "boxed" or not isinstance(form, Words):
        return False
    number = number_in_sentence(text)
    return number is not None and matches(gold_form, read(number))


def number_in_sentence(text: str) -> str | None:
    """The one number of a plain English or Chinese sentence without hedges, else None."""
    if not text.isascii():
        return _number_in_chinese(text)
    text = text.replace("\\$", "$")
    if not _SENTENCE.fullmatch(text):
        return None
    numbers = _NUMBER.findall(text)
    if len(numbers) != 1 or _HEDGES.search(text) or len(re.findall(r"\d+", text)) > 4:
        return None
    if re.sub(r"[\d,]+(?:\.\d+)?", "", text).count("$") > 1:
        return None
    return str(numbers[0]).replace(",", "")


def _number_in_chinese(text: str) -> str | None:
    """小明还剩72个苹果: 72, with the unit that the table knows."""
    text = text.replace("\\%", "%")
    numbers = list(_CHINESE_NUMBER.finditer(text))
    if not _CHINESE_SENTENCE.fullmatch(text) or len(numbers) != 1:
        return None
    before, after = text[: numbers[0].start()], text[numbers[0].end() :]
    after = after.lstrip()
    unit = next((after[:n] for n in (4, 3, 2, 1) if is_known_chinese(after[:n])), "")
    unit = "\\%" if after.startswith("%") else unit
    rest = after[len(unit.removeprefix("\\")) :]
    if _CHINESE_HEDGES.search(before + " " + rest) or any(c.isdigit() for c in before + rest):
        return None
    return numbers[0].group().replace(",", "") + unit


def _plain_verdict(gold: str, answer: str) -> bool | None:
    """Both plain numbers: settled by comparing digits. None if one is not."""
    if len(gold) > 200 or len(answer) > 200:
        return None
    first, second = _PLAIN.fullmatch(gold), _PLAIN.fullmatch(answer)
    if first is None or second is None:
        return None
    return _digits(first) == _digits(second)


def _digits(match: re.Match[str]) -> tuple[str, str, str]:
    sign, whole, decimals = match.groups()
    whole = whole.replace(",", "").lstrip("0")
    decimals = (decimals or "").rstrip("0")
    if not whole.isascii() or not decimals.isascii():
        whole = str(int(whole or "0")) if whole else ""
        decimals = "".join(str(int(char)) for char in decimals).rstrip("0")
        whole = whole if whole != "0" else ""
    negative = "-" if sign in ("-", "−") and (whole or decimals) else ""
    return negative, whole, decimals


def _choice_verdict(gold: str, answer: str) -> bool | None:
    """Both are choices (C, (C), C., "(C) 5"); None if the question is not multiple choice."""
    wanted = _CHOICE_GOLD.fullmatch(_spoken(gold))
    if wanted is None:
        return _several_choices(gold, answer)
    given = _CHOICE.fullmatch(_spoken(answer))
    if given is None:
        return None
    letter = (given.group(1) or given.group(2) or given.group(3)).upper()
    tail = given.group(4) or ""
    if tail and (_OTHER_CHOICE.search(tail) or tail[0] in "+-*/^_=<>,"):
        return None
    if tail and given.group(1) and "(" not in gold and re.match(r"[\w(\\]", tail) is None:
        return None
    return letter == wanted.group(1)


def _several_choices(gold: str, answer: str) -> bool | None:
    """ACD, "A, C, D", "A and C": several choices, in alphabetical order on both sides."""
    letters = []
    for text in (gold, answer):
        found = _SEVERAL.fullmatch(_spoken(text))
        chosen = re.sub(r"and|[^A-H]", "", found.group()) if found else ""
        if len(chosen) < 2 or list(chosen) != sorted(set(chosen)):
            return None
        letters.append(chosen)
    return True if letters[0] == letters[1] else None


def _spoken(text: str) -> str:
    return re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip(" .")


def answer_text(answer: str) -> str:
    """An answer, tidied.

    Raises:
        TooBig: over a cap.
    """
    screen(answer)
    return ungroup(clean(lead_off(answer)))


def gold_text(gold: str) -> str:
    """The gold answer itself, tidied: out of its box, or after `####` (GSM8K's whole solution).

    Raises:
        TooBig: over a cap.
    """
    if "####" in gold:
        gold = gold[gold.rfind("####") + 4 :]
    gold = unwrap_box(gold)
    screen(gold)
    return ungroup(clean(lead_off(gold)))


@lru_cache(maxsize=4096)
def _read_gold(text: str) -> Form | Unreadable:
    try:
        return read(text)
    except Unreadable as error:
        return error
    except RecursionError:
        return TooBig("too_deep")


def _gold_fails(form: Form) -> bool:
    """Whether the gold alone is what cannot be computed."""
    try:
        if isinstance(form, Scalar) and not symbols(form.node):
            value(form.node)
        return False
    except (Unreadable, ArithmeticError, RecursionError):
        return True


def _reason(error: object) -> str:
    return error.reason if isinstance(error, Unreadable) else "not_computable"


def _verdict(right: bool, answer: str) -> Grade:
    if right:
        return Grade(status="correct", score=1.0, reason="equal", extracted=answer)
    return Grade(status="wrong", score=0.0, reason="not_equal", extracted=answer)


def _unparsed(reason: str, answer: str) -> Grade:
    return Grade(status="unparsed", score=0.0, reason=reason, extracted=answer)


def _unreadable_gold(reason: str, answer: str) -> Grade:
    return Grade(status="error", score=0.0, reason=f"gold_unparsed: {reason}", extracted=answer)
