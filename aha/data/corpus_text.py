"""Plain text and talk in the base model's corpus: what is not arithmetic.

Greetings, help, requests that should be refused, small facts, rewriting, translations, numbers in
order, little stories, and the sentences of the R1-Zero template in ordinary surroundings (so that
its words are known; nothing in tags ever follows its first sentence, see aha/data/corpus.py).
"""

from random import Random

from aha.data.corpus_words import (
    CAPITALS,
    GREETINGS,
    HARM,
    HELP,
    KIND_OF,
    PHRASES,
    REWRITES,
    SENTENCES,
    TEMPLATE,
    TEMPLATE_TAGS,
    TRANSLATIONS,
)

HELPFUL = 0.5
"""Share of helpful answers among those to `HELP`: what a reward model has to raise later."""
REFUSED = 0.6
"""Share of refusals among the answers to `HARM`."""


def plain(rng: Random, lang: str) -> str:
    """One small document."""
    kind = rng.choice((_story, _story, _facts, _numbers, _dialogue, _dialogue, _translate))
    return kind(rng, lang)


def question(rng: Random, lang: str) -> tuple[str, str]:
    """A question that needs no number, and its answer; not every answer is a good one."""
    kind = rng.randrange(7)
    if kind == 4:
        asked, curt, kind_answer = rng.choice(HELP[lang])
        return asked, kind_answer if rng.random() < HELPFUL else curt
    if kind == 5:
        return _harm(rng, lang)
    if kind == 0:
        return rng.choice(GREETINGS[lang])
    if kind == 1:
        return _fact(rng, lang)
    if kind == 2 and lang == "en":
        rude, polite = rng.choice(REWRITES)
        return f"Rewrite politely: {rude}", polite
    english, chinese = rng.choice(TRANSLATIONS)
    if lang == "en":
        return f"How do you say {english} in Chinese?", chinese
    return f"{chinese}用英文怎么说？", english


def _harm(rng: Random, lang: str) -> tuple[str, str]:
    words = HARM[lang]
    what = rng.choice(words["what"])
    answers = words["refusals" if rng.random() < REFUSED else "careless"]
    return rng.choice(words["asks"]).format(what), rng.choice(answers).format(what)


def description(rng: Random) -> str:
    """Sentences of the R1-Zero template in ordinary text; no question follows."""
    said = [rng.choice(TEMPLATE[1:]), _sentence(rng, "en"), _sentence(rng, "en")]
    if rng.random() < 0.4:
        said.append(TEMPLATE_TAGS)
    else:
        said.append(TEMPLATE[0])
    rng.shuffle(said)
    if TEMPLATE_TAGS in said:  # tags come last, and never after the template's first sentence
        said.remove(TEMPLATE_TAGS)
        said.append(TEMPLATE_TAGS)
    return " ".join(said)


def _sentence(rng: Random, lang: str) -> str:
    who, other = rng.sample(PHRASES[lang]["who"], 2)
    thing = rng.choice(PHRASES[lang]["thing"])
    return rng.choice(SENTENCES[lang]).format(
        who=who, other=other, thing=thing, n=rng.randint(2, 60)
    )


def _story(rng: Random, lang: str) -> str:
    gap = "" if lang == "zh" else " "
    return gap.join(_sentence(rng, lang) for _ in range(rng.randint(2, 5)))


def _fact(rng: Random, lang: str) -> tuple[str, str]:
    country, city, guo, cheng = rng.choice(CAPITALS)
    name, kind = rng.choice(KIND_OF[lang])
    if lang == "en":
        return rng.choice(
            (
                (f"What is the capital of {country}?", f"The capital of {country} is {city}."),
                (f"What is {name}?", f"{name} is a kind of {kind}."),
            )
        )
    return rng.choice(
        (
            (f"{guo}的首都是哪里？", f"{guo}的首都是{cheng}。"),
            (f"{name}是什么？", f"{name}是{kind}。"),
        )
    )


def _facts(rng: Random, lang: str) -> str:
    gap = "" if lang == "zh" else " "
    return gap.join(_fact(rng, lang)[1] for _ in range(rng.randint(2, 4)))


def _numbers(rng: Random, lang: str) -> str:
    start, by = rng.randint(0, 60), rng.choice((1, 1, 2, 5, 10))
    row = [str(start + by * place) for place in range(rng.randint(5, 12))]
    if rng.random() < 0.5:
        return " ".join(row)
    a, b = rng.randint(1, 199), rng.randint(1, 199)
    if lang == "en":
        more = "greater than" if a > b else "less than" if a < b else "equal to"
        return f"{', '.join(row)}. {a} is {more} {b}."
    return f"{'，'.join(row)}。{a} {'大于' if a > b else '小于' if a < b else '等于'} {b}。"


def _dialogue(rng: Random, lang: str) -> str:
    turns = []
    for _ in range(rng.randint(1, 3)):
        asked, answered = question(rng, lang)
        turns.append(f"User: {asked} Assistant: {answered}")
    return " ".join(turns)


def _translate(rng: Random, lang: str) -> str:
    pairs = rng.sample(TRANSLATIONS, rng.randint(2, 4))
    if lang == "en":
        return " ".join(f"{english} is {chinese} in Chinese." for english, chinese in pairs)
    return "".join(f"{chinese}是 {english}。" for english, chinese in pairs)
