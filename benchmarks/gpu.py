"""One GPU, everything in one command within 8 minutes: decoding, updates, whole steps, memory, the gap.

    python -m benchmarks.gpu [--parts decode update step phases gap] [--device cpu --quick]

Models have the published shapes and random weights. Rates of the device are measured in the same call;
decoding is put beside the time that weights, keys and values take to be read once a step, an update
beside the time of its products. `--device cpu --quick` runs the same code on tiny models, without
capture: it proves that the script runs, its figures mean nothing.
"""

import argparse
import gc
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from aha.config import ModelConfig, OptimConfig
from aha.models import load as models
from aha.models.attention import register
from aha.models.policy import Policy
from aha.rollout.engine import SamplingParams
from aha.rollout.local import engine as engines
from aha.train.batch import Tree, Unit
from aha.train.optim import Optimizer
from aha.train.step import LossOptions, Trainer
from benchmarks import measure, roofline, work
from benchmarks.contestants import roof

PARTS = ("decode", "update", "step", "phases", "gap")
LIMIT_S = 460.0
"""Parts that would begin after so many seconds are left out, and named."""


@dataclass(frozen=True, slots=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    tied: bool = True
    bias: bool = False
    """Of queries, keys and values, as in Qwen2."""


SHAPES = {
    "135M": Shape(576, 30, 9, 3, 1536, 49152),
    "0.5B": Shape(896, 24, 14, 2, 4864, 151936, bias=True),
    "1.5B": Shape(1536, 28, 12, 2, 8960, 151936, bias=True),
    "7B": Shape(3584, 28, 28, 4, 18944, 152064, tied=False, bias=True),
    "tiny": Shape(64, 2, 4, 2, 128, 300),
}


class Bench:
    """One run of the script on one device."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.device = given, torch.device(given.device)
        self.gpu = self.device.type == "cuda"
        self.begun = time.perf_counter()
        self.left_out: list[str] = []
        engines.GRAPHS = True
        torch.manual_seed(given.seed)

    def sizes(self, full: list[Any], quick: list[Any]) -> list[Any]:
        return quick if self.given.quick else full

    def late(self, what: str) -> bool:
        if time.perf_counter() - self.begun < LIMIT_S:
            return False
        self.left_out.append(what)
        return True

    def seconds(self, call: Callable[..., Any], *given: Any, **named: Any) -> float:
        self._wait()
        begin = time.perf_counter()
        call(*given, **named)
        self._wait()
        return time.perf_counter() - begin

    def _wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def clean(self) -> None:
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated() if self.gpu else 0

    # -- rates of the device ----------------------------------------------------------------------------

    def rates(self) -> dict[str, float]:
        """bfloat16 products in FLOP/s and memory in bytes/s, the best of some repetitions."""
        side = 8192 if self.gpu else 512
        a, b = (torch.randn(side, side, device=self.device).bfloat16() for _ in range(2))
        product = min(self.seconds(torch.mm, a, b) for _ in range(10))
        x = torch.ones((1 << 31) // 4 if self.gpu else 1 << 20, device=self.device)
        y = torch.empty_like(x)
        copy = min(self.seconds(y.copy_, x) for _ in range(10))
        return {"flops": 2 * side**3 / product, "bytes": 2 * x.nbytes / copy}

    # -- models and work ----------------------------------------------------------------------------------

    def policy(self, name: str) -> Policy:
        from transformers import AutoModelForCausalLM, Qwen2Config

        s = SHAPES[name]
        config = Qwen2Config(
            hidden_size=s.hidden,
            num_hidden_layers=s.layers,
            num_attention_heads=s.heads,
            num_key_value_heads=s.kv_heads,
            intermediate_size=s.inner,
            vocab_size=s.vocabulary,
            tie_word_embeddings=s.tied,
            max_position_embeddings=32768,
        )
        with self.device:
            model = AutoModelForCausalLM.from_config(
                config, dtype=torch.bfloat16, attn_implementation=register()
            )
        return models.policy_of(model, ModelConfig(device=self.given.device))

    def prompts(self, policy: Policy, count: int, tokens: int) -> list[tuple[int, ...]]:
        vocabulary = policy.causal.config.vocab_size
        rows = torch.randint(0, vocabulary, (count, tokens)).tolist()
        return [tuple(row) for row in rows]

    def engine(self, policy: Policy, rows: int) -> engines.LocalEngine:
        budget = (40 << 30) if self.gpu else (1 << 28)
        return engines.LocalEngine(
            policy, eos_ids=(), decode=lambda ids: "", budget_bytes=budget, max_rows=rows
        )

    def rollouts(
        self, engine: engines.LocalEngine, prompts: list[tuple[int, ...]], group: int, tokens: int
    ) -> list[Any]:
        params = SamplingParams(max_tokens=tokens, forced=(tokens,), stream=(engine.version,))
        for number, ids in enumerate(prompts):
            engine.submit(str(number), ids, group, params)
        found = []
        while engine.pending():
            found += engine.step()
        return sorted(found, key=lambda r: (int(r.prompt_id), r.sample))

    # -- parts --------------------------------------------------------------------------------------------

    def decode(self, rates: dict[str, float]) -> dict[str, Any]:
        """Answer tokens a second, and the share of the bandwidth bound."""
        found: dict[str, Any] = {}
        for name in self.sizes(["135M", "0.5B", "1.5B", "7B"], ["tiny"]):
            policy = self.policy(name)
            shapes = roof.shapes(policy.causal)
            for live in self.sizes([64, 256, 1024], [16]):
                if self.late(f"decode {name} {live}"):
                    continue
                prompt, tokens = (128, 128) if self.gpu else (8, 8)
                prompts = self.prompts(policy, live // 8, prompt)
                engine = self.engine(policy, live)
                self.clean()
                for _ in range(2):  # graphs are recorded in the first
                    captures = engine.captures
                    seconds = self.seconds(self.rollouts, engine, prompts, 8, tokens)
                    captures = engine.captures - captures
                point = {"tokens_per_s": live * tokens / seconds, "peak": self.peak()}
                lengths = tuple((tokens,) * 8 for _ in prompts)
                asked = work.Work(
                    case="gpu", texts=(), prompts=tuple(prompts), golds=(), lengths=lengths
                )
                bound = roofline.rollout_seconds(
                    shapes,
                    asked,
                    steps=tokens,
                    kv_token_bytes=engine.token_bytes,
                    flops=rates["flops"],
                    bandwidth=rates["bytes"],
                )
                point |= {"share_of_bound": bound / seconds, "captures_in_timed_phase": captures}
                if name in self.sizes(["0.5B", "1.5B"], ["tiny"]):
                    point |= self._peers(policy, prompts, tokens)
                found[f"{name} {live}"] = point
                print(f"decode {name} {live}: {point}")
            del policy
        return found

    def _peers(self, policy: Policy, prompts: list[tuple[int, ...]], tokens: int) -> dict[str, Any]:
        """transformers `generate` on the same weights, and vLLM on the same shape where it is there."""
        model = policy.causal
        rows = torch.tensor([ids for ids in prompts for _ in range(8)], device=self.device)
        options = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": True}
        ours = model.config._attn_implementation
        model.set_attn_implementation("sdpa")
        try:
            with torch.inference_mode():
                times = [
                    self.seconds(model.generate, rows, pad_token_id=0, top_k=0, **options)
                    for _ in range(2)
                ]
        finally:
            model.set_attn_implementation(ours)
        found: dict[str, Any] = {"generate_tokens_per_s": rows.shape[0] * tokens / times[-1]}
        if self.gpu and importlib.util.find_spec("vllm"):
            try:
                found["vllm_tokens_per_s"] = self._vllm(policy, rows.tolist(), tokens)
            except Exception as error:  # a peer that does not start is a fact, not our failure
                found["vllm_failed"] = f"{type(error).__name__}: {error}"[:300]
        return found

    def _vllm(self, policy: Policy, rows: list[list[int]], tokens: int) -> float:
        import vllm

        with tempfile.TemporaryDirectory() as folder:
            policy.causal.config.save_pretrained(folder)
            llm = vllm.LLM(
                folder,
                load_format="dummy",
                skip_tokenizer_init=True,
                dtype="bfloat16",
                gpu_memory_utilization=0.3,
                max_model_len=512,
            )
            params = vllm.SamplingParams(
                temperature=1.0, max_tokens=tokens, min_tokens=tokens, detokenize=False
            )
            asked = [{"prompt_token_ids": row} for row in rows]
            times = [self.seconds(llm.generate, asked, params, use_tqdm=False) for _ in range(2)]
        return len(rows) * tokens / times[-1]

    def trainer(self, policy: Policy, budget: int) -> Trainer:
        optimizer = Optimizer(policy, OptimConfig(lr=1e-6), 1000)
        return Trainer(policy, optimizer, options=LossOptions(), budget=budget)

    def trees(self, policy: Policy, tokens: int, prompt: int, answer: int) -> list[Tree]:
        """Groups of 8 answers that fill a stream of about `tokens`."""
        columns = {"pg_weight": 1e-3, "advantage": 1.0, "old_logp": -10.0, "engine_logp": -10.0}
        values = {name: (value,) * answer for name, value in columns.items()}
        groups = max(1, tokens // (prompt + 8 * answer))
        trees = []
        for ids in self.prompts(policy, groups, prompt):
            units = [Unit(row, values) for row in self.prompts(policy, 8, answer)]
            trees.append(Tree(ids, units))
        return trees

    def update(self, rates: dict[str, float]) -> dict[str, Any]:
        """Stream tokens a second and the share of the measured product rate (MFU)."""
        found: dict[str, Any] = {}
        for name in self.sizes(["135M", "0.5B", "1.5B"], ["tiny"]):
            policy = self.policy(name)
            shapes = roof.shapes(policy.causal)
            for tokens in self.sizes([2048, 4096, 8192, 16384], [128]):
                if self.late(f"update {name} {tokens}"):
                    continue
                prompt, answer = (128, 200) if self.gpu else (8, 12)
                trees = self.trees(policy, tokens, prompt, answer)
                trainer = self.trainer(policy, tokens)
                self.clean()
                times = [self.seconds(trainer.step, trees, n, on_policy=True) for n in range(4)][1:]
                lengths = tuple((answer,) * 8 for _ in trees)
                prompts = tuple(tuple(tree.token_ids) for tree in trees)
                asked = work.Work(case="gpu", texts=(), prompts=prompts, golds=(), lengths=lengths)
                seconds = statistics.median(times)
                stream = sum(tree.tokens for tree in trees)
                flops = roofline.update_flops(shapes, asked)
                found[f"{name} {tokens}"] = {
                    "tokens_per_s": stream / seconds,
                    "mfu": flops / seconds / rates["flops"],
                    "peak": self.peak(),
                }
                print(f"update {name} {tokens}: {found[f'{name} {tokens}']}")
                del trainer
            del policy
        return found

    def step(self, rates: dict[str, float]) -> dict[str, Any]:
        """A whole step: 8 x 8 answers, then their update, new weights for the engine."""
        name = self.sizes(["0.5B"], ["tiny"])[0]
        if self.late("step"):
            return {}
        policy = self.policy(name)
        prompt, tokens = (180, 256) if self.gpu else (8, 8)
        prompts = self.prompts(policy, 8, prompt)
        engine, trainer = self.engine(policy, 64), self.trainer(policy, 16384)
        halves: list[tuple[float, float]] = []
        for number in range(4):
            rolled: list[Any] = []
            sampling = self.seconds(
                lambda kept: kept.extend(self.rollouts(engine, prompts, 8, tokens)), rolled
            )
            engine.rest()
            trees = _trees_of(rolled, prompts)
            updating = self.seconds(trainer.step, trees, number, on_policy=True)
            engine.load(number + 1)
            halves.append((sampling, updating))
        halves = halves[1:]
        return {
            "model": name,
            "rollout_s": measure.spread(a for a, _ in halves),
            "update_s": measure.spread(b for _, b in halves),
        }

    def phases(self, rates: dict[str, float]) -> dict[str, Any]:
        """Peak and resting memory of 20 phases of sampling and updating: neither may grow."""
        name = self.sizes(["135M"], ["tiny"])[0]
        if self.late("phases"):
            return {}
        policy = self.policy(name)
        prompt, tokens = (64, 64) if self.gpu else (6, 6)
        prompts = self.prompts(policy, 8, prompt)
        engine, trainer = self.engine(policy, 64), self.trainer(policy, 8192)
        peaks, rests = [], []
        for number in range(20):
            if self.gpu:
                torch.cuda.reset_peak_memory_stats()
            rolled = self.rollouts(engine, prompts, 8, tokens)
            engine.rest()
            trainer.step(_trees_of(rolled, prompts), number, on_policy=True)
            engine.load(number + 1)
            peaks.append(self.peak())
            rests.append(torch.cuda.memory_allocated() if self.gpu else 0)
        grown = max(peaks[2:]) / peaks[1] if self.gpu else None
        return {"model": name, "peaks": peaks, "rests": rests, "grown": grown}

    def gap(self, rates: dict[str, float]) -> dict[str, Any]:
        """Difference of log-probabilities between decoding and the trainer's forward pass, nats."""
        name = self.sizes(["0.5B"], ["tiny"])[0]
        if self.late("gap"):
            return {}
        policy = self.policy(name)
        prompt, tokens = (128, 128) if self.gpu else (8, 8)
        prompts = self.prompts(policy, 8, prompt)
        engine = self.engine(policy, 64)
        rolled = self.rollouts(engine, prompts, 8, tokens)
        asked = [prompts[int(r.prompt_id)] for r in rolled]
        scores = engine.score(asked, [r.token_ids for r in rolled])
        gaps = torch.tensor([s for row in scores for s in row]) - torch.tensor(
            [p for r in rolled for p in r.logprobs]
        )
        return {"model": name, "mean": float(gaps.abs().mean()), "max": float(gaps.abs().max())}


def _trees_of(rolled: list[Any], prompts: list[tuple[int, ...]]) -> list[Tree]:
    trees = []
    for number, ids in enumerate(prompts):
        units = []
        for rollout in rolled:
            if int(rollout.prompt_id) == number:
                n, advantage = len(rollout.token_ids), 1.0 if rollout.sample % 2 else -1.0
                columns = {"pg_weight": (1e-3,) * n, "advantage": (advantage,) * n}
                columns |= {"old_logp": rollout.logprobs, "engine_logp": rollout.logprobs}
                units.append(Unit(rollout.token_ids, columns))
        trees.append(Tree(ids, units))
    return trees


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "", model="")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    given = parser.parse_args(argv)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "torch finds no GPU here; `--device cpu --quick` shows that the script runs"
        )
    if given.device == "cpu" and not given.quick:
        raise SystemExit("on a CPU only --quick: its figures would mean nothing")
    bench = Bench(given)
    result: dict[str, Any] = {"claim": "speed and memory on one GPU", "device": given.device}
    if bench.gpu:
        result["gpu"] = torch.cuda.get_device_name()
    result["rates"] = bench.rates()
    for part in given.parts:
        result[part] = getattr(bench, part)(result["rates"])
        bench.clean()
    result |= {"left_out": bench.left_out, "took_s": time.perf_counter() - bench.begun}
    measure.write("gpu", given, result)
    return result


if __name__ == "__main__":
    main()
