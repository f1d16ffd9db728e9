"""Arithmetic in the base model's corpus: one-step drills, worked problems, countdown searches.

Reliability belongs to the *style* of an answer, never to a coin thrown at a step:

    direct   a number without work; written from a guess, so mostly wrong
    short    one line for each operation, every equation true; but a product of two long numbers is
             only estimated ("23 * 17 is about 400"), so the answer is then wrong
    long     such products taken apart into easy steps, mostly after "wait" or "let me check";
             results checked, a wrong guess taken back

So reinforcement learning can raise accuracy by choosing a style, and checking is worth its length
where a step is too hard to be done at once. Easy steps are drilled by themselves; a product of two
long numbers is not written with its result at once (countdown searches do so). Problems that the
tasks `arithmetic` and `countdown` hold out never appear here; single steps may, since everything is
made of them.

Not covered: fractions, decimals, division.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from aha.data import query
from aha.data.corpus_words import DRILLS, FINALS, PHRASES, STORIES
from aha.data.tasks import arithmetic, countdown

STYLES = {"direct": 0.5, "short": 0.32, "long": 0.18}
"""How often a worked problem is answered in each style."""
DIRECT_RIGHT = 0.12
"""Share of direct answers that happen to be right."""
BOXED = 0.2
"""Share of final answers in \\boxed{}."""
GIVE_UP = 0.2
"""Chance that a countdown search ends after a failed try (geometric length)."""
PROBLEMS = {
    "digits=1&factor=29&products=1": 0.5,
    "difficulty=3": 0.24,
    "difficulty=3&terms=2&factor=29": 0.1,
    "difficulty=2": 0.08,
    "difficulty=1": 0.03,
    "difficulty=4&negative=false": 0.05,
}
"""Settings of the task `arithmetic` that problems are drawn from, and how often."""
WORDED = 0.1
"""Share of problems told as a small story."""

Step = tuple[int, str, int, int]
"""a, sign, b, result."""

SIGNS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}
DIALS = {
    keys: query.settings(
        arithmetic.Settings, query.parse(f"arithmetic?{keys}").keys, where="corpus"
    ).dial()
    for keys in PROBLEMS
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its operations in the order in which they are worked."""

    text: str
    tree: arithmetic.Tree
    steps: tuple[Step, ...]
    question: str

    @property
    def answer(self) -> int:
        return self.steps[-1][3]


@dataclass(frozen=True, slots=True)
class Work:
    """An answer: what is thought, what is said, and the number."""

    thinking: str
    final: str
    answer: int


def step(a: int, sign: str, b: int) -> Step:
    return a, sign, b, SIGNS[sign](a, b)


def pick(rng: Random, weights: dict[str, float]) -> str:
    """A key, as often as its weight says."""
    return rng.choices(list(weights), list(weights.values()))[0]


def problem(rng: Random, lang: str) -> Problem:
    """A problem that is not held out, worded as the task words it (or as a story)."""
    while True:
        tree = arithmetic.expression(DIALS[pick(rng, PROBLEMS)], rng)
        text = arithmetic.text(tree)
        if not arithmetic.is_heldout(text):
            steps = tuple(steps_of(tree))
            return Problem(text, tree, steps, _question(text, steps, lang, rng))


def steps_of(tree: arithmetic.Tree, *, estimated: bool = False) -> list[Step]:
    """The operations of an expression, products before what needs them, left before right.

    `estimated`: hard steps have about their value, and later steps go on with it.
    """

    def go(tree: arithmetic.Tree) -> tuple[list[Step], int]:
        if isinstance(tree, int):
            return [], tree
        sign, left, right = tree
        (before, a), (between, b) = go(left), go(right)
        here = step(a, sign, b)
        if estimated and is_hard(here):
            here = (a, sign, b, about(here[3]))
        return [*before, *between, here], here[3]

    return go(tree)[0]


def easy_steps(text: str) -> list[Step]:
    """The steps of a written chain such as `23 * 17 + 45`, hard ones taken apart."""
    steps = steps_of(arithmetic.parse(text))
    return [part for s in steps for part in (parts(s) if is_hard(s) else [s])]


