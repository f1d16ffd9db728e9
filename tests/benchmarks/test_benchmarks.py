"""Statistics, work, formulas and tables of the benchmarks; that every script runs (quick, aha alone)."""

import json
import math
import random
import re
import sys

import pytest
import torch

from benchmarks import (
    environments,
    gpu,
    gradients,
    grpo_step,
    measure,
    rollout,
    roofline,
    scaling,
    table,
    tiny,
    work,
    workers,
)

MACHINE = {"cpu", "cores", "flags", "memory_gb", "system"}
FIELDS = {"name", "claim", "commit", "machine", "versions", "seed", "threads", "busy", "command"}


# -- statistics -------------------------------------------------------------------------------------


def test_spread_of_rounds():
    assert measure.spread([3, 1, 10, 2]) == {"median": 2.5, "min": 1, "max": 10} | {
        "rounds": [3, 1, 10, 2]
    }
    assert measure.rate(100, [2.0, 4.0, 5.0])["median"] == 25.0
    assert measure.shown(measure.rate(100, [2.0, 4.0, 5.0])) == "25 [20, 50]"
    with pytest.raises(ValueError, match="no round"):
        measure.spread([])


def test_contestants_by_beginning_of_name():
    names = ["aha/bfloat16", "aha/float32", "vllm/bfloat16"]
    assert measure.chosen(names, None) == names
    assert measure.chosen(names, ["aha"]) == names[:2]
    with pytest.raises(SystemExit, match="no contestant 'verl'; there are aha/bfloat16"):
        measure.chosen(names, ["verl"])


def test_machine_and_how_busy_it_is():
    assert set(measure.machine()) == MACHINE
    assert set(measure.machine()["flags"]) >= {"avx512_bf16", "amx_bf16"}
    share = measure.others_share(0.05)
    assert share is None or 0 <= share <= 1


def test_rounds_alternate_and_the_warm_up_is_not_kept():
    order = []

    def contestant(name):
        return lambda number: order.append((number, name)) or number

    kept = workers.in_turns(2, {"a": contestant("a"), "b": contestant("b")}, told=False)
    assert kept == {"a": [1, 2], "b": [1, 2]}
    assert order == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]
    order.clear()
    assert workers.in_turns(1, {"a": contestant("a")}, warm_up=False, told=False) == {"a": [1]}
    assert order == [(1, "a")]


def test_long_rounds_are_three(capsys):
    kept = workers.in_turns(5, {"a": lambda number: number}, minutes=0.0, told=False)
    assert kept == {"a": [1, 2, 3]}
    assert "3 of 5 rounds" in capsys.readouterr().err
    assert len(workers.in_turns(5, {"a": lambda number: number}, minutes=1.0, told=False)["a"]) == 5


def test_the_fastest_of_each_family_goes_on():
    seconds = {"aha/float32": 3.0, "aha/bfloat16": 2.0, "vllm/bfloat16": 4.0, "vllm/float32": 9.0}
    seconds["vllm/bfloat16+logprobs"] = 5.0
    assert rollout.fastest(seconds) == ["aha/bfloat16", "vllm/bfloat16", "vllm/bfloat16+logprobs"]


