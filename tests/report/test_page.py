"""What a report page holds, that it is small, and that a killed run has one too."""

import base64
import hashlib
import html
import json
import re

import page_runs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aha.errors import RunError
from aha.report.page import report
from aha.report.page.asked import ENOUGH
from aha.report.page.html import MOST_BYTES


def page_of(tmp_path, *roots):
    out = tmp_path / "report.html"
    report(roots, out)
    return out.read_text("utf-8")


def embedded(page):
    """What the script of the page reads."""
    return json.loads(
        re.search(r'<script type="application/json" id="found">(.*?)</script>', page)[1]
    )


def visible(page):
    """The text of the page without its script, style, data and tags."""
    page = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_a_finished_run(tmp_path):
    said = visible(page_of(tmp_path, page_runs.run_folder(tmp_path / "small")))
    assert "Run: small" in said
    assert "state done" in said
    assert "held-out pass@1 25.0 % [15.0, 35.0] → 75.0 % [65.0, 85.0]" in said
    assert "pass@1 · domain products 25.0 % [15.0, 35.0] → 75.0 % [65.0, 85.0]" in said
    assert "answers sampled 16" in said  # 4 steps x 2 questions x 2
    assert "echo zero, step 2 in 30 % of the answers" in said
    assert "8 different questions asked, 16 answers, 168 tokens sampled" in said
    assert "Verdicts: 8 correct, 8 wrong" in said
    assert "data.train arithmetic countdown" in said
    assert "all 16 answers to 8 questions" in said
    for title in (
        "Held-out against reward", "Components of the reward", "Length of answers", "Group mix",
        "KL to the reference nats/token", "Entropy nats/token", "Throughput tokens/s",
    ):  # fmt: skip
        assert title in said
    assert "cursor" in said  # a metric that no chart names is among the others


def test_the_table_below_a_chart_has_its_numbers(tmp_path):
    page = page_of(tmp_path, page_runs.run_folder(tmp_path / "small"))
    chart = page[page.index("<b>Length of answers</b>") :]
    heads = re.findall(r"<th>([^<]*)", chart[: chart.index("<tbody>")])
    assert heads == ["step", "mean", "mean, low", "mean, high"]
    rows = re.findall(r"<tr>((?:<td>[^<]*</td>)+)", chart[: chart.index("</table>")])
    # of 10, 11, 10, 11 tokens the 10th percentile is 10, the 90th 11; step 0 has no answers
    assert [re.findall(r"<td>([^<]*)", row) for row in rows][:2] == [
        ["0", "", "", ""],
        ["1", "12", "10", "11"],
    ]


def test_answers_with_their_facts(tmp_path):
    found = embedded(page_of(tmp_path, page_runs.run_folder(tmp_path / "small")))
    groups = found["runs"][0]["stages"][0]["groups"]
    first = next(g for g in groups if g["split"] == "training" and g["id"] == "q1")
    assert first["question"] == "What is 1 + 0?"
    assert first["answers"][1] == {
        "sample": 1,
        "think": "<think>thought 1/q1/1</think>",
        "text": " <answer>1</answer>",
        "status": "wrong",
        "extracted": "1",
        "reason": "not_equal",
        "tokens": 11,
        "stopped": "eos",
        "reward": 0.5,
        "parts": {"accuracy": 0.0, "format": 1.0},
        "advantage": -0.75,
    }
    alerted = [g["id"] for g in groups if "alert" in g["why"]]
    assert alerted == ["q2"]
    held = [(g["step"], g["id"]) for g in groups if g["split"] == "held out"]
    assert held == [(step, f"held-{i}") for step in (0, 4) for i in range(3)]


def test_a_failed_grader_is_not_a_reward_of_zero(tmp_path):
    root = page_runs.run_folder(tmp_path / "small")
    rows = [
        page_runs.answer(1, "q1", 0),
        page_runs.answer(1, "q1", 1, status="timeout", reward=0.0, valid=False),
    ]
    page_runs.write_step(root / "zero", 1, rows)
    groups = embedded(page_of(tmp_path, root))["runs"][0]["stages"][0]["groups"]
    failed = next(g for g in groups if g["id"] == "q1")["answers"][1]
    assert failed["status"] == "timeout"
    assert "reward" not in failed


def test_policy_allows_this_style_and_script_and_nothing_else(tmp_path):
    page = page_of(tmp_path, page_runs.run_folder(tmp_path / "small"))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert page.index("Content-Security-Policy") < page.index("<style>")

    def hashed(content):
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    styles = re.findall(r"<style>(.*?)</style>", page, re.S)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(styles) == len(scripts) == 1
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == hashed(styles[0])
    assert rules["script-src"] == hashed(scripts[0])
    assert rules["img-src"] == "data:"
    assert "unsafe" not in policy


