"""The parts of the report page: which groups keep their text, thinning, lineage, scales."""

import re
from itertools import pairwise

import page_runs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.report.page import answers, curves, draw, rollouts
from aha.report.page.curves import Chart, Series
from aha.report.page.lineage import stages
from aha.report.page.read import Reader, number, whole


def indexed(root, steps, groups=4, size=2, **changed):
    for step in range(1, steps + 1):
        rows = [
            page_runs.answer(step, f"{step}/{g}", k, **changed)
            for g in range(groups)
            for k in range(size)
        ]
        page_runs.write_step(root, step, rows, advantages=False)
    return rollouts.index(Reader(root), root / "rollouts")


def test_every_answer_is_counted_and_groups_are_found(tmp_path):
    found = indexed(tmp_path, 3, groups=4, size=5)
    assert found.answers == 60
    assert len(found.places) == 12
    assert len(found.prompts) == 12
    assert found.statuses == {"correct": 36, "wrong": 24}
    first = found.steps[0]
    assert (first["answers"], first["groups"]) == (20, 4)
    # 10..14 tokens, four times each: the second and the last of ten
    assert (first["tokens_p10"], first["tokens_p50"], first["tokens_p90"]) == (10, 12, 14)
    assert first["tokens_mean"] == 12
    assert found.by["area"]["math"] == [60, 36, 60, 720]


def test_a_question_asked_again_is_another_group(tmp_path):
    rows = [page_runs.answer(1, "q", k) for k in (0, 1)]
    rows += [page_runs.answer(1, "q", k) for k in (0, 1)]  # the same question once more
    rows += [page_runs.answer(1, "q", k, attempt=1) for k in (2, 3)]  # drawn anew
    page_runs.write_step(tmp_path, 1, rows, advantages=False)
    found = rollouts.index(Reader(tmp_path), tmp_path / "rollouts")
    assert [place.number for place in found.places] == [0, 1, 2]


def test_what_is_named_comes_first_and_the_rest_in_even_steps(tmp_path):
    found = indexed(tmp_path, 100)
    size = found.sizes[found.places[0]]
    chosen = rollouts.choose(found, [(33, "33/2"), (7, "none such")], 130 * size)
    order = list(chosen.why)
    assert order[0] == rollouts.Place(33, 2)
    assert chosen.why[order[0]][0] == "alert"
    there = {place.step for place in order}
    assert {1, 2, 99, 100} <= there
    assert len(there) >= rollouts.ENOUGH_STEPS
    assert chosen.each in (1, 2, 4)  # not all groups of a few steps
    sampled = sorted({p.step for p, why in chosen.why.items() if "sampled" in why})
    assert {b - a for a, b in pairwise(sampled)} <= {
        chosen.every,
        2 * chosen.every,
        3 * chosen.every,
    }


def test_best_and_worst_paid(tmp_path):
    for step in range(1, 60):
        rows = [page_runs.answer(step, f"{step}", k, reward=0.5, status="wrong") for k in range(2)]
        if step == 30:
            rows[1] |= {"reward": 9.0}
        if step == 31:
            rows[1] |= {"reward": -9.0}
        if step == 32:
            rows[1] |= {"reward": 99.0, "valid": False}  # no verdict: not a reward
        page_runs.write_step(tmp_path, step, rows, advantages=False)
    found = rollouts.index(Reader(tmp_path), tmp_path / "rollouts")
    assert max(found.paid["best paid"])[0] == 9.0
    assert max(found.paid["worst paid"])[0] == 9.0  # its reward is the lowest
    chosen = rollouts.choose(found, [], 10**9)
    assert {"best paid", "best paid, not right"} <= set(chosen.why[rollouts.Place(30, 0)])
    assert chosen.why[rollouts.Place(31, 0)][0] == "worst paid"


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(0, 120),
    groups=st.integers(1, 10),
    budget=st.integers(0, 400_000),
    sizes=st.randoms(use_true_random=False),
)
def test_choosing_keeps_to_its_budget(steps, groups, budget, sizes):
    found = rollouts.Index()
    for step in range(1, steps + 1):
        found.files[step] = None
        for at in range(groups):
            place = rollouts.Place(step, at)
            found.places.append(place)
            found.sizes[place] = sizes.randint(1, 9000)
            found.ids[place] = f"{step}/{at}"
    chosen = rollouts.choose(found, [(1, "1/0")], budget)
    assert sum(found.sizes[place] for place in chosen.why) <= budget
    if sum(found.sizes.values()) * 2 <= budget:
        assert len(chosen.why) == len(found.places)


def test_advantages_come_by_row_and_name(tmp_path):
    rows = [page_runs.answer(1, "a", 0), page_runs.answer(1, "a", 1), page_runs.answer(1, "b", 0)]
    page_runs.write_step(tmp_path, 1, rows)
    reader = Reader(tmp_path)
    found = rollouts.index(reader, tmp_path / "rollouts")
    made = answers.texts(reader, found, rollouts.choose(found, [], 10**6), ("think", "answer"))
    assert [a["advantage"] for group in made.values() for a in group["answers"]] == [
        0.25,
        -0.75,
        0.25,
    ]
    # a table of other rows says nothing of these
    page_runs.write_step(tmp_path, 1, rows[1:])
    other = (tmp_path / "rollouts" / "step_000001.parquet").read_bytes()
    page_runs.write_step(tmp_path, 1, rows)
    (tmp_path / "rollouts" / "step_000001.parquet").write_bytes(other)
    made = answers.texts(reader, found, rollouts.choose(found, [], 10**6), ("think", "answer"))
    assert not [a for group in made.values() for a in group["answers"] if "advantage" in a]