def case(prompt, answer, answers=64):
    lengths = tuple((answer,) * 8 for _ in range(answers // 8))
    prompts = ((1,) * prompt,) * len(lengths)
    texts = ("",) * len(lengths)
    return work.Work(case="short", texts=texts, prompts=prompts, golds=texts, lengths=lengths)


def searched(monkeypatch, taken):
    """What a search finds where (precision or "", batch) takes so long."""

    def tried(folder, asked, threads, settings, limit):
        batch = settings["per_device_train_batch_size"]
        precision = "autocast" if settings.get("bf16") else "other"
        if (precision, batch) not in taken:
            return {"failed": "out of memory"}
        return {"seconds": taken[precision, batch], "peak_rss": 10**9 * (4 + batch)}

    monkeypatch.setattr(grpo_step, "_tried", tried)
    return grpo_step.search("", case(30, 128), 2, grpo_step.BATCHES, 10**11)


def test_trl_is_searched_from_the_middle(monkeypatch):
    taken = {("autocast", 16): 10.0, ("autocast", 32): 9.0, ("autocast", 64): 9.5}
    found = searched(monkeypatch, taken | {("other", 16): 20.0})
    assert (found["precision"], found["batch"]) == ("autocast", 32)
    tried = [(row["precision"], row["batch"]) for row in found["search"]]
    assert tried[:4] == [("autocast", 16), ("float32", 16), ("autocast", 32), ("autocast", 64)]
    assert tried[4:] == [("bfloat16", 32), ("defaults", 8)]
    down = {("autocast", 16): 10.0, ("autocast", 8): 8.0, ("autocast", 4): 8.5}
    assert searched(monkeypatch, down)["batch"] == 8
    with pytest.raises(SystemExit, match="no configuration of TRL ran"):
        searched(monkeypatch, {})


def test_longer_cases_take_batches_that_fit(monkeypatch):
    taken = {("autocast", 16): 8.0, ("autocast", 32): 9.0}
    found = searched(monkeypatch, taken)  # 4 GB and one for each row of 158 tokens
    first = case(30, 128)

    def batch(asked, room):
        return grpo_step.batch_for(asked, first, found, grpo_step.BATCHES, room)

    room = int(20.1e9 / grpo_step.HEADROOM)
    assert batch(first, room) == 16
    assert batch(case(188, 128), room) == 8  # twice the tokens of a row
    assert batch(case(188, 128), 10**9) == 4  # nothing fits: the smallest is tried
    assert grpo_step.batch_for(first, first, {"batch": 16}, grpo_step.BATCHES, 1) == 16


def test_table_is_aligned():
    lines = measure.table(["name", "x"], [["a", "1"], ["long name", "22"]]).splitlines()
    assert lines == ["name        x", "---------  --", "a           1", "long name  22"]


# -- work -------------------------------------------------------------------------------------------


def test_ragged_lengths_are_log_normal_and_capped():
    lengths = work.ragged(20_000, 3)
    assert lengths == work.ragged(20_000, 3)
    assert lengths != work.ragged(20_000, 4)
    assert max(lengths) == work.CAP
    free = work.ragged(20_000, 3, cap=10**9)
    assert sum(free) / len(free) == pytest.approx(150, rel=0.03)
    logs = [math.log(n) for n in free]
    mean = sum(logs) / len(logs)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in logs) / len(logs))
    assert deviation == pytest.approx(0.8, rel=0.03)


def test_token_reward_tells_answers_apart():
    rng = random.Random(0)
    answers = [tuple(rng.randrange(50) for _ in range(8)) for _ in range(4000)]
    rewards = {work.token_reward(answer) for answer in set(answers)}
    assert len(rewards) >= len(set(answers)) - 4  # 2^32 values: a collision is rare
    assert all(0 <= reward < 1 for reward in rewards)
    assert work.token_reward([0]) != work.token_reward([0, 0])


def test_built_in_problems_are_whole():
    problems = json.loads(work.PROBLEMS.read_text("utf-8"))
    assert len(problems) == 16
    assert len({problem["question"] for problem in problems}) == 16
    assert all(re.fullmatch(r"\d+", problem["answer"]) for problem in problems)


def test_work_survives_its_way_through_json():
    made = work.Work(
        case="x", texts=("a",), prompts=((1, 2),), golds=("3",), lengths=((4, 5), (6, 7))
    )
    assert work.of_dict(json.loads(json.dumps(made.as_dict()))) == made
    assert (made.answers, made.answer_tokens, made.longest) == (4, 22, 7)
    assert made.facts()["histogram"]["1-64"] == 4


# -- formulas ---------------------------------------------------------------------------------------

SHAPES = {"body": 10, "head": 7, "weight_bytes": 100, "layers": 2, "attention_width": 3}
TWO = work.Work(case="x", texts=("",), prompts=((1, 2, 3),), golds=("",), lengths=((2, 1),))


