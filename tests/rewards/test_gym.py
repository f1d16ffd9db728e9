"""The gym grader: what is passed on, what is refused, and the pool's time to prepare."""

import pytest

from aha.config import DataConfig
from aha.data.sources import load
from aha.rewards import gym as module
from aha.rewards.grade import grade
from aha.rewards.gym import is_expression
from aha.rewards.workers import GraderPool


@pytest.fixture(scope="module")
def _package():
    pytest.importorskip("reasoning_gym")


def problem(source):
    return load(f"{source}?n=1", split="train", config=DataConfig()).prompts[0]


@pytest.mark.parametrize(
    "text",
    ["2*x**3 - sin(x)/4 + C", "(3 + 4) * 5 - 12/2", "x**2", "-x**(-3)/7 + exp(x)*cos(x)",
     "x*asin(x) + sqrt(x)", "12.5*y", "x**(1/2)", "3*X**2 + 5*X - 7"],
)  # fmt: skip
def test_expressions(text):
    assert is_expression(text)


@pytest.mark.parametrize(
    "text",
    ["exit()", "__import__('os')", "open('x')", "().__class__", "x.diff()", "lambda: 1", "[1]",
     "N(pi, 10**9)", "S('1')", "factorial(99)", "9**9**9", "2**99999", "x if x else y", "1;2",
     "f\"{x}\"", "9" * 40, "exec(x)", "eval(x)", "print(x)", "x = 3", "", "a_b"],
)  # fmt: skip
def test_what_is_no_expression(text):
    assert not is_expression(text)


@pytest.mark.usefixtures("_package")
def test_the_answer_is_not_run(tmp_path):
    mark = tmp_path / "ran"
    code = f"[open({str(mark)!r}, 'w').write('x')]"
    for name in (*module.LITERALS, "puzzle24", "simple_integration"):
        verdict = grade("gym", problem(f"gym:{name}").gold, f"<answer>{code}</answer>")
        assert verdict.status in ("wrong", "unparsed"), (name, verdict)
    assert not mark.exists()


@pytest.mark.usefixtures("_package")
def test_a_literal_list_is_read_but_not_paid():
    prompt = problem("gym:spiral_matrix")
    listed = "[" + ", ".join(prompt.columns["answer"].split()) + "]"
    verdict = grade("gym", prompt.gold, f"<answer>{listed}</answer>")
    assert (verdict.status, verdict.score, verdict.reason) == ("wrong", 0.0, "score: 0.1")


@pytest.mark.usefixtures("_package")
def test_other_ways_to_say_it_are_right():
    prompt = problem("gym:simple_integration")
    right = prompt.columns["answer"]
    assert grade("gym", prompt.gold, f"<answer>{right} + 3 - 2</answer>").status == "correct"
    assert grade("gym", prompt.gold, f"<answer>2*({right})</answer>").status == "wrong"


@pytest.mark.usefixtures("_package")
def test_a_scorer_that_cannot_read_an_answer():
    prompt = problem("gym:prime_factorization")
    verdict = grade("gym", prompt.gold, "<answer>primes!</answer>")
    assert (verdict.status, verdict.reason) == ("unparsed", "scorer_refused: ValueError")


@pytest.mark.usefixtures("_package")
def test_a_scorer_that_fails_in_any_case(monkeypatch):
    class Broken:
        def score_answer(self, answer, entry):
            raise RuntimeError("broken")

    prompt = problem("gym:gcd")
    monkeypatch.setattr(module.gym, "read_gold", lambda gold: (Broken(), {"answer": "1"}))
    verdict = grade("gym", prompt.gold, "<answer>1</answer>")
    assert (verdict.status, verdict.reason) == ("error", "grader_failed: RuntimeError")


@pytest.mark.parametrize("gold", ["", "{}", "72", "{}\n{}", '{"task": "gcd", "keys": {}}\n[]'])
def test_a_gold_that_is_none(gold):
    verdict = grade("gym", gold, "<answer>1</answer>")
    assert verdict.status == "error"
    assert verdict.reason.startswith("gold_unparsed")


def test_no_answer_and_long_answers():
    assert grade("gym", "", "nothing").status == "unparsed"
    assert grade("gym", "", f"<answer>{'1' * 5000}</answer>").reason == "too_long"


@pytest.mark.usefixtures("_package")
def test_the_pool_prepares_before_the_deadline_runs():
    """Loading the package takes longer than the deadline of a case, and is not counted."""
    prompts = [problem(f"gym:{name}") for name in ("gcd", "maze", "emoji_mystery")]
    with GraderPool(workers=1, seconds=1.5) as pool:
        pool.submit("math", "math", "x+1", "\\boxed{1+x}")
        for number, prompt in enumerate(prompts):
            answer = f"<answer>{prompt.columns['answer']}</answer>"
            pool.submit(str(number), "gym", prompt.gold, answer)
            pool.submit(f"wrong {number}", "gym", prompt.gold, "<answer>?</answer>")
        verdicts = {key: verdict.status for key, verdict in pool.drain()}
        assert pool.killed == pool.retried == 0
    right = {"math": "correct", "0": "correct", "1": "correct", "2": "correct"}
    assert verdicts == right | {f"wrong {number}": "wrong" for number in range(3)}
