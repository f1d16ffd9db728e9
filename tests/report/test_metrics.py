"""Names are declared once and documented; the file survives a kill at any byte."""

import json
import re
import time
from pathlib import Path

import pytest

from aha.errors import RunError
from aha.report.metrics import METRICS, MetricsFile, as_markdown, check, comparable, metric

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_names_follow_the_grammar_and_have_a_sentence():
    for name, it in METRICS.items():
        assert re.fullmatch(r"[a-z0-9_]+(/([a-z0-9_]+|<name>)){1,2}", name), name
        assert it.sentence.endswith(".")
        if name.endswith("/share"):
            assert it.unit == "0..1"
        for ending in ("sum", "max"):
            if name.endswith(f"/{ending}"):
                assert it.reduce == ending, name


def test_volatile_are_times_rates_and_memory_only():
    by_the_machine = {"grade/killed/sum"}  # a deadline missed under load, not the model's doing
    volatile = {n.split("/")[0] for n, it in METRICS.items() if it.volatile} - {"grade"}
    steady = {n.split("/")[0] for n, it in METRICS.items() if not it.volatile}
    assert volatile == {"time", "rate", "memory"}
    assert not volatile & steady
    assert {
        n for n, it in METRICS.items() if it.volatile and n.startswith("grade")
    } == by_the_machine


def test_the_page_in_docs_is_up_to_date():
    assert DOCS.read_text("utf-8") == as_markdown(), (
        "run: python -m aha.report.metrics > docs/metrics.md"
    )
    assert all(f"`{name}`" in as_markdown() for name in METRICS)


def test_undeclared_names_are_refused_with_the_nearest():
    check(["reward/mean", "reward/language/mean", "reward/My-own.2/mean"])
    with pytest.raises(KeyError, match="rollout/tokens/mean"):
        check(["reward/mean", "rollout/token/mean"])
    for wrong in ("reward/a b/mean", "reward/a/b/mean", "reward//mean", "step"):
        with pytest.raises(KeyError):
            metric(wrong)


def test_append_writes_one_line_a_step(tmp_path):
    path = tmp_path / "zero" / "metrics.jsonl"
    file = MetricsFile(path)
    assert file.rows() == []
    before = time.time()
    row = file.append(1, {"reward/mean": 0.5, "policy/loss": float("nan"), "optim/lr": None})
    lines = path.read_text().splitlines()  # flushed: another reader sees it at once
    assert [json.loads(line) for line in lines] == [row] == file.rows()
    assert row["step"] == 1
    assert row["attempt"] == 1
    assert before - 1 <= row["time"] <= time.time() + 1
    assert (row["reward/mean"], row["policy/loss"], row["optim/lr"]) == (0.5, None, None)
    with pytest.raises(KeyError):
        file.append(2, {"reward/man": 0.5})
    assert len(file.rows()) == 1


def test_truncate_after_drops_later_steps_and_keeps_bytes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    for step in range(5):
        file.append(step, {"reward/mean": step / 3})
    lines = path.read_bytes().splitlines(keepends=True)
    file.truncate_after(2)
    assert path.read_bytes() == b"".join(lines[:3])
    file.append(3, {"reward/mean": 9.0}, attempt=2)
    assert [(row["step"], row["attempt"]) for row in file.rows()] == [
        (0, 1), (1, 1), (2, 1), (3, 2)
    ]  # fmt: skip
    file.truncate_after(-1)
    assert path.read_bytes() == b""
    MetricsFile(tmp_path / "none.jsonl").truncate_after(3)  # nothing to drop
    assert not (tmp_path / "none.jsonl").exists()


def test_a_kill_at_any_byte_loses_no_more_than_the_line_being_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    for step in (1, 2):
        file.append(step, {"reward/mean": 0.25})
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        again = MetricsFile(path)
        steps = [row["step"] for row in again.rows()]
        complete = [1] * (cut >= first - 1) + [2] * (cut >= len(whole) - 1)
        assert steps == complete
        again.append(7, {"reward/mean": 1.0})
        assert [row["step"] for row in again.rows()] == [*complete, 7]


def test_damage_before_the_last_line_is_not_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(RunError, match="line 2 is damaged"):
        MetricsFile(path)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    path.mkdir()
    with pytest.raises(RunError, match=r"metrics\.jsonl"):
        file.append(1, {"reward/mean": 1.0})


def test_comparable_drops_what_may_differ():
    row = {
        "step": 4, "attempt": 2, "time": 1.0, "reward/mean": 0.5, "reward/mine/mean": 1.0,
        "time/step_s": 2.0, "rate/rollout_tokens_per_s": 3.0, "memory/peak_gb": 4.0,
    }  # fmt: skip
    assert comparable(row) == {"step": 4, "reward/mean": 0.5, "reward/mine/mean": 1.0}