def test_pairs_counts_every_visible_key():
    prompt, answers = 3, (2, 1)
    slow = sum(p + 1 for p in range(prompt))
    slow += sum(prompt + t + 1 for n in answers for t in range(n))
    assert roofline.pairs(prompt, answers) == slow == 19


def test_operations_of_an_update_by_hand():
    # 6 stream tokens, 3 scored, 19 pairs: 6*10*6 + 6*7*3 + 12*2*3*19
    assert roofline.update_flops(SHAPES, TWO) == 360 + 126 + 1368


def test_least_seconds_of_a_rollout_by_hand():
    asked = {"steps": 2, "kv_token_bytes": 5}
    # prefill: 2*10*3 + 24*6 pairs; decode: products 2*17*3 + 24*(4 own + 9 prompt) = 414,
    # bytes 100*2 + 5*(4 own + 3*2 shared) = 250
    slow_products = roofline.rollout_seconds(SHAPES, TWO, **asked, flops=1, bandwidth=1e9)
    assert slow_products == 204 + 414
    slow_memory = roofline.rollout_seconds(SHAPES, TWO, **asked, flops=1e9, bandwidth=1)
    assert slow_memory == pytest.approx(250)


def test_verdict_on_a_series():
    assert scaling.verdict([10, 9, 8])["flat"]
    assert not scaling.verdict([10, 12, 9])["flat"]
    assert scaling.verdict([10, 12, 9])["last_over_first"] == 0.9


def test_gradients_are_compared_by_direction_and_size():
    a = {"x": torch.tensor([3.0, 0.0]), "y": torch.tensor([4.0])}
    same = gradients.compare(a, a)
    assert (same["cosine"], same["error"], same["norm"]) == (pytest.approx(1), 0, 5)
    double = gradients.compare({name: 2 * value for name, value in a.items()}, a)
    assert (double["cosine"], double["error"]) == (pytest.approx(1), pytest.approx(1))
    off = gradients.compare({"x": torch.tensor([3.0, 0.5]), "y": a["y"]}, a)
    assert off["error"] == pytest.approx(0.1)
    assert off["worst_error"] == pytest.approx(0.5 / 3)
    with pytest.raises(ValueError, match="one side only: y"):
        gradients.compare({"x": a["x"]}, a)


# -- environments and processes -----------------------------------------------------------------------


def test_requirements_of_vllm_that_are_taken():
    listed = [
        "numpy",
        "torch==2.13.0+cpu; platform_machine == 'x86_64'",
        "torchvision; platform_machine != 'riscv64'",
        "torchaudio",
        "torchcodec>=0.14",
        'scipy; extra == "audio"',
        "fastapi[standard]<0.137.0",
    ]
    assert environments.wanted(listed) == ["numpy", "fastapi[standard]<0.137.0"]


def test_a_worker_answers_fails_and_ends(tmp_path, monkeypatch):
    (tmp_path / "echo_worker.py").write_text(
        "import os\n"
        "from benchmarks import workers\n"
        "def say(x):\n"
        "    print('noise on standard output')\n"
        "    return {'x': x + 1, 'threads': os.environ['OMP_NUM_THREADS']}\n"
        "def die():\n"
        "    print('last words')\n"
        "    os._exit(3)\n"
        "def bad():\n"
        "    raise ValueError('wrong')\n"
        "workers.serve({'say': say, 'die': die, 'bad': bad})\n"
    )
    # a worker starts in ROOT and imports from there
    monkeypatch.setattr(workers, "ROOT", tmp_path)
    monkeypatch.setattr(workers, "LOGS", tmp_path / "logs")
    (tmp_path / "benchmarks").symlink_to(measure.ROOT / "benchmarks")
    with workers.Worker("echo", sys.executable, "echo_worker", threads=1) as worker:
        answer = worker.ask("say", x=1)
        assert (answer["x"], answer["threads"]) == (2, "1")
        assert answer["peak_rss"] > 1 << 20
        with pytest.raises(workers.WorkerError, match="ValueError: wrong"):
            worker.ask("bad")
        assert worker.ask("say", x=5)["x"] == 6
        with pytest.raises(workers.WorkerError, match=r"ended with code 3[^$]*last words"):
            worker.ask("die")
    assert worker.process.poll() == 3


