"""Run folders as a run leaves them, made without running: for the tests of the page."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

RECIPE = """
name = "small"
seed = 3
[model]
path = "aha:base"
[data]
train = ["arithmetic", "countdown"]
think_tag = "think"
answer_tag = "answer"
[zero]
steps = 4
"""


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def answer(step, prompt, sample, **changed):
    """A rollout row; right when the sample number is even."""
    right = sample % 2 == 0
    row = {
        "prompt_id": prompt,
        "sample": sample,
        "attempt": 0,
        "question": f"What is {step} + {sample}?",
        "gold": str(step),
        "kind": "math",
        "source": "arithmetic",
        "lang": "en",
        "domain": "sums",
        "area": "math",
        "prefill": "",
        "text": f"<think>thought {step}/{prompt}/{sample}</think> <answer>{step}</answer>",
        "tokens": 10 + sample,
        "stopped": "eos",
        "policy_version": step - 1,
        "status": "correct" if right else "wrong",
        "extracted": str(step),
        "reason": "equal" if right else "not_equal",
        "parts": {"accuracy": float(right), "format": 1.0},
        "reward": 1.5 if right else 0.5,
        "valid": True,
    }
    return row | changed


def write_step(folder, step, rows, *, advantages=True):
    """The rollout files of a step."""
    lines(folder / "rollouts" / f"step_{step:06d}.jsonl", rows)
    if advantages:
        table = pa.table(
            {
                "prompt_id": [row["prompt_id"] for row in rows],
                "sample": [row["sample"] for row in rows],
                "token_ids": [[1, 2] for _ in rows],
                "logprobs": [[-0.5, -0.5] for _ in rows],
                "advantage": [0.25 if row["status"] == "correct" else -0.75 for row in rows],
            }
        )
        pq.write_table(table, folder / "rollouts" / f"step_{step:06d}.parquet")


def metrics(step, reward=0.5, **more):
    return {
        "step": step,
        "attempt": 1,
        "time": 1_700_000_000.0 + 60 * step,
        "reward/mean": reward,
        "reward/accuracy/mean": 0.25,
        "grade/correct/share": 0.25,
        "group/all_right/share": 0.25,
        "group/informative/share": 0.5,
        "group/all_wrong/share": 0.25,
        "rollout/tokens/mean": 12.0,
        "policy/entropy/mean": 1.25,
        "policy/kl/mean": 0.01,
        "rate/rollout_tokens_per_s": 321.0,
        "time/step_s": 60.0,
        "data/cursor": 4.0 * step,
        **more,
    }


def held(p):
    return {
        "heldout/pass_at_1": p,
        "heldout/pass_at_1_low": p - 0.1,
        "heldout/pass_at_1_high": p + 0.1,
    }


def evaluation(folder, step, p):
    place = folder / "eval" / f"step_{step:06d}"
    rows = [
        {
            "problem": f"held-{i}",
            "sample": k,
            "question": f"Held out {i}?",
            "gold": "1",
            "response": f"<think>hm</think><answer>{k}</answer>",
            "tokens": 5,
            "stopped": "eos",
            "status": "correct" if k == 1 else "wrong",
            "extracted": str(k),
            "reason": "",
            "correct": k == 1,
        }
        for i in range(3)
        for k in range(2)
    ]
    lines(place / "samples.jsonl", rows)
    cell = {"pass_at_1": p, "low": p - 0.1, "high": p + 0.1, "problems": 3}
    result = {
        "numbers": {"pass_at_1": p, "problems": 3},
        "receipt": {"k": 2},
        "by": {"domain": {"sums": cell, "products": cell}},
    }
    (place / "result.json").write_text(json.dumps(result))


def held_out_answer(problem, sample, **changed):
    """A row of an evaluation, of measures or of a sampling stage; right when the sample number is even."""
    right = sample % 2 == 0
    row = {
        "problem": problem,
        "sample": sample,
        "question": f"How much is {problem}?",
        "gold": "1",
        "kind": "math",
        "lang": "en",
        "domain": "sums",
        "area": "math",
        "prefill": "",
        "response": f"<think>thought {problem}/{sample}</think><answer>{sample}</answer>",
        "tokens": 5,
        "stopped": "eos",
        "status": "correct" if right else "wrong",
        "score": float(right),
        "extracted": str(sample),
        "reason": "equal" if right else "wrong_value",
        "correct": right,
    }
    return row | changed


def measured(root, stage, source, rows, facts=()):
    """Measured answers of a stage, or of a model that no stage made ("base", "sft_base")."""
    place = root / "measures" / stage if stage.endswith("base") else root / stage / "measures"
    lines(place / source / "samples.jsonl", rows)
    lines(place / source / "answers.jsonl", facts)


def sampled(root, stage, rows, *, data=None, kept=()):
    """A sampling stage; `kept`: (problem, sample, what rewrote it)."""
    folder = root / stage
    lines(folder / "eval" / "samples.jsonl", rows)
    (folder / "fingerprint.json").write_text("{}")
    if data is not None:
        (folder / "data.json").write_text(json.dumps(data))
        lines(
            folder / "dialogues.jsonl",
            [
                {"id": f"{problem}/{k}", "from": {"sample": k} | ({"rewritten": by} if by else {})}
                for problem, k, by in kept
            ],
        )


def run_folder(root, *, steps=4, recipe=RECIPE, rewards=0.5):
    """A finished R1-Zero run of `steps` steps, two questions of two answers each, two alerts."""
    stage = root / "zero"
    stage.mkdir(parents=True)
    (root / "recipe.toml").write_text(recipe)
    (root / "env.json").write_text(
        json.dumps({"aha": "0.1.0", "cores": 2, "platform": "Linux", "commit": "abc"})
    )
    lines(
        root / "events.jsonl",
        [
            {"time": 1_700_000_000.0, "attempt": 1, "event": "attempt", "command": ["run"]},
            {"time": 1_700_000_001.0, "attempt": 1, "event": "start", "stage": "zero", "step": 0},
            {
                "time": 1_700_000_100.0,
                "attempt": 1,
                "event": "alert",
                "step": 2,
                "name": "echo",
                "text": "in 30 % of the answers the thinking only says the question again.",
                "samples": [["q2", 1]],
            },
            {"time": 1_700_000_200.0, "attempt": 1, "event": "checkpoint", "step": 4, "path": "p"},
            {"time": 1_700_000_300.0, "attempt": 1, "event": "done", "stage": "zero"},
        ],
    )
    (stage / "fingerprint.json").write_text('{"fingerprint": "0123"}')
    (stage / "resolved.json").write_text('{"resolved": {"threads": 2}}')
    rows = [{"step": 0, "attempt": 1, "time": 1_700_000_000.0, **held(0.25)}]
    for step in range(1, steps + 1):
        rows.append(metrics(step, rewards + step / 100, **(held(0.75) if step == steps else {})))
        groups = [answer(step, f"q{step}", k) for k in range(2)]
        groups += [answer(step, f"r{step}", k) for k in range(2)]
        write_step(stage, step, groups)
    lines(stage / "metrics.jsonl", rows)
    evaluation(stage, 0, 0.25)
    evaluation(stage, steps, 0.75)
    (stage / "DONE").write_text(json.dumps({"fingerprint": "0123", "step": steps}))
    return root
