"""Answers that no judge is asked about, because there is nothing in them.

Judges give good marks to answers that are a colon, "Thought process:" or "Solution" and nothing
else (arXiv 2507.08794, "One Token to Fool LLM-as-a-Judge"): a policy that finds this stops
answering. Such answers are wrong by rule.

Not covered: a short answer that says something, and openers that are not on the list.
"""

import re
import unicodedata

from aha.data.thinking import split

_WORD = re.compile(r"[^\W_]+|[∞∅√]")
_OPENERS = """
    solution | the solution | a solution | solution process | solution steps | detailed solution
    answer | the answer | the answer is | my answer | my answer is | final answer
    the final answer | the final answer is | explanation | reasoning | analysis | proof
    thought | thoughts | thought process | thinking process | reasoning process | the reasoning
    step by step | step by step solution | step by step reasoning
    lets think | lets think step by step | let us think step by step | let me think
    let me think step by step | lets solve this | lets solve this step by step
    lets solve this problem | lets solve this problem step by step | lets solve the problem
    lets solve the problem step by step | let us solve this problem step by step
    lets begin | lets start | lets break it down | lets break this down step by step
    here is the solution | heres the solution | here is the answer | heres the answer
    here is my answer | here is my solution | to solve this problem | to solve this
    解 | 答 | 解答 | 答案 | 答案是 | 答案为 | 解析 | 分析 | 解题过程 | 解题思路 | 思考过程 | 思路 | 推理过程
    最终答案 | 最终答案是 | 让我们一步一步思考 | 让我们一步步思考 | 我们一步一步思考 | 一步一步思考
    让我们一步一步解决这个问题 | 让我们来解决这个问题
    かいせつ | 解説 | 解法 | respuesta | la respuesta es | solución | réponse | antwort | lösung
"""
OPENERS = frozenset(
    tuple(phrase.split()) for line in _OPENERS.split("\n") for phrase in line.split("|")
) - {()}
"""As words: lower case, without apostrophes."""
_LONGEST = max(map(len, OPENERS))


def summary(response: str, think_tag: str = "think") -> str | None:
    """What is judged of a response: the text after the last `</think>`; None if that is open."""
    parsed = split(response, think_tag, "")
    return parsed.rest.strip() if parsed.complete else None


def screened(answer: str | None, *, reference: str = "", answer_tag: str = "answer") -> str:
    """Why an answer is wrong without a judge, "" if it is not.

    think_open, empty, only_signs (punctuation), only_opener ("Solution:").

    An answer that is the reference, letter for letter, is never screened. Linear time.

    >>> screened("**Solution:**")
    'only_opener'
    """
    if answer is None:
        return "think_open"
    text = answer
    if answer_tag:
        text = text.replace(f"<{answer_tag}>", " ").replace(f"</{answer_tag}>", " ")
    text = text.strip()
    if not text:
        return "empty"
    if text == reference.strip():
        return ""
    text = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    words = _WORD.findall(text)
    if not words:
        return "only_signs"
    return "only_opener" if _all_openers(words) else ""


def _all_openers(words: list[str]) -> bool:
    """Can the words be cut into openers without rest?"""
    ends = [True] + [False] * len(words)  # ends[i]: the first i words can
    for start in range(len(words)):
        if not ends[start]:
            continue
        for length in range(1, min(_LONGEST, len(words) - start) + 1):
            if tuple(words[start : start + length]) in OPENERS:
                ends[start + length] = True
    return ends[-1]
