"""Rollout and update on one machine, beside transformers' generate: tokens per second, in one call.

    python benchmarks/rollout_and_update.py [--model aha:base] [--rounds 5]

8 prompts x 8 answers x 64 forced tokens; float32 on small models. Median of the rounds after one
warm-up, alternating. Prints a table and one JSON line, and writes benchmarks/results/.
"""

import argparse
import json
import platform
import statistics
import subprocess
import time
from pathlib import Path

import torch

from aha.config import DataConfig, ModelConfig
from aha.data import sources, templates
from aha.models import load as models
from aha.models.locate import locate
from aha.rollout.engine import SamplingParams
from aha.rollout.local.engine import LocalEngine
from aha.train.batch import Tree, Unit, micro_batches, to_batch

PROMPTS, ANSWERS, TOKENS = 8, 8, 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="aha:base")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    loaded = models.load(locate(given.model), ModelConfig(path=given.model))
    template = templates.load_template(
        DataConfig(), loaded.tokenizer, generation_eos=loaded.eos_ids
    )
    prompts = sources.load("arithmetic", split="train", config=DataConfig()).prompts[:PROMPTS]
    questions = [template.render(prompt) for prompt in prompts]

    def rollout() -> tuple[float, list]:
        engine = LocalEngine(
            loaded.policy,
            eos_ids=loaded.eos_ids,
            decode=models.decoder(loaded.tokenizer),
            budget_bytes=4 << 30,
        )
        start = time.perf_counter()
        for q in questions:
            params = SamplingParams(max_tokens=TOKENS, forced=(TOKENS,), stream=(0,))
            engine.submit(q.prompt.id, q.token_ids, ANSWERS, params)
        found = []
        while engine.pending():
            found += engine.step()
        return time.perf_counter() - start, found

    def generate() -> float:
        model = loaded.policy.causal
        ids = [q.token_ids for q in questions for _ in range(ANSWERS)]
        longest = max(map(len, ids))
        batch = torch.tensor([[0] * (longest - len(i)) + list(i) for i in ids])
        mask = torch.tensor([[0] * (longest - len(i)) + [1] * len(i) for i in ids])
        name = model.config._attn_implementation
        model.set_attn_implementation("sdpa")
        start = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                batch,
                attention_mask=mask,
                max_new_tokens=TOKENS,
                min_new_tokens=TOKENS,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                pad_token_id=0,
            )
        took = time.perf_counter() - start
        model.set_attn_implementation(name)
        return took

    def update(found: list, sharing: bool) -> float:
        by_id = {q.prompt.id: q for q in questions}
        trees = [
            Tree(
                by_id[p].token_ids,
                [
                    Unit(r.token_ids, {"ce_weight": (1e-3,) * len(r.token_ids)})
                    for r in found
                    if r.prompt_id == p
                ],
            )
            for p in by_id
        ]
        start = time.perf_counter()
        for part in micro_batches(trees, 8192, prefix_sharing=sharing):
            batch = to_batch(part)
            logp, _ = loaded.policy(batch.stream)
            (batch.columns["ce_weight"] * logp).sum().backward()
        loaded.policy.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    times: dict[str, list[float]] = {
        "rollout": [],
        "generate": [],
        "update": [],
        "update_unshared": [],
    }
    for number in range(given.rounds + 1):
        took, found = rollout()
        row = {
            "rollout": took,
            "generate": generate(),
            "update": update(found, True),
            "update_unshared": update(found, False),
        }
        if number:
            for name, value in row.items():
                times[name].append(value)
    count = PROMPTS * ANSWERS * TOKENS
    rates = {name: count / statistics.median(value) for name, value in times.items()}
    spread = {name: [count / max(v), count / min(v)] for name, v in times.items()}
    for name, rate in rates.items():
        low, high = spread[name]
        print(f"{name:<16} {rate:9.0f} answer tokens/s  [{low:.0f}, {high:.0f}]")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "claim": "rollout and update rates",
        "model": given.model,
        "dtype": loaded.dtype,
        "work": f"{PROMPTS} prompts x {ANSWERS} answers x {TOKENS} forced tokens",
        "tokens_per_s": rates,
        "spread": spread,
        "rounds": given.rounds,
        "seed": 0,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit,
        "machine": platform.processor() or platform.machine(),
        "command": f"python benchmarks/rollout_and_update.py --model {given.model}",
    }
    print(json.dumps(result))
    name = given.model.replace(":", "_").replace("/", "_")
    path = Path(__file__).parent / "results" / f"rollout_and_update_{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
