"""What a stage took: counted over attempts, up to a kill, with its children, and shown as a table."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from aha.config import resolve
from aha.stages import cost
from aha.stages.cost import Cost, metered
from aha.stages.run_folder import opened
from aha.tally import TALLY


def spent(folder):
    return json.loads((folder / "cost.json").read_text())


def test_tokens_of_an_attempt_are_those_counted_inside(tmp_path):
    TALLY.sampled += 1000  # of a stage before
    with metered(tmp_path, 1):
        TALLY.sampled += 30
        TALLY.trained += 7
    TALLY.trained += 1000
    said = spent(tmp_path)
    assert (said["tokens_sampled"], said["tokens_trained"], said["gpu_s"]) == (30, 7, 0.0)
    assert said["wall_s"] >= 0
    assert said["peak_memory_bytes"] > 10_000_000  # a Python process with pytest


def test_attempts_add_up_and_the_peak_is_the_largest(tmp_path):
    for attempt, tokens in ((1, 5), (3, 8)):
        with metered(tmp_path, attempt):
            TALLY.sampled += tokens
    said = spent(tmp_path)
    assert sorted(said["attempts"]) == ["1", "3"]
    assert said["tokens_sampled"] == 13
    peaks = [one["peak_memory_bytes"] for one in said["attempts"].values()]
    assert said["peak_memory_bytes"] == max(peaks)
    assert cost.total(tmp_path).tokens_sampled == 13


def test_the_sum_by_hand():
    a = Cost(wall_s=1.0, cpu_s=2.0, tokens_sampled=3, peak_memory_bytes=10)
    b = Cost(wall_s=0.5, gpu_s=4.0, tokens_trained=5, peak_memory_bytes=7)
    assert a + b == Cost(
        wall_s=1.5, cpu_s=2.0, gpu_s=4.0, tokens_sampled=3, tokens_trained=5, peak_memory_bytes=10
    )


BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_processor_time_of_children_counts_once_they_end(tmp_path):
    with metered(tmp_path, 1):
        subprocess.run([sys.executable, "-c", BUSY], check=True)
    assert spent(tmp_path)["cpu_s"] >= 0.25  # clock ticks are coarse


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processor_time_of_a_child_counts_while_it_runs_and_not_twice(tmp_path):
    """A grader lives as long as its stage: a kill must not lose what it took."""
    code = BUSY + "print('busy', flush=True)\ntime.sleep(60)\n"
    with metered(tmp_path, 1) as meter:
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            assert child.stdout.readline() == b"busy\n"
            meter.beat()
            running = spent(tmp_path)["cpu_s"]
            assert running >= 0.25
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
        meter.beat()
        assert running <= spent(tmp_path)["cpu_s"] < running + 0.25


KILLED = """
import sys, time
from pathlib import Path
from aha.stages.cost import metered
from aha.tally import TALLY
with metered(Path(sys.argv[1]), 1, every=0.02):
    TALLY.sampled += 41
    print("counted", flush=True)
    time.sleep(60)