def is_hard(s: Step) -> bool:
    """A product that is not done at once: both sides above 10, and no multiples of 10."""
    a, sign, b, _ = s
    return sign == "*" and min(a, b) > 10 and a % 10 != 0 and b % 10 != 0


def about(value: int) -> int:
    """Rounded to the nearest 50, never 0."""
    return max(50, (value + 25) // 50 * 50)


def _question(text: str, steps: tuple[Step, ...], lang: str, rng: Random) -> str:
    kinds = "".join(sign for _, sign, _, _ in steps)
    if kinds in STORIES[lang] and rng.random() < WORDED:
        (a, _, b, _), (_, _, c, _) = steps
        if arithmetic.text(_left_to_right(steps)) == text:
            return rng.choice(STORIES[lang][kinds]).format(a=a, b=b, c=c, **names(rng, lang))
    if rng.random() < 0.15:
        return rng.choice(PHRASES[lang]["question"]).format(text)
    return arithmetic.wording(text, lang, rng)


def _left_to_right(steps: tuple[Step, ...]) -> arithmetic.Tree:
    tree: arithmetic.Tree = steps[0][0]
    for _, sign, b, _ in steps:
        tree = (sign, tree, b)
    return tree


def names(rng: Random, lang: str) -> dict[str, str]:
    return {
        "who": rng.choice(PHRASES[lang]["who"]),
        "thing": rng.choice(PHRASES[lang]["thing"]),
    }


def say(s: Step) -> str:
    """`27 + 35 = 62`."""
    return f"{s[0]} {s[1]} {s[2]} = {s[3]}"


def off(rng: Random, value: int) -> int:
    """A wrong guess near `value`, never below 0 if `value` is not."""
    far = max(4, abs(value) // 4)
    while True:
        guess = value + rng.choice((-10, 10, -1, 1, rng.randint(-far, far), rng.randint(-far, far)))
        if guess != value and (guess >= 0 or value < 0):
            return guess


# --- one-step drills ---------------------------------------------------------------------------


def drills(rng: Random, lang: str) -> str:
    """Several single steps in one layout."""
    kind = pick(rng, {"plain": 0.58, "worded": 0.15, "check": 0.09, "apart": 0.18})
    count = rng.randint(3, 9) if kind != "apart" else rng.randint(2, 4)
    gap = rng.choice(("\n", "\n", "; ", ", ", " ")) if kind == "plain" else rng.choice("\n ")
    one = {"plain": _plain, "worded": _worded, "check": _check, "apart": _apart}[kind]
    form = rng.randrange(1 << 16)
    draw = any_step if kind == "apart" else easy_step
    return gap.join(one(rng, draw(rng), lang, form) for _ in range(count))


def any_step(rng: Random) -> Step:
    """A step of a problem, hard ones twice as often."""
    first, second = (
        rng.choice(steps_of(arithmetic.expression(DIALS[pick(rng, PROBLEMS)], rng))) for _ in "12"
    )
    return first if is_hard(first) else second


def easy_step(rng: Random) -> Step:
    """A step as worked problems need it (of a hard one, a part), or a simple one."""
    kind = rng.random()
    if kind < 0.5:
        found = rng.choice(steps_of(arithmetic.expression(DIALS[pick(rng, PROBLEMS)], rng)))
        return rng.choice(parts(found)) if is_hard(found) else found
    if kind < 0.62:
        return step(rng.randint(2, 9), "*", rng.randint(2, 9))
    if kind < 0.74:
        return step(rng.randint(2, 9), "*", rng.randint(11, 29))
    if kind < 0.78:
        return step(rng.randint(1, 9) * 10, rng.choice("+*"), rng.randint(2, 9))
    if kind < 0.88:
        return step(rng.randint(11, 58) * 10, "+", rng.randint(22, 261))
    if kind < 0.92:
        return step(rng.randint(100, 850), rng.choice("+-"), rng.randint(1, 9))
    a, b = sorted((rng.randint(1, 99), rng.randint(1, 99)))
    return step(a, "+", b) if rng.random() < 0.5 else step(b, "-", a)


def _plain(rng: Random, s: Step, lang: str, form: int) -> str:
    return say(s)


def _worded(rng: Random, s: Step, lang: str, form: int) -> str:
    a, sign, b, result = s
    forms = DRILLS[lang]["worded"]
    word = PHRASES[lang]["signs"][" +-*".index(sign) - 1]
    return forms[form % len(forms)].format(a=a, sign=sign, b=b, word=word, result=result)


def _check(rng: Random, s: Step, lang: str, form: int) -> str:
    """Is this step right? Also by the opposite operation."""
    claimed = s[3] if rng.random() < 0.5 else off(rng, s[3])
    verdict = "right" if claimed == s[3] else "wrong"
    forms = DRILLS[lang][verdict]
    written = forms[form % len(forms)]
    return written.format(claim=f"{s[0]} {s[1]} {s[2]} = {claimed}", result=s[3], back=back(s))


def _apart(rng: Random, s: Step, lang: str, form: int) -> str:
    return apart(s)


def back(s: Step) -> str:
    """A step undone: `62 - 35 = 27` for `27 + 35 = 62`; a product is turned round."""
    a, sign, b, result = s
    if sign == "*":
        return say(step(b, "*", a))
    return say(step(result, "-" if sign == "+" else "+", b))


def apart(s: Step) -> str:
    """A step in easier ones: `27 + 35: 27 + 30 = 57, 57 + 5 = 62`."""
    easier = parts(s)
    if easier == [s]:
        return say(s)
    return f"{s[0]} {s[1]} {s[2]}: " + ", ".join(say(part) for part in easier)


def parts(s: Step) -> list[Step]:
    """The easier steps that a step consists of; itself if it is as easy as can be."""
    a, sign, b, _ = s
    if sign == "*":
        if b > a:
            a, b = b, a
        if a >= 10 and a % 10:
            tens, ones = step(a - a % 10, "*", b), step(a % 10, "*", b)
            return [tens, ones, step(tens[3], "+", ones[3])]
        if b > 2:
            once = step(a, "*", b - 1)
            return [once, step(once[3], "+", a)]
        return [step(a, "+", a)]
    if b >= 10 and b % 10:
        first = step(a, sign, b - b % 10)
        return [first, step(first[3], sign, b % 10)]
    return [s]


# --- worked problems ---------------------------------------------------------------------------


def work(rng: Random, given: Problem, lang: str, *, style: str = "", mixed: bool = False) -> Work:
    """An answer in a style (drawn from STYLES if ""); `mixed` draws a language per sentence."""
    style = style or pick(rng, STYLES)

    def words(kind: str) -> str:
        tongue = rng.choice(("en", "zh")) if mixed else lang
        return rng.choice(PHRASES[tongue][kind])

    answer = given.answer
    if style == "direct":
        if rng.random() >= DIRECT_RIGHT:
            answer = off(rng, answer)
        thinking = words("guess").format(answer) if rng.random() < 0.4 else ""
    elif style == "short":
        thinking, answer = _short(rng, given, words, lang)
    else:
        thinking = _long(rng, given, words, lang)
    tongue = rng.choice(("en", "zh")) if mixed else lang
    return Work(thinking, _final(rng, answer, tongue), answer)


def _final(rng: Random, answer: int, lang: str) -> str:
    number = f"\\boxed{{{answer}}}" if rng.random() < BOXED else str(answer)
    return rng.choice(FINALS[lang]).format(number)


def _short(rng: Random, given: Problem, words: Callable[[str], str], lang: str) -> tuple[str, int]:
    """One line for each step, and the number that comes out: right unless a step was estimated."""
    dot = "。" if lang == "zh" else "."
    steps = steps_of(given.tree, estimated=True)
    lines = [_estimate(s, words) if is_hard(s) else say(s) + dot for s in steps]
    if rng.random() < 0.3:
        lines[1:] = [words("then") + line for line in lines[1:]]
    if rng.random() < 0.25:
        lines[0] = words("begin") + lines[0]
    return joined(lines), steps[-1][3]


def _estimate(s: Step, words: Callable[[str], str]) -> str:
    """`23 * 17 is about 400.`"""
    return words("about").format(f"{s[0]} {s[1]} {s[2]}", about(s[3]))


def _long(rng: Random, given: Problem, words: Callable[[str], str], lang: str) -> str:
    """Hard steps taken apart, mostly after a doubt; easy ones checked or a first try taken back."""
    dot = "。" if lang == "zh" else "."
    said = [words("begin").strip()] if rng.random() < 0.25 else []
    guess = None
    if rng.random() < 0.2:
        guess = off(rng, given.answer) if rng.random() < 0.8 else given.answer
        said += [words("guess").format(guess), words("check")]
    for s in given.steps:
        doubt = rng.random()
        if is_hard(s):
            if doubt < 0.65:  # an estimate is not enough
                said += [_estimate(s, words), words("wait")]
            elif doubt < 0.8:
                said.append(words("check"))
            said.append(apart(s) + dot)
        elif doubt < 0.12:  # a quick try, taken back
            tried = f"{s[0]} {s[1]} {s[2]} = {off(rng, s[3])}"
            said += [words("try").format(tried), words("wait"), apart(s) + dot]
        else:
            said.append((apart(s) if doubt < 0.25 else say(s)) + dot)
            if rng.random() < 0.15:
                said.append(words("back").format(back(s)))
    if guess is not None:
        said.append(words("agree" if guess == given.answer else "differ").format(guess))
    return joined(said)


def joined(parts: list[str]) -> str:
    """Sentences in a row: a space between them, except after Chinese punctuation."""
    text = ""
    for part in parts:
        gap = "" if not text or text[-1] in "。：，？" else " "
        text += gap + part
    return text


# --- countdown ---------------------------------------------------------------------------------


def search(rng: Random, lang: str) -> tuple[str, str, str]:
    """Question, search and answer of a countdown problem that is not held out.

    Tries are random; after each failed one the writer gives up with probability GIVE_UP and names
    the last try, so a longer search is more often right.
    """
    while True:
        numbers = [rng.randint(1, 20) for _ in range(3)]
        order, signs = rng.sample(numbers, 3), [rng.choice("+-*") for _ in range(2)]
        target = _trial(order, signs)[-1][3]
        if 1 <= target <= 100 and not countdown.is_heldout(numbers, target):
            break
    question = countdown.wording(numbers, target, lang, rng)
    said = []
    while True:
        order, signs = rng.sample(numbers, 3), [rng.choice("+-*") for _ in range(2)]
        if rng.random() < 0.25:  # now and then the right idea, so that searches end
            order, signs = _solution(rng, numbers, target)
        steps = _trial(order, signs)
        if min(s[3] for s in steps) < 0:
            continue
        found = steps[-1][3] == target
        verdict = rng.choice(PHRASES[lang]["yes" if found else "no"])
        said.append(
            ", ".join(say(s) for s in steps) + f", {verdict}" + ("。" if lang == "zh" else ".")
        )
        if found or rng.random() < GIVE_UP:
            break
    expression = f"{order[0]} {signs[0]} {order[1]}"
    if signs[1] == "*" and signs[0] != "*":
        expression = f"({expression})"
    return question, joined(said), f"{expression} {signs[1]} {order[2]}"


def _trial(order: list[int], signs: list[str]) -> list[Step]:
    first = step(order[0], signs[0], order[1])
    return [first, step(first[3], signs[1], order[2])]


def _solution(rng: Random, numbers: list[int], target: int) -> tuple[list[int], list[str]]:
    while True:
        order, signs = rng.sample(numbers, 3), [rng.choice("+-*") for _ in range(2)]
        if _trial(order, signs)[-1][3] == target:
            return order, signs
