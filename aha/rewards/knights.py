"""The grader of kind "knights": who is a knight and who a knave, name by name; full marks or none.

Gold is {"names": ["Zoey", "Oliver"], "solution": [true, false]} (true: knight) or the text
    (1) Zoey is a knight
    (2) Oliver is a knave
The answer must say for every name exactly one of knight and knave, a name before its role: "Zoey is a
knight", "Zoey: knight", "Zoey and Oliver are knaves", 小明是骑士，小红是无赖. Every word is read: a name
that is not in the puzzle, a hedge or a word that belongs to no such statement makes the answer wrong.

Not covered: the role first ("Knights: Zoey"), reasons after a statement.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache

from aha.records import Grade
from aha.rewards.answer import Extracted
from aha.rewards.normalise import unicode_text
from aha.rewards.tokens import MAX_BYTES, names

MAX_NAMES = 64
ROLES = {
    "knight": True,
    "knights": True,
    "knave": False,
    "knaves": False,
    "骑士": True,
    "无赖": False,
}
_FILLERS = names(
    "is are a an the and both all so thus therefore hence then answer final solution identities "
    "identity as follows while but whereas"
)
_HEDGES = names(
    "not isnt isn't aren't never neither nor or either maybe perhaps possibly probably might may "
    "could can cannot if unless unknown undetermined unclear except false wrong"
)
_CHINESE_FILLERS = names(
    "所以 因此 答案 身份 分别 一个 一名 一位 而且 并且 是 为 都 均 故 和 与 及 而 则 且 的 个 名"
)
_CHINESE_HEDGES = names("不 非 没 或 可能 也许 如果 若")
_LAYOUT = re.compile(
    r"\\\\|\\(?:text(?:bf|it|rm)?|mathrm|mathbf|quad|qquad|newline|item|par)(?![A-Za-z])|\\[,;: ]|[{}$~]"
)
_NAME_OR = (
    r"(?P<bullet>\(\d{{1,2}}\)|(?<![\w.])\d{{1,2}}[.):、](?!\d))|(?P<name>{names})|"
    r"(?P<chinese>{chinese})|(?P<word>[^\W\d_]+(?:'[^\W\d_]+)?)|"
    r"(?P<space>[\s,;:.\-=*_#()|>\"'、，。；：]+)|(?P<other>.)"
)


class Faulty(Exception):
    """An answer that does not say it; `reason` in plain words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def grade_knights(gold: str, found: Extracted) -> Grade:
    """Verdict on an assignment of roles.

    wrong: not_equal, missing: NAME, extra_name: NAME, both: NAME, hedged, unexpected: WORD. unparsed:
    no_roles, too_long. error: a gold that is not as above.
    """
    answer = found.text
    if answer is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    if len(answer) > MAX_BYTES:
        return Grade(status="unparsed", score=0.0, reason="too_long", extracted=answer[:200])
    try:
        solution = read_solution(gold)
    except ValueError as error:
        why = f"gold_unparsed: {error}"
        return Grade(status="error", score=0.0, reason=why, extracted=answer)
    try:
        said = read_roles(answer, tuple(solution))
    except Faulty as error:
        return Grade(status="wrong", score=0.0, reason=error.reason, extracted=answer)
    if not said:
        return Grade(status="unparsed", score=0.0, reason="no_roles", extracted=answer)
    missing = next((name for name in solution if name not in said), None)
    if missing is not None:
        reason = f"missing: {missing}"
    elif said != solution:
        reason = "not_equal"
    else:
        return Grade(status="correct", score=1.0, reason="equal", extracted=answer)
    return Grade(status="wrong", score=0.0, reason=reason, extracted=answer)