def test_nothing_is_fetched_and_no_attribute_runs(tmp_path):
    page = page_of(tmp_path, page_runs.run_folder(tmp_path / "small"))
    markup = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.S)
    for tag in re.findall(r"<[a-zA-Z][^>]*>", markup):
        assert not re.search(r"\s(on\w+|style|src|srcset|action)=", tag), tag
        for target in re.findall(r'href="([^"]*)"', tag):
            assert target.startswith("#"), tag
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", page)


def test_the_same_page_twice(tmp_path):
    root = page_runs.run_folder(tmp_path / "small")
    assert page_of(tmp_path, root) == page_of(tmp_path, root)


def test_two_runs_side_by_side(tmp_path):
    one = page_runs.run_folder(tmp_path / "a" / "small")
    other = page_runs.run_folder(
        tmp_path / "b" / "small", steps=6, rewards=0.2, recipe=page_runs.RECIPE.replace("3", "4")
    )
    said = visible(page_of(tmp_path, one, other))
    assert "Runs: small (1), small (2)" in said
    assert "Held-out against reward: reward" in said
    assert "small (1) 0.54" in said  # the legend has the last value of each
    assert "small (2) 0.26" in said
    differing = said[said.index("What differs between the recipes") :]
    assert "small (1) small (2) seed 3 4" in differing
    found = embedded(page_of(tmp_path, one, other))
    assert [run["label"] for run in found["runs"]] == ["small (1)", "small (2)"]


def test_stages_of_other_kinds_and_what_they_start_from(tmp_path):
    root = tmp_path / "graph"
    (root / "cold").mkdir(parents=True)
    (root / "recipe.toml").write_text(
        """
        name = "graph"
        [model]
        path = "aha:base"
        [stage.cold]
        kind = "sft"
        train = "examples.jsonl"
        [stage.reasoning]
        kind = "zero"
        start = "stage:cold"
        [stage.last]
        kind = "sft"
        train = ["stage:reasoning", "general.jsonl"]
        """
    )
    (root / "cold" / "fingerprint.json").write_text("{}")
    (root / "cold" / "data.json").write_text(json.dumps({"learned": 540, "refused_first": ["<b>"]}))
    page_runs.lines(
        root / "cold" / "metrics.jsonl",
        [
            {"step": 0, "sft/heldout/loss": 3.73},
            {"step": 1, "sft/loss": 3.5},
            {"step": 2, "sft/loss": 0.25, "sft/heldout/loss": 0.172},
        ],
    )
    page_runs.lines(root / "cold" / "dialogues.jsonl", [{"domain": "sums"}, {"domain": "sums"}])
    said = visible(page_of(tmp_path, root))
    assert "cold (sft)" in said
    assert "○ not begun" in said
    assert "held-out loss (nats/token) 3.73 → 0.172" in said
    assert "Loss nats/token learned 0.25 held out 0.172" in said
    assert "data.json learned 540 refused_first <b>" in said
    assert "dialogues.jsonl rows 2 by domain.sums 2" in said
    page = page_of(tmp_path, root)
    assert page.count('class="edge"') == 2  # cold -> reasoning -> last


def test_a_hundred_thousand_rollouts_fit(tmp_path):
    """Every number counts, the page stays below 10 MB, and it says what it has left out.

    So with fifteen measured stages and one that samples beside them.
    """
    tables = "".join(f'[stage.s{i}]\nkind = "sft"\n' for i in range(15))
    recipe = page_runs.RECIPE + tables + '[stage.drawn]\nkind = "sample"\n'
    root = page_runs.run_folder(tmp_path / "long", steps=1, recipe=recipe)
    words = "<think>" + "the sum of 12 & 30 is <42> \u4e8c " * 24 + "</think>"
    rows = []
    for step in range(1, 392):
        group = [
            page_runs.answer(step, f"{step}-{i // 16}", i % 16, text=words + f"{step}/{i}")
            for i in range(256)
        ]
        page_runs.write_step(root / "zero", step, group, advantages=False)
        rows.append(page_runs.metrics(step))
    page_runs.lines(root / "zero" / "metrics.jsonl", rows)
    asked = [
        page_runs.held_out_answer(f"p{i // 8}", i % 8, response=words + f"{i}") for i in range(1024)
    ]
    for stage in ["base", *(f"s{i}" for i in range(15))]:
        page_runs.measured(root, stage, "sums", asked[:512])
        page_runs.measured(root, stage, "more", asked[512:])
    page_runs.sampled(root, "drawn", [row for _ in range(4) for row in asked])
    page = page_of(tmp_path, root)
    assert 2_000_000 < len(page.encode()) <= MOST_BYTES
    said = visible(page)
    assert "answers sampled 100,096" in said
    assert "of 100,096 answers are here with their text" in said
    stages = {one["name"]: one["groups"] for one in embedded(page)["runs"][0]["stages"]}
    read = {name: [(g["split"], g["id"]) for g in stages[name]] for name in ("base", "s0", "s14")}
    assert read["base"] == read["s0"] == read["s14"]  # the same questions of every model
    assert len(read["base"]) >= 2 * ENOUGH
    assert len(stages["drawn"]) >= ENOUGH
    steps = {group["step"] for group in stages["zero"] if group["split"] == "training"}
    assert {1, 2, 390, 391} <= steps
    assert len(steps) >= 40
    chart = page[page.index("<b>Entropy") :]
    assert chart[: chart.index("</figure>")].count("<tr>") == 301  # a head, and 300 of 391 steps


