"""Answers to the requests of the task `talk`: good ones, and worse ones of several kinds.

    good       holds everything that the truth asks for; refuses what is to be refused
    curt       a part of it
    wrong      a good answer to another request
    padded     a good answer whose sentences come back: longer, not better
    refusing   a refusal where none is due
    careless   help with what should have been refused

What they are for: the base model's corpus, where reliability is left to be raised, and preference pairs
and safety labels whose truth is known. The grader's verdict on each is in the tests.
"""

from random import Random

from aha.data.tasks import talk_words as words
from aha.data.tasks.talk import Case, case, upper

QUALITIES = {"good": 0.5, "curt": 0.25, "wrong": 0.1, "padded": 0.08, "refusing": 0.07}
"""How often harmless requests are answered so in the corpus."""
HARM_QUALITIES = {"good": 0.4, "careless": 0.5, "wrong": 0.1}
KIN = (
    ("howto", "advice"),
    ("greeting", "fact", "rewrite", "translate", "instruction"),
    ("harm", "lookalike"),
)
"""A wrong answer belongs to a request of the same row."""


def drawn(rng: Random, given: Case) -> tuple[str, str]:
    """(quality, answer), as often as the corpus has it."""
    weights = HARM_QUALITIES if given.refuse else QUALITIES
    quality = rng.choices(list(weights), list(weights.values()))[0]
    return quality, written(rng, given, quality)


def written(rng: Random, given: Case, quality: str) -> str:
    """An answer of a quality."""
    if quality == "good":
        return good(rng, given)
    if quality == "curt":
        return _curt(rng, given)
    if quality == "wrong":
        return _wrong(rng, given)
    if quality == "padded":
        return _padded(rng, given)
    if quality == "refusing":
        return _refusal(rng, given)
    return rng.choice(words.CARELESS[given.lang]).format(do=given.slots["do"])


def worse(rng: Random, given: Case, *, padded: float) -> tuple[str, str]:
    """(quality, answer): one that is not good; padded ones are longer than a good answer."""
    if given.refuse:
        quality = "careless" if rng.random() < 0.85 else "wrong"
    elif rng.random() < padded:
        quality = "padded"
    else:
        quality = rng.choices(("curt", "wrong", "refusing"), (0.5, 0.25, 0.25))[0]
    return quality, written(rng, given, quality)


def thought(rng: Random, given: Case) -> str:
    """What is thought before the answer; "" for requests that need none."""
    there = words.THOUGHTS.get(given.sort)
    return rng.choice(there[given.lang]).format(do=given.slots.get("do", "")) if there else ""


def good(rng: Random, given: Case) -> str:
    lang, slots = given.lang, given.slots
    if given.refuse:
        return rng.choice(words.REFUSALS[lang]).format(do=slots["do"])
    if given.exact:
        return given.exact
    if given.sort in ("howto", "lookalike"):
        return _steps(rng, given, [what for what, _ in slots["steps"]])
    if given.sort == "advice":
        return _kind_words(rng, given)
    if given.sort == "greeting":
        return str(slots["answer"])
    if given.sort == "fact":
        form = rng.choice(words.FACT_ANSWERS[lang][slots["about"]])
        return form.format(what=slots["what"], What=upper(slots["what"]), is_=slots["is_"])
    forms = words.POLITE[lang] if given.sort == "rewrite" else words.TRANSLATE_ANSWERS[lang]
    return rng.choice(forms).format(**slots)


def _steps(rng: Random, given: Case, steps: list[str]) -> str:
    """The steps in their order."""
    if given.lang == "zh":
        text = "，".join(steps) + "。"
        return text + rng.choice(words.ENDINGS["zh"]) if rng.random() < 0.3 else text
    if rng.random() < 0.6:
        first, *others = steps
        said = [f"First {first}.", *(f"Then {other}." for other in others)]
    else:
        said = [f"{upper(step)}." for step in steps]
    if rng.random() < 0.3:
        said.append(rng.choice(words.ENDINGS["en"]))
    return " ".join(said)


def _kind_words(rng: Random, given: Case) -> str:
    topic, do = given.slots["topic"], given.slots["do"]
    if given.lang == "zh":
        return rng.choice(
            (f"听到{topic}的事我也不高兴。你可以{do}。", f"{topic}的事很难。你可以{do}。")
        )
    said = (
        f"I am sorry about the {topic}. You could {do}.",
        f"That is hard. With the {topic} you should {do}.",
        f"I am sorry to hear that about the {topic}. {upper(do)}.",
    )
    return rng.choice(said)


def _curt(rng: Random, given: Case) -> str:
    """One of several points, or next to nothing."""
    lang, slots = given.lang, given.slots
    if given.sort in ("howto", "lookalike"):
        what = rng.choice(slots["steps"])[0]
        return f"{what}。" if lang == "zh" else f"{upper(what)}."
    if given.sort == "advice" and rng.random() < 0.6:
        return f"{slots['do']}。" if lang == "zh" else f"{upper(slots['do'])}."
    if given.sort == "greeting":
        return "你好。" if lang == "zh" else "Hello."
    if given.sort == "rewrite":
        return f"{slots['what']}。" if lang == "zh" else f"{upper(slots['what'])}."
    return rng.choice(("好。", "不知道。") if lang == "zh" else ("OK.", "I do not know.", "Maybe."))


def _wrong(rng: Random, given: Case) -> str:
    """A good answer to another request; of the same sort where that has more than one answer."""
    kin = next(sorts for sorts in KIN if given.sort in sorts)
    for _ in range(20):
        other = case(rng, given.lang, kin)
        text = good(rng, other)
        same = other.sort == given.sort or given.refuse
        if same and not other.refuse and not _satisfies(text, given):
            return text
    return "好。" if given.lang == "zh" else "OK."


def _satisfies(text: str, given: Case) -> bool:
    said = text.casefold()
    if given.exact:
        return said == given.exact.casefold()
    each = ([one] if isinstance(one, str) else one for one in given.must)
    return bool(given.must) and all(any(word.casefold() in said for word in some) for some in each)


def _padded(rng: Random, given: Case) -> str:
    """A good answer whose sentences come back two to four times."""
    text = good(rng, given)
    gap = "" if given.lang == "zh" else " "
    return gap.join([text] * rng.randint(3, 5))


def _refusal(rng: Random, given: Case) -> str:
    do = given.slots.get("do", "")
    forms = [form for form in words.REFUSALS[given.lang] if do or "{do}" not in form]
    return rng.choice(forms).format(do=do)
