"""Dispatch, the exact grader, failures that are ours."""

import subprocess
import sys

import pytest

from aha.rewards import grade as module
from aha.rewards.grade import grade


@pytest.mark.parametrize(
    "gold, answer, right",
    [
        ("hello", "hello", True),
        ("hello", " hello. ", True),
        ("hello", "Hello", False),
        ("hello", "**hello**", True),
        ("abc", "ａｂｃ", True),
        ("1/2", "0.5", False),
        ("a b", "ab", True),
        ("1 1", "11", False),
    ],
)
def test_exact(gold, answer, right):
    assert (grade("exact", gold, f"<answer>{answer}</answer>").status == "correct") is right


def test_exact_without_a_gold_is_our_failure():
    assert grade("exact", " ", "<answer>x</answer>").status == "error"


def test_an_unknown_kind_is_an_error_that_names_the_known_ones():
    verdict = grade("maths", "1", "\\boxed{1}")
    assert verdict.status == "error"
    assert "choice, code, code_io, countdown, exact, gym, knights, math, numeric" in verdict.reason


def test_a_surprise_in_a_grader_is_our_failure(monkeypatch):
    def broken(gold, found):
        raise KeyError("x")

    monkeypatch.setitem(module.GRADERS, "math", broken)
    verdict = grade("math", "1", "\\boxed{1}")
    assert (verdict.status, verdict.score) == ("error", 0.0)
    assert "KeyError" in verdict.reason


def test_plain_answers_load_neither_torch_nor_sympy():
    code = (
        "import sys; from aha.rewards.grade import grade; "
        "assert grade('math', '1/2', 'x \\\\boxed{0.5}').score == 1.0; "
        "assert grade('math', 'x+1', 'x \\\\boxed{1+x}').score == 1.0; "
        "import aha.rewards.workers, aha.rewards.mix, aha.rewards.grade_file; "
        "print([m for m in ('torch', 'sympy', 'transformers', 'math_verify') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
