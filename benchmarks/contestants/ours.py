"""aha as a contestant: rollout, whole step, update by replay, gradients, memory, rates of the machine."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from aha.config import ModelConfig, OptimConfig, ZeroConfig
from aha.models import load as models
from aha.models.locate import locate
from aha.records import Grade, Group, Prompt, Rendered, Rollout, Scored
from aha.rewards.workers import GraderPool
from aha.rollout.collect import collect
from aha.rollout.engine import SamplingParams
from aha.rollout.local.cache import kept_dtype
from aha.rollout.local.engine import LocalEngine
from aha.train.batch import Tree, Unit
from aha.train.credit import to_trees
from aha.train.optim import Optimizer
from aha.train.plan import kv_token_bytes
from aha.train.step import LossOptions, Trainer
from benchmarks import measure, workers
from benchmarks.contestants import roof
from benchmarks.work import Work, of_dict, token_reward


class _Forced:
    """The engine with each prompt's own forced lengths; everything else is the engine's."""

    def __init__(self, engine: LocalEngine, lengths: dict[str, tuple[int, ...]]) -> None:
        self.engine, self.lengths = engine, lengths
        self.version = engine.version

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def submit(
        self,
        prompt_id: str,
        token_ids: Sequence[int],
        n: int,
        params: SamplingParams,
        *,
        attempt: int = 0,
    ) -> None:
        params = dataclasses.replace(params, forced=self.lengths[prompt_id])
        self.engine.submit(prompt_id, token_ids, n, params, attempt=attempt)


class Ours:
    """State of the worker: one model in one dtype."""

    def load(
        self,
        model: str,
        dtype: str,
        *,
        train: bool = False,
        micro_tokens: int = 8192,
        kv_bytes: int = 4 << 30,
        max_rows: int = 256,
        kept_logits: int = 512 << 20,
        lr: float = 1e-6,
    ) -> dict[str, Any]:
        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
        torch.manual_seed(0)
        self.loaded = models.load(locate(model), ModelConfig(path=model), dtype=dtype)
        self.policy = self.loaded.policy
        self.policy.kept_logits = kept_logits
        self.engine = LocalEngine(
            self.policy,
            eos_ids=self.loaded.eos_ids,
            decode=models.decoder(self.loaded.tokenizer),
            budget_bytes=kv_bytes,
            max_rows=max_rows,
        )
        self.version = 0
        if train:
            # DAPO's form, no KL term: what TRL computes by default
            self.zero = ZeroConfig(
                steps=1_000_000,
                aggregation="token_mean",
                kl_coef=0.0,
                rewards={"accuracy": 1.0},
                optim=OptimConfig(lr=lr, beta2=0.999),
            )
            self.trainer = Trainer(
                self.policy,
                Optimizer(self.policy, self.zero.optim, self.zero.steps),
                options=LossOptions(),
                budget=micro_tokens,
            )
            self.graders = GraderPool(workers=2, seconds=2.0)
        parameters = sum(p.numel() for p in self.policy.parameters())
        text = self.policy.causal.config.get_text_config()
        kept = kept_dtype(models.DTYPES[dtype], torch.device("cpu"))
        return {
            "versions": measure.versions(),
            "threads": torch.get_num_threads(),
            "parameters": parameters,
            "kv_token_bytes": kv_token_bytes(text, kept.itemsize),
        }

    def rollout(self, work: dict[str, Any], round: int, keep: bool = False) -> dict[str, Any]:
        """All answers of a case, from token ids to records with text and log-probabilities."""
        asked = of_dict(work)
        workers.reset_peak()
        before = workers.resident()
        self._new_weights()
        start = time.perf_counter()
        for number, (ids, lengths) in enumerate(zip(asked.prompts, asked.lengths, strict=True)):
            params = SamplingParams(max_tokens=asked.longest, forced=lengths, stream=(round,))
            self.engine.submit(str(number), ids, len(lengths), params)
        found, steps = [], 0
        while self.engine.pending():
            found += self.engine.step()
            steps += 1
        seconds = time.perf_counter() - start
        _check(asked, found)
        answer: dict[str, Any] = {"seconds": seconds, "steps": steps}
        answer |= {"tokens": asked.answer_tokens, "grown": workers.peak_rss() - before}
        if keep:
            found.sort(key=lambda r: (int(r.prompt_id), r.sample))
            answer["token_ids"] = [list(r.token_ids) for r in found]
            answer["logprobs"] = [list(r.logprobs) for r in found]
        return answer

    def step(
        self, work: dict[str, Any], round: int, flat: Sequence[int] = (), keep: bool = False
    ) -> dict[str, Any]:
        """One whole step as the training loop takes it: sample and grade, update, new weights."""
        asked = of_dict(work)
        questions = _questions(asked)
        lengths = {str(i): group for i, group in enumerate(asked.lengths)}
        config = self._config(asked)
        workers.reset_peak()
        start = time.perf_counter()
        waited = [0.0]
        groups = collect(
            _Forced(self.engine, lengths),
            self.graders,
            _scorer(flat),
            questions,
            len(asked.lengths[0]),
            SamplingParams(max_tokens=asked.longest, stream=(round,)),
            phase=str(round),
            waited=lambda seconds: waited.__setitem__(0, seconds),
        )
        self.engine.rest()  # as a run does: the update needs the memory
        sampled = time.perf_counter()
        result = self.trainer.step(to_trees(groups, config), self.version, on_policy=True)
        self.version += 1
        self.engine.load(self.version)
        seconds = time.perf_counter() - start
        if not result.made:
            raise RuntimeError(f"the update was not made: {result.metrics}")
        answer: dict[str, Any] = {
            "seconds": seconds,
            "rollout_s": sampled - start - waited[0],
            "graders_s": waited[0],
            "update_s": start + seconds - sampled,
            "gap": result.metrics.get("policy/gap/mean"),
        }
        rollouts = [s.rollout for group in groups for s in group.scored]
        _check(asked, rollouts)
        if keep:
            answer["token_ids"] = [list(r.token_ids) for r in rollouts]
            answer["logprobs"] = [list(r.logprobs) for r in rollouts]
        return answer

    def update(
        self,
        work: dict[str, Any],
        token_ids: Sequence[Sequence[int]],
        logprobs: Sequence[Sequence[float]],
        flat: Sequence[int] = (),
    ) -> dict[str, Any]:
        """The update half on recorded answers: credit, batches, loss, backward, optimizer."""
        asked = of_dict(work)
        groups = self._recorded(asked, token_ids, logprobs, flat)
        self.engine.rest()
        workers.reset_peak()
        before = workers.resident()
        start = time.perf_counter()
        result = self.trainer.step(
            to_trees(groups, self._config(asked)), self.version, on_policy=True
        )
        seconds = time.perf_counter() - start
        self.version += 1
        self.engine.load(self.version)
        if not result.made:
            raise RuntimeError(f"the update was not made: {result.metrics}")
        return {"seconds": seconds, "grown": workers.peak_rss() - before}

    def gradient(
        self,
        work: dict[str, Any],
        token_ids: Sequence[Sequence[int]],
        old: Sequence[Sequence[float]],
        advantages: Sequence[float],
        loss: str,
        path: str,
        micro_tokens: int = 0,
    ) -> dict[str, Any]:
        """The gradient of one step's loss, written to a safetensors file by parameter name.

        Args:
            loss: dapo (all tokens weigh the same) or grpo (all answers do).
        """
        from safetensors.torch import save_file

        asked = of_dict(work)
        trees, at = [], 0
        total = sum(map(len, token_ids))
        for ids, group in zip(asked.prompts, asked.lengths, strict=True):
            units = []
            for tokens, logps, advantage in zip(
                token_ids[at : at + len(group)],
                old[at : at + len(group)],
                advantages[at : at + len(group)],
                strict=True,
            ):
                weight = 1 / total if loss == "dapo" else 1 / (len(token_ids) * len(tokens))
                n = len(tokens)
                columns = {"pg_weight": (weight,) * n, "advantage": (advantage,) * n}
                units.append(Unit(tokens, columns | {"old_logp": logps}))
            at += len(group)
            trees.append(Tree(ids, units))
        grabbed: dict[str, torch.Tensor] = {}

        class Grab(Optimizer):
            def step(self, number: int) -> tuple[float, float, bool]:
                names = {id(p): n for n, p in policy.causal.named_parameters()}
                for name, parameter in self.parameters.items():
                    grad = self.masters[name].grad
                    assert grad is not None, name
                    grabbed[names[id(parameter)]] = grad.detach().clone()
                self.forget()
                return 0.0, 0.0, True

        policy = self.policy
        budget = micro_tokens or self.trainer.budget
        optimizer = Grab(policy, self.zero.optim, 1)
        trainer = Trainer(policy, optimizer, options=self.trainer.options, budget=budget)
        value = trainer.step(trees, 0, on_policy=False).metrics["policy/loss"]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file(grabbed, path)
        return {"loss": value, "tensors": len(grabbed)}

    def roofline(self, quick: bool = False) -> dict[str, Any]:
        return roof.measured(quick=quick)

    def shapes(self) -> dict[str, Any]:
        """What the formulas of roofline.py need."""
        return roof.shapes(self.policy.causal)

    # -- parts --------------------------------------------------------------------------------------

    def _new_weights(self) -> None:
        """As after an update: nothing of the last round's keys and values may be used."""
        self.version += 1
        self.engine.load(self.version)

    def _config(self, asked: Work) -> ZeroConfig:
        return self.zero.model_copy(
            update={"max_answer_tokens": asked.longest, "group_size": len(asked.lengths[0])}
        )

    def _recorded(
        self,
        asked: Work,
        token_ids: Sequence[Sequence[int]],
        logprobs: Sequence[Sequence[float]],
        flat: Sequence[int],
    ) -> list[Group]:
        score, rows = _scorer(flat), iter(zip(token_ids, logprobs, strict=True))
        nothing = Grade(status="unparsed", score=0.0)
        groups = []
        for question, lengths in zip(_questions(asked), asked.lengths, strict=True):
            rollouts = []
            for sample in range(len(lengths)):
                ids, logps = next(rows)
                one = Rollout(
                    prompt_id=question.prompt.id,
                    sample=sample,
                    token_ids=tuple(ids),
                    logprobs=tuple(logps),
                    text="",
                    policy_version=self.version,
                    stopped="length",
                )
                rollouts.append(one)
            groups.append(score(question, rollouts, [nothing] * len(rollouts)))
        return groups