# -- the table ------------------------------------------------------------------------------------------


def test_table_of_targets_from_results(tmp_path, capsys):
    over = {"aha_over": {"vllm/bfloat16": 2.3, "transformers.generate/bfloat16": 1.5}}
    result = {"name": "rollout", "quick": False, "busy": True, "cases": {"equal": over}}
    (tmp_path / "rollout.json").write_text(json.dumps(result))
    (tmp_path / "tiny_quick.json").write_text(json.dumps({"name": "tiny", "quick": True}))
    (tmp_path / "pretrain.json").write_text(json.dumps({"another": "layout"}))
    table.main(["--results", str(tmp_path), "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [(row["claim"], row["measured"], row["reached"]) for row in rows] == [
        ("rollout, equal: x vllm/bfloat16", 2.3, True),
        ("rollout, equal: x transformers.generate/bfloat16", 1.5, False),
    ]
    table.main(["--results", str(tmp_path)])
    said = capsys.readouterr().out
    assert "not measured yet: python -m benchmarks.tiny" in said
    assert "rollout: the machine was busy" in said


def test_memory_is_compared_with_the_tuned_peer(tmp_path, capsys):
    figures = {
        "aha/float32": {"seconds": {"median": 9.0}, "peak_rss": 9e9},
        "aha/bfloat16": {"seconds": {"median": 4.0}, "peak_rss": 3e9},
        "trl/tuned": {"seconds": {"median": 12.0}, "peak_rss": 5e9},
    }
    step = {"contestants": figures, "aha_over": {"trl/tuned": 3.0}}
    result = {"name": "grpo_step", "quick": False, "cases": {"short": {"duels": [{"step": step}]}}}
    (tmp_path / "grpo_step.json").write_text(json.dumps(result))
    table.main(["--results", str(tmp_path), "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [(row["claim"], row["measured"], row["reached"]) for row in rows] == [
        ("step, short: x trl/tuned", 3.0, True),
        ("peak memory, short: of trl/tuned", 0.6, False),
    ]


# -- the scripts ----------------------------------------------------------------------------------------

QUICK = ["--quick", "--model", "aha:base", "--threads", "1"]


def result_of(script, tmp_path, *more):
    path = tmp_path / "result.json"
    script.main([*QUICK, *more, "--out", str(path)])
    result = json.loads(path.read_text())
    assert result.keys() >= FIELDS
    assert set(result["machine"]) == MACHINE
    assert result["versions"].keys() >= {"torch", "transformers"}
    return result


def test_rollout_runs_with_aha_alone(tmp_path, capsys):
    more = ["--cases", "short", "--contestants", "aha/float32"]
    result = result_of(rollout, tmp_path, *more)
    figures = result["cases"]["short"]["contestants"]["aha/float32"]
    assert figures["tokens_per_s"].keys() == {"median", "min", "max", "rounds"}
    assert figures["peak_rss"] > 1 << 27
    assert result["cases"]["short"]["work"]["answer_tokens"]["sum"] == 2 * 4 * 16
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result


@pytest.mark.slow
def test_a_whole_step_runs_with_aha_alone(tmp_path):
    more = [
        "--cases",
        "equal",
        "--update",
        "equal",
        "--flat",
        "equal",
        "--contestants",
        "aha/float32",
    ]
    (duel,) = result_of(grpo_step, tmp_path, *more)["cases"]["equal"]["duels"]
    assert duel.keys() == {"step", "update", "half_flat"}
    figure = duel["step"]["contestants"]["aha/float32"]
    halves = figure["rollout_s"]["median"] + figure["update_s"]["median"]
    assert halves <= figure["seconds"]["median"] * 1.001


@pytest.mark.slow
def test_tiny_runs_with_aha_alone(tmp_path):
    result = result_of(tiny, tmp_path, "--flat", "--contestants", "aha/float32")
    (duel,) = result["cases"]["tiny"]["duels"]
    figure = duel["step"]["contestants"]["aha/float32"]
    seconds = figure["seconds"]["median"]
    assert figure["steps_per_min"]["median"] == pytest.approx(60 / seconds)


@pytest.mark.slow
def test_roofline_runs(tmp_path):
    more = ["--cases", "ragged", "--dtypes", "float32"]
    (point,) = result_of(roofline, tmp_path, *more)["points"].values()
    assert 0 < point["update_share"]["median"] < 1
    assert 0 < point["rollout_share"]["median"] < 1


@pytest.mark.slow
def test_scaling_runs(tmp_path):
    result = result_of(scaling, tmp_path, "--series", "group")
    assert list(result["points"]) == ["group 2", "group 4"]
    for point in result["points"].values():
        assert point["predicted"]["total"] > point["kv_formula"] > 0
        assert point["peak_rss"] > point["rollout_grown"]
    assert result["verdicts"]["group"].keys() == {"rollout", "update"}
    claims = [row.claim for row in table.rows({"scaling": result})]
    assert any(claim.startswith("plan of memory off by") for claim in claims)
    assert any(claim.startswith("plan of time off by") for claim in claims)


def test_the_script_for_a_gpu_runs_without_one(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.engines, "GRAPHS", False)  # what the script sets is taken back
    path = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--quick", "--out", str(path)])
    result = json.loads(path.read_text())
    assert result.keys() >= set(gpu.PARTS) | FIELDS - {"busy"}
    assert result["decode"]["tiny 16"]["tokens_per_s"] > 0
    assert result["decode"]["tiny 16"]["generate_tokens_per_s"] > 0
    assert result["update"]["tiny 128"]["mfu"] > 0
    assert len(result["phases"]["peaks"]) == 20
    assert result["gap"]["mean"] < 0.1
    assert result["left_out"] == []


def test_the_script_for_a_gpu_refuses_to_pretend(tmp_path):
    with pytest.raises(SystemExit, match="mean nothing"):
        gpu.main(["--device", "cpu"])
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="no GPU"):
            gpu.main([])


def test_a_claim_measured_in_two_calls_is_one(tmp_path):
    for case, ratio in (("short", 2.0), ("ragged", 3.0)):
        over = {"aha_over": {"vllm/bfloat16": ratio}}
        result = {"name": "rollout", "quick": False, "cases": {case: over}}
        (tmp_path / f"rollout_{case}.json").write_text(json.dumps(result))
    rows = list(table.rows(table.read(tmp_path)))
    assert {row.claim: row.measured for row in rows} == {
        "rollout, short: x vllm/bfloat16": 2.0,
        "rollout, ragged: x vllm/bfloat16": 3.0,
    }


def test_table_of_plans():
    point = {
        "peak_rss": 2e9,
        "seconds": 10.0,
        "predicted": {"total": 1.5e9, "rollout_s": 4.0, "update_s": 8.0},
    }
    rows = table.rows({"scaling": {"verdicts": {}, "points": {"group 4": point}}})
    assert [(row.claim, pytest.approx(row.measured), row.reached) for row in rows] == [
        ("plan of memory off by, group 4", 0.25, False),
        ("plan of time off by, group 4", 0.2, True),
    ]


@pytest.mark.slow
@pytest.mark.skipif(not environments.ready("trl"), reason="needs python -m benchmarks.environments")
def test_gradients_equal_those_of_trl(tmp_path):
    more = ["--cases", "equal", "--contestants", "aha/float32", "trl/tuned"]
    result = result_of(grpo_step, tmp_path, *more, "--trl", "float32:4")
    for found in result["gradient"].values():
        assert found["cosine"] >= 0.99999
        assert found["error"] <= 1e-4
