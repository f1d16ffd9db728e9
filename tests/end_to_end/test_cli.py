"""The commands besides `aha run`: what they print, what they leave, what they refuse."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aha import files
from aha.evals import run as evals
from tests.end_to_end.conftest import Said, short

Aha = Callable[..., Said]


def test_help_and_version_import_no_torch() -> None:
    code = (
        "import sys; from aha.__main__ import _run; "
        "codes = [_run(['--help'], True), _run(['run', '--help'], True), _run(['--version'], True)]; "
        "import aha.config; sys.exit(max(codes) or 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("run", "resume", "plan", "doctor", "sample", "eval", "grade", "model"):
        assert command in done.stdout


def test_a_usage_error_is_a_configuration_error(aha: Aha) -> None:
    assert aha("rum").code == 2
    assert aha("run").code == 2
    assert aha("eval", "x", "--k", "0").code == 2


def test_dry_run_prints_a_recipe_that_is_the_same(aha: Aha, recipe: Path, tmp_path: Path) -> None:
    from aha import config

    said = aha("run", recipe, "--dry-run", "--set", "zero.group_size=6")
    assert said.code == 0
    text = said.out.split("plan of run")[0]
    (tmp_path / "again.toml").write_text(text)
    assert config.load(tmp_path / "again.toml") == config.load(recipe, ["zero.group_size=6"])
    assert not (tmp_path / "runs").exists()


def test_plan(aha: Aha, recipe: Path) -> None:
    said = aha("plan", recipe, "--json")
    assert said.code == 0
    facts = json.loads(said.out)
    stage = facts["stages"]["zero"]
    assert stage["steps"] == 6
    parts = stage["parts"]
    sampling, updating = parts["keys and values"], parts["activations"] + parts["head"]
    updating += parts["kept logits"]  # never at the same time
    assert stage["total_bytes"] == sum(parts.values()) - min(sampling, updating)
    assert stage["step_s"] == pytest.approx(stage["rollout_s"] + stage["update_s"])
    assert stage["total_bytes"] <= 4.0e9  # memory_gb of the recipe
    assert stage["rollout_tokens"] == 2 * 4 * 12
    assert "graph LR" in facts["graph"]
    text = aha("plan", recipe).out
    assert "memory at the peak" in text
    assert "sampling" in text
    assert "measured here" not in aha("plan", recipe, "--no-time").out
    small = aha("plan", recipe, "--set", "memory_gb=0.1")
    assert small.code == 3
    assert "Try" in small.err


def test_a_run_holds_its_graph(unbroken: Path) -> None:
    assert (unbroken / "graph.mmd").read_text() == 'graph LR\n  zero["zero (done)"]\n'


def test_plan_counts_what_is_there(aha: Aha, recipe: Path, unbroken: Path) -> None:
    """A checkpoint is as large as it was said to be, but for tokenizer and headers."""
    stage = json.loads(aha("plan", recipe, "--json").out)["stages"]["zero"]
    folder = unbroken / "zero" / "checkpoints" / "step_000006"
    tensors = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert tensors == pytest.approx(stage["checkpoint_bytes"], rel=0.1)


def test_doctor(aha: Aha, recipe: Path, tmp_path: Path) -> None:
    said = aha("doctor", recipe, "--json")
    checks = {check["name"]: check for check in json.loads(said.out)}
    assert said.code == 0, said.text
    assert checks["graders"]["state"] == "ok"
    assert checks["data"]["state"] == "ok"
    assert "gold answers: 80 of 80 graded right" in checks["data"]["seen"]
    assert {"versions", "machine", "disk", "memory", "template"} <= checks.keys()
    said = aha("doctor", recipe, "--set", "model.path=./nothing")
    assert said.code == 1
    assert "BAD" in said.out


def test_sample(aha: Aha, model: Path) -> None:
    words = ["sample", model, "-p", "What is 1 + 1?", "-p", "And 2 + 2?", "--n", "3"]
    said = aha(*words, "--max-tokens", "10", "--json")
    assert said.code == 0, said.text
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert len(rows) == 6
    assert {(row["question"], row["sample"]) for row in rows} == {
        (question, n) for question in ("What is 1 + 1?", "And 2 + 2?") for n in range(3)
    }
    assert all(row["text"].startswith("<think>") for row in rows if row["tokens"] > 5)
    again = aha(*words, "--max-tokens", "10", "--json")
    assert again.out == said.out
    other = aha(*words, "--max-tokens", "10", "--json", "--seed", "1")
    assert other.out != said.out
    assert "answer 1 of 3" in aha(*words, "--max-tokens", "10").out


def test_sample_refuses(aha: Aha, model: Path, tmp_path: Path) -> None:
    assert aha("sample", model, "-p", "x", "--top-p", "0").code == 2
    said = aha("sample", tmp_path / "nothing", "-p", "x")
    assert said.code == 1
    assert "no folder" in said.err


def evaluate(aha: Aha, model: Path, out: Path, *more: str) -> Said:
    return aha(
        "eval", model, "--data", "arithmetic?difficulty=1&lang=mix", "--k", "2", "--limit", "10",
        "--max-tokens", "12", "--temperature", "1", "--out", out, "--json", *more,
    )  # fmt: skip


def test_eval_and_regrade(aha: Aha, model: Path, tmp_path: Path) -> None:
    said = evaluate(aha, model, tmp_path / "eval")
    assert said.code == 0, said.text
    result = json.loads(said.out)
    rows = files.read_jsonl(tmp_path / "eval" / "samples.jsonl")
    assert len(rows) == 20
    right = sum(row["correct"] for row in rows)
    assert result["numbers"]["pass_at_1"] == pytest.approx(right / 20)
    assert result["numbers"]["pass_at_1_low"] <= right / 20 <= result["numbers"]["pass_at_1_high"]
    assert result["receipt"]["k"] == 2
    samples = (tmp_path / "eval" / "samples.jsonl").read_bytes()
    again = evaluate(aha, model, tmp_path / "eval", "--regrade")
    assert again.code == 0
    assert json.loads(again.out)["numbers"] == result["numbers"]
    assert (tmp_path / "eval" / "samples.jsonl").read_bytes() == samples
    said = evaluate(aha, model, tmp_path / "nothing", "--regrade")
    assert said.code == 2
    assert "--out FOLDER of a finished evaluation" in said.err


def test_an_interrupted_eval_goes_on_to_the_same_bytes(
    aha: Aha, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evals, "BLOCK", 3)
    assert evaluate(aha, model, tmp_path / "whole").code == 0
    append, blocks = evals._append, [0]

    def stops(*arguments: Any) -> None:
        append(*arguments)
        blocks[0] += 1
        if blocks[0] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(evals, "_append", stops)
    assert evaluate(aha, model, tmp_path / "halves").code == 130
    partial = tmp_path / "halves" / "samples.partial.jsonl"
    with partial.open("a") as file:
        file.write('{"problem": "torn')
    asked: list[str] = []
    collect = evals.collect

    def seen(
        engine: Any, graders: Any, score: Any, questions: Any, *rest: Any, **named: Any
    ) -> Any:
        asked.extend(question.prompt.id for question in questions)
        return collect(engine, graders, score, questions, *rest, **named)

    monkeypatch.setattr(evals, "_append", append)
    monkeypatch.setattr(evals, "collect", seen)
    assert evaluate(aha, model, tmp_path / "halves").code == 0
    assert len(asked) == 4  # 10 problems, 6 of them were done
    for name in ("samples.jsonl", "result.json"):
        whole, halves = (tmp_path / run / name for run in ("whole", "halves"))
        assert whole.read_bytes() == halves.read_bytes()
    assert not partial.exists()


def test_eval_of_a_run_takes_its_newest_checkpoint(
    aha: Aha, unbroken: Path, tmp_path: Path
) -> None:
    said = evaluate(aha, unbroken, tmp_path / "eval", "--limit", "2")
    assert said.code == 0, said.text
    assert "step_000006" in json.loads(said.out)["receipt"]["weights"]


def test_grade_keeps_the_order(aha: Aha, tmp_path: Path) -> None:
    cases = [
        ("4", "so <answer>4</answer>", "correct"),
        ("x + 1", "\\boxed{1 + x}", "correct"),  # a worker's case among those that need none
        ("4", "<answer>5</answer>", "wrong"),
        ("4", "I do not know", "unparsed"),
        ("0.5", "\\boxed{\\frac{1}{2}}", "correct"),
    ] * 3
    path = tmp_path / "cases.jsonl"
    lines = [json.dumps({"gold": gold, "response": said}) for gold, said, _ in cases]
    lines.insert(3, "{not json")
    path.write_text("\n".join(lines))
    said = aha("grade", path, "--json")
    assert said.code == 0, said.text
    rows = [json.loads(line) for line in said.out.splitlines()]
    expected = [status for *_, status in cases]
    expected.insert(3, "error")
    assert [row["status"] for row in rows] == expected
    rewards = {"correct": 1.0, "wrong": 0.0, "unparsed": 0.0, "error": None}
    assert [row["reward"] for row in rows] == [rewards[status] for status in expected]
    out = aha("grade", path).out
    assert "correct 9" in out
    assert out.splitlines()[3].split()[:4] == ["4", "error", "-", "bad_line:"]
    refused = aha("grade", tmp_path / "nothing.jsonl")
    assert refused.code == 1
    assert "no file at" in refused.err


def test_one_stage_of_a_recipe(aha: Aha, recipe: Path, tmp_path: Path) -> None:
    said = aha("run", recipe, "zero", *short("zero.steps=1"))
    assert said.code == 0, said.text
    assert (tmp_path / "runs" / "run" / "zero" / "DONE").is_file()