def _questions(asked: Work) -> list[Rendered]:
    return [
        Rendered(prompt=Prompt(id=str(i), question=text, gold=gold), text=text, token_ids=ids)
        for i, (text, gold, ids) in enumerate(
            zip(asked.texts, asked.golds, asked.prompts, strict=True)
        )
    ]


def _scorer(flat: Sequence[int]) -> Any:
    """The reward of the benchmark: the tokens decide, the grader's verdict weighs nothing. Prompts
    in `flat` give every answer the same."""
    dull = {str(number) for number in flat}

    def score(question: Rendered, rollouts: Sequence[Rollout], grades: Sequence[Grade]) -> Group:
        scored = []
        for rollout, grade in zip(rollouts, grades, strict=True):
            reward = 0.0 if rollout.prompt_id in dull else token_reward(rollout.token_ids)
            parts = {"tokens": reward, "accuracy": grade.score}
            scored.append(Scored(rollout=rollout, grade=grade, parts=parts, reward=reward))
        return Group(rendered=question, scored=tuple(scored))

    return score


def _check(asked: Work, found: Sequence[Rollout]) -> None:
    lengths: dict[int, list[int]] = {i: [0] * len(g) for i, g in enumerate(asked.lengths)}
    for rollout in found:
        lengths[int(rollout.prompt_id)][rollout.sample] = len(rollout.token_ids)
    if tuple(tuple(lengths[i]) for i in sorted(lengths)) != asked.lengths:
        raise RuntimeError("answers do not have the lengths that were asked")


if __name__ == "__main__":
    state = Ours()
    workers.serve(
        {
            "load": state.load,
            "rollout": state.rollout,
            "step": state.step,
            "update": state.update,
            "gradient": state.gradient,
            "roofline": state.roofline,
            "shapes": state.shapes,
        }
    )