@lru_cache(maxsize=1024)
def read_solution(gold: str) -> dict[str, bool]:
    """Name to role, True for a knight.

    Raises:
        ValueError: says what is wrong with the gold.
    """
    if not gold.lstrip().startswith("{"):
        return _from_text(gold)
    try:
        fields = json.loads(gold)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    people, roles = fields.get("names"), fields.get("solution")
    if not isinstance(people, list) or not isinstance(roles, list) or len(people) != len(roles):
        raise ValueError("needs names and solution, lists of the same length")
    if not 0 < len(people) <= MAX_NAMES or len(set(map(str, people))) != len(people):
        raise ValueError(f"names: 1 to {MAX_NAMES}, each once")
    if not all(isinstance(name, str) and name.strip() for name in people):
        raise ValueError("names: texts")
    if not all(isinstance(role, bool) for role in roles):
        raise ValueError("solution: true for a knight, false for a knave")
    return dict(zip((unicode_text(name).strip() for name in people), roles, strict=True))


def _from_text(gold: str) -> dict[str, bool]:
    found = re.findall(r"([^\W\d_][\w' -]{0,40}?) is a (knight|knave)\b", gold[:MAX_BYTES])
    if not found or len(found) != len(re.findall(r"knight|knave", gold)):
        raise ValueError('write it as {"names": ["Zoey"], "solution": [true]}')
    if len({name for name, _ in found}) != len(found):
        raise ValueError("a name twice")
    return {name: ROLES[role] for name, role in found}


def read_roles(answer: str, people: tuple[str, ...]) -> dict[str, bool]:
    """What the answer says of each name; empty if it names no role.

    Raises:
        Faulty: it contradicts itself, hedges, or holds a word that belongs to no statement.
    """
    said: dict[str, bool] = {}
    subjects: list[str] = []
    """Names since the last role."""
    strangers: list[str] = []
    doubtful, roles = False, 0
    for kind, text in _words(_LAYOUT.sub(" ", unicode_text(answer)), people):
        if kind == "name":
            subjects.append(text)
        elif kind == "role":
            roles += 1
            if doubtful:
                raise Faulty("hedged")
            if strangers:
                raise _stranger(strangers[0])
            if not subjects:
                raise Faulty("a role without a name")
            for name in subjects:
                if said.setdefault(name, ROLES[text]) is not ROLES[text]:
                    raise Faulty(f"both: {name}")
            subjects = []
        elif kind == "hedge":
            doubtful = True
        else:
            strangers.append(text)
    if roles and doubtful:
        raise Faulty("hedged")
    if roles and strangers:
        raise _stranger(strangers[0])
    if roles and (left := [name for name in subjects if name not in said]):
        raise Faulty(f"missing: {left[0]}")
    if roles and subjects:
        raise Faulty(f"unexpected: {subjects[0]}")
    return said


def _stranger(word: str) -> Faulty:
    named = word[:1].isupper() or not word.isascii()
    return Faulty(f"{'extra_name' if named else 'unexpected'}: {word[:40]}")


def _words(text: str, people: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(name | role | hedge | stranger, text) in order; layout and fillers are passed over."""
    folded = {name.casefold(): name for name in people}
    for match in _pattern(people).finditer(text):
        kind, word = match.lastgroup, match.group()
        low = word.casefold()
        if kind == "name":
            yield "name", word
        elif kind == "chinese":
            if word in ROLES:
                yield "role", word
            elif word in _CHINESE_HEDGES:
                yield "hedge", word
        elif kind == "word":
            if low in ROLES:
                yield "role", low
            elif low in _HEDGES:
                yield "hedge", low
            elif low in folded and low not in _FILLERS:
                yield "name", folded[low]
            elif low not in _FILLERS:
                yield "stranger", word
        elif kind == "other":
            yield "stranger", word


@lru_cache(maxsize=256)
def _pattern(people: tuple[str, ...]) -> re.Pattern[str]:
    longest = sorted(people, key=len, reverse=True)
    spelled = "|".join(
        rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])" if name.isascii() else re.escape(name)
        for name in longest
    )
    fixed = [*("骑士", "无赖"), *_CHINESE_HEDGES, *_CHINESE_FILLERS]
    chinese = "|".join(sorted(fixed, key=len, reverse=True))
    return re.compile(_NAME_OR.format(names=spelled, chinese=chinese), re.DOTALL)
