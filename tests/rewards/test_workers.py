"""The pool: deadlines, kills, retries, the journal."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from grading_bombs import BOMBS

from aha.rewards import workers
from aha.rewards.grade import grade
from aha.rewards.workers import GraderPool

HARD = ("x^2+2x+1", "\\boxed{(x+1)^2}")  # needs a worker: not settled by the caller


def test_verdicts_are_those_of_grade_in_process():
    cases = [
        ("72", "\\boxed{72}"),
        ("\\frac12", "\\boxed{0.5}"),
        ("\\frac12", "\\boxed{0.6}"),
        HARD,
        ("72", "none"),
        ("", "\\boxed{1}"),
    ]
    with GraderPool(workers=2) as pool:
        for index, (gold, response) in enumerate(cases):
            pool.submit(str(index), "math", gold, response)
        assert pool.pending() == len(cases)
        verdicts = dict(pool.drain())
        assert pool.pending() == 0
    for index, (gold, response) in enumerate(cases):
        wanted = grade("math", gold, response)
        got = verdicts[str(index)]
        assert (got.status, got.reason, got.extracted) == (
            wanted.status,
            wanted.reason,
            wanted.extracted,
        )


def test_bombs_end_within_their_deadline():
    with GraderPool(workers=1, seconds=2.0) as pool:
        pool.submit("warm", "math", *HARD)
        pool.drain()
        for index, bomb in enumerate(BOMBS):
            start = time.monotonic()
            pool.submit(str(index), "math", "x+7", f"\\boxed{{{bomb}}}", mode="all")
            [(key, verdict)] = pool.drain()
            assert time.monotonic() - start < 2.0
            assert key == str(index)
            assert verdict.score == 0.0


@pytest.fixture
def slow_worker(monkeypatch, tmp_path):
    """Workers whose math grader misbehaves when the gold says so."""
    code = tmp_path / "bad_worker.py"
    code.write_text(
        "import os, sys, time, signal\n"
        "from aha.rewards import grade, worker\n"
        "from aha.records import Grade\n"
        "def bad(gold, found):\n"
        "    if gold == 'sleep': time.sleep(60)\n"
        "    if gold == 'die': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if gold == 'print': print('garbage', flush=True)\n"
        "    if gold == 'once' and not os.path.exists(MARK):\n"
        "        open(MARK, 'w').close(); time.sleep(60)\n"
        "    return Grade(status='correct', score=1.0)\n"
        f"MARK = {str(tmp_path / 'mark')!r}\n"
        "grade.GRADERS['math'] = bad\n"
        "def main():\n"
        "    from aha.rewards import symbolic\n"
        "    symbolic.warm_up = lambda: None\n"
        "    worker.main()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(workers, "WORKER", "from bad_worker import main; main()")


def test_a_hanging_case_is_killed_retried_and_given_up(slow_worker):
    with GraderPool(workers=1, seconds=1.0) as pool:
        pool.submit("fine", "math", "ok", "\\boxed{x}")
        pool.drain()
        start = time.monotonic()
        pool.submit("stuck", "math", "sleep", "\\boxed{x}")
        pool.submit("after", "math", "ok2", "\\boxed{x}")
        verdicts = dict(pool.drain())
        assert time.monotonic() - start < 4.0
        assert (verdicts["stuck"].status, verdicts["stuck"].reason) == ("timeout", "time_limit")
        assert verdicts["after"].status == "correct"
        assert (pool.killed, pool.retried) == (2, 1)


def test_a_case_that_hangs_once_is_judged_at_the_second_try(slow_worker):
    with GraderPool(workers=1, seconds=1.0) as pool:
        pool.submit("once", "math", "once", "\\boxed{x}")
        assert [grade.status for _, grade in pool.drain()] == ["correct"]
        assert (pool.killed, pool.retried) == (1, 1)


def test_a_case_that_kills_its_worker_is_an_error(slow_worker):
    with GraderPool(workers=1) as pool:
        pool.submit("die", "math", "die", "\\boxed{x}")
        pool.submit("fine", "math", "ok", "\\boxed{x}")
        verdicts = dict(pool.drain())
        assert (verdicts["die"].status, verdicts["die"].reason) == ("error", "worker_died")
        assert verdicts["fine"].status == "correct"


def test_what_a_library_prints_is_no_verdict(slow_worker):
    with GraderPool(workers=1) as pool:
        pool.submit("print", "math", "print", "\\boxed{x}")
        assert [grade.status for _, grade in pool.drain()] == ["correct"]
        assert pool.retried == 0


def test_a_worker_that_talks_nonsense_is_replaced(monkeypatch):
    talk = (
        "import sys; print('{\"ready\": true}', flush=True)\n"
        "for line in sys.stdin: print('garbage', flush=True)"
    )
    monkeypatch.setattr(workers, "WORKER", talk)
    with GraderPool(workers=1) as pool:
        pool.submit("a", "math", *HARD)
        [(_, verdict)] = pool.drain()
        assert (verdict.status, verdict.reason) == ("error", "worker_talked_nonsense")


def test_a_worker_that_cannot_start_is_a_named_error(monkeypatch):
    monkeypatch.setattr(workers, "WORKER", "raise SystemExit('no such luck')")
    with GraderPool(workers=1) as pool:
        pool.submit("a", "math", *HARD)
        with pytest.raises(workers.RunError, match="no such luck"):
            pool.drain()


def test_late_polling_does_not_lose_a_verdict_that_came_in_time():
    with GraderPool(workers=1, seconds=1.0) as pool:
        pool.submit("warm", "math", *HARD)
        pool.drain()
        pool.submit("a", "math", "x^2-1", "\\boxed{(x-1)(x+1)}")
        time.sleep(1.5)  # the caller was busy for more than two deadlines
        [(_, verdict)] = pool.poll()
        assert verdict.status == "correct"
        assert pool.killed == 0


def test_a_worker_killed_from_outside_is_replaced():
    with GraderPool(workers=1) as pool:
        pool.submit("a", "math", *HARD)
        pool.drain()
        os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        pool.submit("b", "math", "x^2+4x+4", "\\boxed{(x+2)^2}")
        assert [grade.status for _, grade in pool.drain()] == ["correct"]


def test_huge_responses_pass():
    with GraderPool(workers=1) as pool:
        pool.submit("a", "math", "x+1", "x" * 5_000_000 + "\\boxed{1+x}")
        pool.submit("b", "math", "x+1", "\\boxed{" + "1+" * 2_000_000 + "}")
        verdicts = dict(pool.drain())
        assert verdicts["a"].status == "correct"
        assert verdicts["b"].reason == "too_long"


def test_surrogates_and_nul_pass():
    with GraderPool(workers=1) as pool:
        pool.submit("a", "math", "x+1", "\\boxed{\ud800\x00}")
        assert [grade.status for _, grade in pool.drain()] == ["unparsed"]


def test_equal_cases_are_judged_once():
    with GraderPool(workers=1) as pool:
        for key in ("a", "b"):
            pool.submit(key, "math", *HARD)
            assert pool.drain()[0][1].status == "correct"
        assert pool._jobs == 1


def test_the_journal_answers_the_second_time(tmp_path, monkeypatch):
    journal = tmp_path / "verdicts.jsonl"
    with GraderPool(workers=1, journal=journal) as pool:
        pool.submit("a", "math", *HARD)
        [(_, first)] = pool.drain()
        assert len(journal.read_text().splitlines()) == 1
    monkeypatch.setattr(workers, "WORKER", "raise SystemExit('must not start')")
    with GraderPool(workers=1, journal=journal) as pool:
        pool.submit("a", "math", *HARD)
        assert pool.drain() == [("a", first)]
        pool.submit("other key", "math", "1", "\\boxed{1}")
        pool.drain()
    assert len(journal.read_text().splitlines()) == 2


def test_another_answer_under_the_same_key_is_judged_anew(tmp_path):
    journal = tmp_path / "verdicts.jsonl"
    with GraderPool(workers=1, journal=journal) as pool:
        pool.submit("a", "math", "5", "\\boxed{5}")
        pool.drain()
    with GraderPool(workers=1, journal=journal) as pool:
        pool.submit("a", "math", "5", "\\boxed{6}")
        assert pool.drain()[0][1].status == "wrong"


def test_a_torn_last_line_is_dropped_and_overwritten(tmp_path):
    journal = tmp_path / "verdicts.jsonl"
    with GraderPool(workers=1, journal=journal) as pool:
        pool.submit("a", "math", "5", "\\boxed{5}")
        pool.drain()
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"key": "b", "ca')
    with GraderPool(workers=1, journal=journal) as pool:
        assert journal.read_bytes() == whole
        pool.submit("b", "math", "5", "\\boxed{5}")
        pool.drain()
    assert [json.loads(line)["key"] for line in journal.read_text().splitlines()] == ["a", "b"]


def test_forget_empties_the_journal(tmp_path):
    journal = tmp_path / "verdicts.jsonl"
    with GraderPool(workers=1, journal=journal) as pool:
        pool.submit("a", "math", "5", "\\boxed{5}")
        pool.drain()
        pool.forget()
        assert journal.read_bytes() == b""
        pool.submit("a", "math", "5", "\\boxed{5}")
        pool.drain()
        assert len(journal.read_text().splitlines()) == 1


def test_workers_die_with_a_killed_parent():
    code = (
        "import time\n"
        "from aha.rewards.workers import GraderPool\n"
        "pool = GraderPool(workers=1)\n"
        "pool.submit('a', 'math', 'x+1', '\\\\boxed{1+x}')\n"
        "pool.drain()\n"
        "print(pool._workers[0].process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not _alive(worker):
            return
        time.sleep(0.05)
    raise AssertionError("the worker outlived its parent")


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_impossible_arguments():
    with pytest.raises(ValueError, match="positive"):
        GraderPool(workers=0)


def test_the_queue_is_bounded_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(workers, "MAX_QUEUE", 3)
    with GraderPool(workers=1) as pool:
        longest = 0
        for n in range(40):
            pool.submit(str(n), "math", f"x+{n}", f"\\boxed{{{n}+x}}")
            longest = max(longest, len(pool._queue))
        verdicts = dict(pool.drain())
    assert longest <= 3
    assert [verdicts[str(n)].status for n in range(40)] == ["correct"] * 40


def test_the_rate_counts_what_workers_judged():
    with GraderPool(workers=1) as pool:
        assert pool.rate() is None
        pool.submit("a", "math", *HARD)
        pool.submit("settled", "math", "72", "\\boxed{72}")
        pool.drain()
        assert pool.judged == 1
        assert pool.rate() > 0


def test_a_worker_that_has_grown_is_replaced(monkeypatch, tmp_path):
    code = tmp_path / "big_worker.py"
    code.write_text(
        "from aha.rewards import grade, worker\n"
        "from aha.records import Grade\n"
        "def big(gold, found):\n"
        "    if gold == 'big': bytearray(b'x') * (600 << 20)\n"
        "    if gold == 'bomb': [b'x' * (1 << 28) for _ in range(99)]\n"
        "    return Grade(status='correct', score=1.0)\n"
        "grade.GRADERS['math'] = big\n"
        "main = worker.main\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(workers, "WORKER", "from big_worker import main; main()")
    with GraderPool(workers=1, seconds=20.0) as pool:
        for gold in ("small", "big", "small2", "bomb", "small3"):
            pool.submit(gold, "math", gold, "\\boxed{x}")
        verdicts = dict(pool.drain())
        assert {name: grade.status for name, grade in verdicts.items()} == {
            "small": "correct",
            "big": "correct",
            "small2": "correct",
            "bomb": "error",
            "small3": "correct",
        }
        assert verdicts["bomb"].reason == "grader_failed: MemoryError"
        assert (pool.retired, pool.retried) == (3, 1)  # the bomb is tried in a fresh worker, once


@pytest.mark.parametrize("text", ["", "plain", "<think>still open", "\ud800\0", "x" * 1_000_000])
def test_what_has_no_right_answer_is_neither_right_nor_wrong(text):
    """Of any answer, without a worker, however long the reference for judges is."""
    with GraderPool(workers=1) as pool:
        pool.submit("a", "open", "reference " * 10_000, text)
        [(_, grade)] = pool.drain()
        assert pool.judged == 0
    assert (grade.status, grade.graded, grade.failed) == ("open", False, False)
