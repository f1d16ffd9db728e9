"""The countdown grader: reach a target from given numbers, each used exactly once.

The gold is `{"numbers": [3, 7, 8], "target": 45}`; the answer an expression over + - * / and
brackets (also × ÷ · − and LaTeX \\times \\cdot \\div \\frac), with an optional `= 45` at its end.
Values are exact fractions. Refused: powers, `//`, factorials, concatenation (two numbers side by
side), decimals, a sign in front of a number, numbers not given, unused or used twice.

Own parser, no eval; depth is bounded.
"""

import json
import re
from collections import Counter
from fractions import Fraction

from aha.records import Grade
from aha.rewards.answer import Extracted
from aha.rewards.normalise import latex_text, unicode_text

MAX_CHARS = 1000
MAX_DEPTH = 50
_TOKEN = re.compile(r"\s*(?:(\d+)|(\\times|\\cdot|\\div|\\frac|[-+*/(){}\[\]]))")
_MULTIPLY = {"*", "\\times", "\\cdot"}
_DIVIDE = {"/", "\\div"}
_CLOSING = {"(": ")", "{": "}", "[": "]"}


class _Refused(Exception):
    pass


def grade_countdown(gold: str, found: Extracted) -> Grade:
    """Verdict on an expression.

    wrong: bad_expression, wrong_numbers, wrong_value, division_by_zero, wrong_tail. error: a gold
    that is not as above.
    """
    answer = found.text
    if answer is None:
        return Grade(status="unparsed", score=0.0, reason=found.reason)
    if len(answer) > MAX_CHARS:
        return Grade(status="unparsed", score=0.0, reason="too_long", extracted=answer[:200])
    task = _task(gold)
    if task is None:
        how = 'gold_unparsed: write it as {"numbers": [3, 7], "target": 10}'
        return Grade(status="error", score=0.0, reason=how, extracted=answer)
    reason = _judge(answer, *task)
    if reason is None:
        return Grade(status="correct", score=1.0, reason="equal", extracted=answer)
    return Grade(status="wrong", score=0.0, reason=reason, extracted=answer)


def _task(gold: str) -> tuple[list[int], int] | None:
    try:
        task = json.loads(gold)
        numbers, target = task["numbers"], task["target"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(numbers, list) or not numbers or not isinstance(target, int):
        return None
    if any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in numbers):
        return None
    return numbers, target


def _judge(answer: str, numbers: list[int], target: int) -> str | None:
    """None if the expression is right, else why not."""
    text = latex_text(unicode_text(answer)).strip(" .`*")
    expression, *tails = text.split("=")
    if len(tails) > 1:
        return "wrong_tail"
    try:
        parser = _Parser(expression)
        value = parser.whole()
        if Counter(parser.used) != Counter(numbers):
            return "wrong_numbers"
        if tails and not re.fullmatch(rf"\s*{target}(?:\.0*)?\s*", tails[0]):
            return "wrong_tail"
        return None if value == target else "wrong_value"
    except ZeroDivisionError:
        return "division_by_zero"
    except _Refused:
        return "bad_expression"


class _Parser:
    def __init__(self, text: str):
        self.tokens: list[str] = []
        self.used: list[int] = []
        self.at = 0
        self.depth = 0
        end = 0
        text = text.rstrip()
        while end < len(text):
            match = _TOKEN.match(text, end)
            if match is None:
                raise _Refused
            self.tokens.append(match.group(1) or match.group(2))
            end = match.end()

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def whole(self) -> Fraction:
        value = self.sum()
        if self.peek():
            raise _Refused
        return value

    def sum(self) -> Fraction:
        value = self.product()
        while self.peek() in ("+", "-"):
            if self.next() == "+":
                value += self.product()
            else:
                value -= self.product()
        return value

    def product(self) -> Fraction:
        value = self.factor()
        while (sign := self.peek()) in _MULTIPLY or sign in _DIVIDE:
            self.at += 1
            other = self.factor()
            value = value * other if sign in _MULTIPLY else value / other
        return value

    def factor(self) -> Fraction:
        token = self.next()
        if token.isdigit():
            if len(token) > 12 or (len(token) > 1 and token[0] == "0"):
                raise _Refused
            self.used.append(int(token))
            return Fraction(int(token))
        if token == "\\frac":
            return self.group("{") / self.group("{")
        if token in _CLOSING:
            self.at -= 1
            return self.group(token)
        raise _Refused

    def group(self, opening: str) -> Fraction:
        self.depth += 1
        if self.next() != opening or self.depth > MAX_DEPTH:
            raise _Refused
        value = self.sum()
        if self.next() != _CLOSING[opening]:
            raise _Refused
        self.depth -= 1
        return value