# -- curves ------------------------------------------------------------------------------------------------


def stage(rows):
    return {"rows": rows, "steps": []}


def test_every_number_is_in_a_chart():
    rows = [{"step": 1, "reward/mean": 0.5, "reward/safety/mean": 0.1, "new/kind_of/number": 3.0}]
    named = {one.label for chart in curves.charts(stage(rows)) for one in chart.series}
    assert named == {"reward", "safety"}
    assert [chart.title for chart in curves.other_charts(stage(rows))] == ["new/kind_of/number"]


def test_units_are_those_that_are_declared():
    assert curves.unit("policy/gap/mean") == "nats/token"
    assert curves.unit("new/kind_of/number") == ""


def test_thinning_is_the_mean_of_what_is_known():
    rows = [{"step": i, "policy/kl/mean": float(i % 2)} for i in range(1, 601)]
    rows[0].pop("policy/kl/mean")
    (chart,) = curves.charts(stage(rows))
    assert len(chart.steps) == curves.MOST
    assert (chart.steps[0], chart.steps[-1]) == (2, 600)
    assert chart.series[0].values[:3] == (0.0, 0.5, 0.5)  # step 1 is not known
    assert chart.note == "each point is the mean of about 2 steps"


def test_compared_runs_share_the_axis():
    one = Chart("Entropy", "nats/token", (1, 2), (Series("entropy", (1.0, 2.0)),))
    other = Chart("Entropy", "nats/token", (2, 4), (Series("entropy", (5.0, 6.0)),))
    (both,) = curves.compared([("a", [one]), ("b", [other])])
    assert both.steps == (1, 2, 4)
    assert [(s.label, s.values) for s in both.series] == [
        ("a", (1.0, 2.0, None)),
        ("b", (None, 5.0, 6.0)),
    ]
    assert curves.compared([("a", [one]), ("b", [])]) == []


finite = st.floats(-1e12, 1e12) | st.none()


@settings(max_examples=150)
@given(
    st.integers(1, 30).flatmap(
        lambda n: st.lists(st.lists(finite, min_size=n, max_size=n), min_size=1, max_size=9)
    ),
    st.booleans(),
)
def test_any_values_can_be_drawn(columns, stacked):
    """All within the frame, no matter how large, flat or unknown."""
    steps = tuple(range(0, 7 * len(columns[0]), 7))
    series = tuple(Series(f"s{i}", tuple(values)) for i, values in enumerate(columns))
    drawn = draw.chart(Chart("t", "u", steps, series, stacked=stacked))
    assert "nan" not in drawn
    assert "inf" not in drawn
    for x, y in re.findall(
        r'<circle[^>]*cx="([^"]*)" cy="([^"]*)"', drawn[drawn.index('viewBox="0 0 600') :]
    ):
        assert 0 <= float(x) <= draw.WIDTH
        assert 0 <= float(y) <= draw.HEIGHT


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_and_inside(low, size):
    found = draw.ticks(low, low + size)
    assert 2 <= len(found) <= 9
    assert found == sorted(found)
    slack = 1e-6 * size + 1e-12 * abs(low)  # as far as floats can tell
    assert low - slack <= found[0]
    assert found[-1] <= low + size + slack


# -- lineage -----------------------------------------------------------------------------------------------


def test_stages_and_what_they_start_from():
    found = stages(
        {
            "model": {"path": "stage:pretrain"},
            "pretrain": {},
            "sft": {"train": "a.jsonl"},
            "zero": {"start": "stage:sft"},
            "stage": {
                "mix": {
                    "kind": "mix",
                    "parts": [{"file": "stage:zero?n=3"}, "stage:sft", "stage:nowhere"],
                }
            },
        }
    )
    assert [(s.name, s.kind, s.parents, s.depth) for s in found] == [
        ("pretrain", "pretrain", (), 0),
        ("sft", "sft", ("pretrain",), 1),
        ("zero", "zero", ("sft",), 2),
        ("mix", "mix", ("zero", "sft", "pretrain"), 3),
    ]


def test_a_circle_of_stages_ends():
    found = stages({"stage": {"a": {"start": "stage:b"}, "b": {"start": "stage:a"}}})
    assert {s.name: s.parents for s in found} == {"a": ("b",), "b": ("a",)}
    assert max(s.depth for s in found) <= 2


def test_folders_stand_for_a_lost_recipe():
    assert [s.name for s in stages({}, ["zero"])] == ["zero"]


@pytest.mark.parametrize(
    "value, found",
    [
        (1, 1.0),
        (0.5, 0.5),
        (True, None),
        ("1", None),
        (float("nan"), None),
        (10**400, None),
        (None, None),
    ],
)
def test_a_number_is_a_finite_number(value, found):
    assert number(value) == found


def test_a_whole_number_is_one():
    assert [whole(v) for v in (3, 3.0, 3.5, 1e300, "3")] == [3, 3, None, None, None]


def test_huge_numbers_have_ticks_and_means():
    from aha.report.curves import mean
    from aha.report.page.draw import ticks

    assert ticks(179769314, 179769314, 8) == [179769314, 179769314]
    assert mean([8.98e307] * 3) == 8.98e307