def test_a_long_answer_loses_its_middle(tmp_path):
    root = page_runs.run_folder(tmp_path / "small")
    long = "<think>" + "a" * 5000 + "b" * 1_000_000 + "</think>c" + "d" * 2_000_000 + "e"
    page_runs.write_step(root / "zero", 1, [page_runs.answer(1, "q1", 0, text=long)])
    page = page_of(tmp_path, root)
    assert len(page) < 1_000_000
    groups = embedded(page)["runs"][0]["stages"][0]["groups"]
    answer = next(g for g in groups if g["id"] == "q1")["answers"][0]
    assert answer["think"].startswith("<think>aaa")
    assert answer["think"].endswith("</think>")
    assert "999,015 characters left out" in answer["think"]
    assert answer["text"].startswith("cd")
    assert answer["text"].endswith("de")


# -- killed runs -------------------------------------------------------------------------------------------


def test_a_run_that_has_only_begun(tmp_path):
    root = tmp_path / "small"
    root.mkdir()
    (root / "recipe.toml").write_text(page_runs.RECIPE)
    said = visible(page_of(tmp_path, root))
    assert "not finished: killed, or still running" in said
    assert "No stage has begun" in said
    assert "No answers were sampled yet" in said


def test_a_run_that_failed_says_why(tmp_path):
    root = page_runs.run_folder(tmp_path / "small")
    (root / "zero" / "DONE").unlink()
    with (root / "events.jsonl").open("a") as file:
        file.write(
            '{"event": "ended", "stage": "zero", "error": "RunError: the disk is full"}\n{"ev'
        )
    said = visible(page_of(tmp_path, root))
    assert "state ended with an error error RunError: the disk is full" in said


def test_damage_is_said(tmp_path):
    root = page_runs.run_folder(tmp_path / "small")
    path = root / "zero" / "metrics.jsonl"
    path.write_text("not json\n[1]\n" + path.read_text() + '{"step": 5, "rew')
    (root / "zero" / "rollouts" / "step_000001.parquet").write_bytes(b"PAR1 torn")
    said = visible(page_of(tmp_path, root))
    assert "zero/metrics.jsonl: 2 damaged lines left out" in said
    assert "zero/rollouts/step_000001.parquet: cannot be read" in said
    assert "held-out pass@1 25.0 % [15.0, 35.0] → 75.0 %" in said


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_file_may_be_missing_or_torn(tmp_path_factory, data):
    """Whatever is cut off or gone, there is a page."""
    tmp_path = tmp_path_factory.mktemp("torn")
    root = page_runs.run_folder(tmp_path / "small", steps=2)
    paths = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "recipe.toml")
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=5, unique=True)):
        whole = path.read_bytes()
        at = data.draw(st.integers(-1, len(whole) - 1))
        if at < 0:
            path.unlink()
        else:
            path.write_bytes(whole[:at])
    assert visible(page_of(tmp_path, root)).startswith("Run: small")


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_field_may_hold_anything(tmp_path_factory, data):
    """Rows whose fields are of other types than ours make a page, and valid JSON in it."""
    tmp_path = tmp_path_factory.mktemp("odd")
    root = page_runs.run_folder(tmp_path / "small", steps=1)
    rollout, row = page_runs.answer(1, "q1", 0), page_runs.metrics(1)
    event = {"event": "alert", "step": 1, "name": "n", "text": "t", "samples": [["q1", 0]]}
    for changed in (rollout, row, event):
        for key in data.draw(st.lists(st.sampled_from(sorted(changed)), max_size=4)):
            changed[key] = data.draw(odd)
    page_runs.lines(root / "zero" / "rollouts" / "step_000001.jsonl", [rollout])
    page_runs.lines(root / "zero" / "metrics.jsonl", [row])
    page_runs.lines(root / "events.jsonl", [{"event": "start", "stage": "zero"}, event])
    for name in ("data.json", "DONE", "resolved.json", "eval/step_000000/result.json"):
        (root / "zero" / name).write_text(json.dumps(data.draw(odd)))
    embedded(page_of(tmp_path, root))


def test_what_cannot_be_reported(tmp_path):
    page_runs.run_folder(tmp_path / "small")
    with pytest.raises(RunError, match=r"no recipe.toml; runs in .*: small"):
        report([tmp_path / "smal"], tmp_path / "out.html")
    with pytest.raises(RunError, match="0 runs"):
        report([], tmp_path / "out.html")
    with pytest.raises(RunError, match="5 runs"):
        report([tmp_path / "small"] * 5, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()
