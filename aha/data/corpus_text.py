"""Plain text and talk in the base model's corpus: what is neither arithmetic nor logic.

Talk is the requests of the task `talk` with answers of every quality (aha/data/tasks/talk_answers.py);
text is facts, translations, numbers in order, little stories. The sentences of the R1-Zero template stand
in ordinary surroundings, so that its words are known; nothing in tags ever follows its first sentence, see
aha/data/corpus.py.
"""

from random import Random

from aha.data.corpus_words import PHRASES, SENTENCES, TEMPLATE, TEMPLATE_TAGS
from aha.data.tasks import talk as task
from aha.data.tasks import talk_answers
from aha.data.tasks import talk_words as words

THOUGHT = 0.06
"""Share of talk in which the answer is thought over first, in tags."""


def plain(rng: Random, lang: str) -> str:
    """One small document."""
    kind = rng.choice((_story, _story, _facts, _numbers, _translate))
    return kind(rng, lang)


def talk(rng: Random, lang: str) -> str:
    """One to three requests that are not held out, with answers; not every answer is a good one."""
    given = _case(rng, lang)
    thought = talk_answers.thought(rng, given)
    if thought and rng.random() < THOUGHT:
        answer = talk_answers.drawn(rng, given)[1]
        return f"User: {given.question} Assistant: <think> {thought} </think> <answer> {answer} </answer>"
    turns = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        turns.append(f"User: {given.question} Assistant: {talk_answers.drawn(rng, given)[1]}")
        given = _case(rng, lang)
    return " ".join(turns)


def _case(rng: Random, lang: str) -> task.Case:
    while True:
        given = task.case(rng, lang)
        if not task.is_heldout(given.question):
            return given


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


def _fact(rng: Random, lang: str) -> str:
    about = rng.choice(("capital", "kind"))
    if about == "kind":
        what, is_ = rng.choice(words.KINDS_OF[lang])
    else:
        what, is_ = rng.choice([row[:2] if lang == "en" else row[2:] for row in words.CAPITALS])
    form = words.FACT_ANSWERS[lang][about][0]
    return form.format(what=what, What=task.upper(what), is_=is_)


def _facts(rng: Random, lang: str) -> str:
    gap = "" if lang == "zh" else " "
    return gap.join(_fact(rng, lang) for _ in range(rng.randint(2, 4)))


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


def _translate(rng: Random, lang: str) -> str:
    pairs = rng.sample(words.WORDS, rng.randint(2, 4))
    if lang == "en":
        return " ".join(f"{english} is {chinese} in Chinese." for english, chinese in pairs)
    return "".join(f"{chinese}是 {english}。" for english, chinese in pairs)
