"""Rules about single problems, gold keys, scripts and the gold self-check, on cases by hand."""

import pytest

from aha.data import language
from aha.data.doubts import doubts
from aha.data.golds import GoldCheck
from aha.data.repeats import Repeats, gold_key
from aha.records import Prompt


def prompt(question="What is 1 + 1?", gold="2", **more):
    return Prompt(id="x", question=question, gold=gold, **more)


def kinds(question, gold="2", **more):
    made = prompt(question, gold, **more)
    return [kind for kind, _ in doubts(made, think_tag="think", answer_tag="answer")]


@pytest.mark.parametrize(
    "question, gold, expected",
    [
        ("What is 1 + 1?", "2", []),
        ("Is it 3, 4 or 5?", "4", []),
        ("Which is larger, \\frac{1}{3} or \\frac{1}{4}?", "\\frac{1}{3}", []),
        ("Add 3 and 4. Answer: 7", "7", ["gold in question"]),
        ("Add 3 and 4. #### 7", "7", ["gold in question"]),
        ("Add 3 and 4. Answer: 75", "7", []),
        ("答案是7。三加四？", "7", ["gold in question"]),
        ("城市叫做北京大学城吗？", "北京大学", ["gold in question"]),
        ("Where is Casablanca?", "casablanca", ["gold in question"]),
        ("Where are Casablancas?", "casablanca", []),
        ("a <think> b", "2", ["tag in question"]),
        ("a [INST] b", "2", ["control token"]),
        ("a\u200bb", "2", ["invisible character"]),
        ("family 👨\u200d👩\u200d👧, می\u200cخواهم", "2", []),
        ("a\x1b[31mb", "2", ["control character"]),
        ("half of \frac{4}{2}", "2", ["eaten backslash"]),
        ("3 \times 4", "12", ["eaten backslash"]),
        ("a\ttab and\na line", "2", []),
        ("it costs 5Â£", "5", ["decoded wrongly"]),
        ("naïve café, où â?", "2", []),
    ],
)
def test_doubts(question, gold, expected):
    assert kinds(question, gold) == expected


def test_a_sentence_as_gold():
    gold = "The train will be late because there was a lot of snow on the track"
    assert kinds("Why?", gold) == ["gold is prose"]
    assert kinds("Why?", gold, kind="exact") == []


@pytest.mark.parametrize(
    "lang, question, fits",
    [
        ("en", "What is it?", True),
        ("zh", "一加一等于几？", True),
        ("zh", "What is it?", False),
        ("en", "一加一等于几？", False),
        ("zh-CN", "求 sin 函数 y 的值，单位 km", True),
        ("Chinese", "What is it?", False),
        ("ja", "これはいくつですか", True),
        ("ru", "Сколько будет 2 + 2", True),
        ("en", "3 + 4 = x", True),  # no word: nothing is said
        ("klingon", "nuqneH", True),  # not known: nothing is said
    ],
)
def test_declared_language(lang, question, fits):
    assert (language.misfit(lang, language.scripts(question)) == "") == fits


def test_scripts_leave_out_mathematics():
    assert language.scripts("\\frac{x}{y} = 3 π") == {}
    assert language.scripts("ab 中文字 x") == {"Han": 3, "Latin": 2}


@pytest.mark.parametrize(
    "a, b, same",
    [
        ("0.5", "1/2", True),
        ("1,234", "1234", True),
        ("$\\dfrac{1}{2}$", "\\frac{1}{2}", True),
        ("-3", "3", False),
        ("3", "30", False),
        ("(1,2)", "(1, 2)", True),
        ("Paris", "London", False),
        ("9" * 60, "9" * 61, False),
    ],
)
def test_gold_keys(a, b, same):
    assert (gold_key(a) == gold_key(b)) == same


def test_repeats_name_the_first():
    repeats = Repeats()
    rows = [
        prompt("A?"), prompt("B?"), prompt("a ?"), prompt("A?"), prompt("B?", "3"), prompt("C?")
    ]  # fmt: skip
    for line, each in enumerate(rows, 1):
        repeats.add(each, "f" if line < 4 else "g", line)
    assert [(file, line, kind) for file, line, kind, _ in repeats.found()] == [
        ("f", 3, "duplicate question"),
        ("g", 4, "duplicate question"),
        ("g", 5, "contradiction"),
    ]
    assert [said for *_, said in repeats.found()] == [
        "the question of f:1, but for its spelling",
        "the same question as f:1",
        "the question of f:2 with another gold",
    ]


def test_gold_self_check():
    """The grader's reasons are its own; which golds fail is by hand."""
    task = '{"numbers": [2, 3], "target": 6}'
    cases = [
        (prompt(gold="72"), ""),
        (prompt(gold="\\frac{1}{2}"), ""),
        (prompt(gold="x^2+"), "gold unreadable"),
        (prompt(gold="\\text{foo"), "gold not accepted"),
        (prompt(gold="7" * 5000), "gold unreadable"),
        (prompt(gold="Paris", kind="exact"), ""),
        (prompt(gold="a</answer>b", kind="exact"), "gold not accepted"),
        (prompt(gold=task, kind="countdown", columns={"solution": "2 * 3"}), ""),
        (prompt(gold=task, kind="countdown", columns={"solution": "2 + 3"}), "gold not accepted"),
        (prompt(gold="6", kind="countdown"), "gold unreadable"),
    ]
    failed = {}
    with GoldCheck(lambda where, kind, _: failed.update({where: kind})) as golds:
        for number, (each, _) in enumerate(cases):
            golds.add(number, each)
    assert failed == {number: kind for number, (_, kind) in enumerate(cases) if kind}
    assert (golds.checked, golds.failed) == (10, 6)
