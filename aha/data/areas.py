"""Which area of the paper's prompt set a problem belongs to: what rewards and tables go by.

    math  code  logic  stem  helpful  harmless  general       DeepSeek-R1 v2, Table 4 and §3

A problem whose `domain` is one of these names says so itself; else its kind decides.
"""

from aha.records import Prompt

AREAS = ("math", "code", "logic", "stem", "helpful", "harmless", "general")
_BY_KIND = {
    "code": "code",
    "choice": "stem",
    "countdown": "logic",
    "knights": "logic",
    "code_io": "logic",
    "gym": "logic",
    "open": "general",
    "talk": "general",
}


def area(prompt: Prompt) -> str:
    """The area of a problem.

    >>> area(Prompt(id="1", question="?", gold="C", kind="choice"))
    'stem'
    """
    return prompt.domain if prompt.domain in AREAS else _BY_KIND.get(prompt.kind, "math")