"""


def test_a_killed_attempt_counts_up_to_its_last_heartbeat(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"counted\n"
        until = time.monotonic() + 30
        while cost.total(tmp_path).tokens_sampled != 41 and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    with metered(tmp_path, 2):
        TALLY.sampled += 1
    assert spent(tmp_path)["tokens_sampled"] == 42


def test_an_event_at_a_checkpoint_writes_it_down(tmp_path):
    made = resolve({"zero": {"steps": 1}, "threads": 1})
    root = tmp_path / "run"
    with opened(root, made) as folder:
        from aha.stages import dag

        node = dag.graph(made)[-1]
        with folder.metered(node):
            folder.event("checkpoint", step=0)
            assert not (root / "zero").exists()  # the meter makes no folder of a stage
            folder.begin(node)
            TALLY.trained += 9
            folder.event("checkpoint", step=0)
            assert spent(root / "zero")["tokens_trained"] == 9
        folder.event("checkpoint", step=1)  # no stage under way: nothing is written


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"attempts": 3}', '{"attempts": {"1": {}}}', '{"attempts": {"x": 1}}'],
)
def test_a_damaged_file_costs_the_count_and_nothing_else(tmp_path, text):
    (tmp_path / "cost.json").write_text(text)
    assert cost.attempts(tmp_path) == {}
    with metered(tmp_path, 2):
        TALLY.sampled += 3
    assert spent(tmp_path)["tokens_sampled"] == 3


def test_a_cost_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(cost.files, "write_json", full)
    with metered(tmp_path, 1) as meter:
        pass
    assert meter.total.wall_s >= 0


def write(folder, name, attempts):
    (folder / name).mkdir(parents=True)
    every = {str(i): one for i, one in enumerate(attempts, 1)}
    (folder / name / "cost.json").write_text(json.dumps({"attempts": every}))


def one(**changed):
    usual = {"wall_s": 1800.0, "cpu_s": 3000.0, "gpu_s": 0.0, "tokens_sampled": 1000}
    return usual | {"tokens_trained": 50, "peak_memory_bytes": 2 * 10**9} | changed


def test_the_table_of_a_run_by_hand(tmp_path):
    root = tmp_path / "run"
    made = resolve(
        {"sft": {"train": "x.jsonl"}, "zero": {"start": "stage:sft"}, "price_per_hour": 2.0}
    )
    write(root, "sft", [one(tokens_sampled=0), one(tokens_sampled=0, peak_memory_bytes=3 * 10**9)])
    write(root, "zero", [one()])
    write(root, "zero-0123abcd", [one(wall_s=360.0)])
    facts = cost.of_run(root, made)
    assert [(row["name"], row["attempts"], row["price"]) for row in facts["stages"]] == [
        ("sft", 2, 2.0),  # two attempts of half an hour at 2 an hour
        ("zero", 1, 1.0),
    ]
    assert [row["name"] for row in facts["set_aside"]] == ["zero-0123abcd"]
    assert facts["total"] == {
        "wall_s": 5760.0,
        "cpu_s": 12000.0,
        "gpu_s": 0.0,
        "tokens_sampled": 2000,
        "tokens_trained": 200,
        "peak_memory_bytes": 3 * 10**9,
        "price": 3.2,
    }
    text = cost.lines(facts)
    assert "GPU" not in text[1]  # nowhere used
    assert text[-1].split() == ["total", "1h36m", "3h20m", "2,000", "200", "3.00", "3.20"]
    free = cost.of_run(root, made.model_copy(update={"price_per_hour": 0.0}))
    assert "price" not in "\n".join(cost.lines(free))
    assert free["total"]["price"] is None


def test_what_measures_took_is_a_row_of_its_own(tmp_path):
    root = tmp_path / "run"
    write(root, "zero", [one()])
    write(root, "zero/measures", [one(tokens_sampled=9)])
    write(root, "measures/base", [one(tokens_sampled=5)])
    facts = cost.of_run(root, resolve({"zero": {}}))
    assert [(row["name"], row["tokens_sampled"]) for row in facts["stages"]] == [
        ("base measures", 5),
        ("zero", 1000),
        ("zero measures", 9),
    ]
    assert facts["total"]["tokens_sampled"] == 1014


def test_the_sentence_at_the_end_of_a_stage():
    small = Cost(wall_s=90.0, cpu_s=150.0, tokens_sampled=12345, peak_memory_bytes=910_000_000)
    assert cost.sentence(small) == (
        "cost: 1m30s, 2m30s of processor, 12,345 tokens sampled, 0.91 GB at the peak"
    )
    assert cost.sentence(small, 2.0).endswith(", price 0.0500 at 2 an hour")
    gpu = Cost(wall_s=7200.0, gpu_s=7000.0, tokens_trained=5)
    assert "1h56m of GPU, 5 tokens trained" in cost.sentence(gpu)


def test_a_gpu_counts_while_it_holds_or_was_given_memory(tmp_path, monkeypatch):
    """What torch says of a GPU is given: (allocations ever made, is memory held)."""
    said = [(0, False)]
    monkeypatch.setattr(cost, "_gpu_marks", lambda: list(said))
    clock = iter([0.0, 10.0, 30.0, 60.0, 100.0])
    monkeypatch.setattr(cost.time, "monotonic", lambda: next(clock))
    meter = cost.Meter(tmp_path, 1)  # at 0
    meter.beat()  # 10: nothing was on the GPU
    said[0] = (5, False)
    meter.beat()  # 30: something was, and went again
    said[0] = (5, True)
    meter.beat()  # 60: something is
    said[0] = (5, False)
    meter.beat()  # 100: nothing new was made
    assert spent(tmp_path)["gpu_s"] == 20 + 30
    assert spent(tmp_path)["wall_s"] == 100


def test_the_command_prints_table_and_json(tmp_path, capsys):
    from aha.__main__ import _run

    root = tmp_path / "run"
    with opened(root, resolve({"zero": {}, "price_per_hour": 1.0})):
        pass
    write(root, "zero", [one()])
    assert _run(["cost", str(root)], debug=True) == 0
    assert "zero" in capsys.readouterr().out
    assert _run(["cost", str(root), "--price", "4", "--json"], debug=True) == 0
    assert json.loads(capsys.readouterr().out)["total"]["price"] == 2.0
    assert _run(["cost", str(tmp_path)], debug=False) == 1
    assert "not a run folder" in capsys.readouterr().err
