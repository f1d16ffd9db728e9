"""Trainers, groups of answers and checkpoints made by hand, on the models of `tiny.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tiny import ARCHITECTURES, VOCAB, fresh
from transformers import PreTrainedTokenizerFast

from aha.config import OptimConfig
from aha.models import load as models
from aha.models.policy import Policy
from aha.records import Grade, Group, Prompt, Rendered, Rollout, Scored
from aha.rollout.local.engine import LocalEngine
from aha.train import checkpoint
from aha.train.batch import Tree
from aha.train.optim import Optimizer
from aha.train.reference import Reference
from aha.train.step import LossOptions, Trainer

KINDS = ARCHITECTURES[:4]


def lora(seed: int = 5, *, dtype: torch.dtype = torch.float32) -> Policy:
    """A Llama with float32 adapters of rank 2 whose second factor is not 0."""
    from peft import LoraConfig, get_peft_model

    base = fresh(seed=seed, dtype=dtype).model
    options = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(base, options)
    torch.manual_seed(seed + 1)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape) * 0.1
    return Policy(adapted.eval())


def engine(of: Policy) -> LocalEngine:
    return LocalEngine(
        of,
        eos_ids=(1,),
        decode=lambda ids: " ".join(map(str, ids)),
        budget_bytes=1 << 24,
        max_rows=16,
    )


def trainer(
    of: Policy,
    *,
    budget: int = 10_000,
    reference: Reference | None = None,
    total: int = 10,
    **more: Any,
) -> Trainer:
    options = LossOptions(**more.pop("options", {}))
    config = OptimConfig(**{"lr": 1e-2, **more.pop("optim", {})})
    return Trainer(
        of,
        Optimizer(of, config, total),
        options=options,
        budget=budget,
        reference=reference,
        **more,
    )


def group(
    name: str,
    prompt: Sequence[int],
    answers: Sequence[Sequence[int]],
    rewards: Sequence[float],
    *,
    logprobs: Sequence[Sequence[float]] | None = None,
    cut: Sequence[int] = (),
    failed: Sequence[int] = (),
) -> Group:
    """Answers by hand. `cut`, `failed`: which answers hit the cap, which our grader failed on."""
    scored = []
    for i, (answer, reward) in enumerate(zip(answers, rewards, strict=True)):
        rollout = Rollout(
            prompt_id=name,
            sample=i,
            token_ids=tuple(answer),
            logprobs=tuple(logprobs[i]) if logprobs else (-1.0,) * len(answer),
            text="",
            policy_version=0,
            stopped="length" if i in cut else "eos",
        )
        grade = Grade(status="error" if i in failed else "correct", score=reward)
        scored.append(
            Scored(rollout=rollout, grade=grade, parts={}, reward=reward, valid=i not in failed)
        )
    question = Prompt(id=name, question="", gold="")
    return Group(
        rendered=Rendered(prompt=question, text="", token_ids=tuple(prompt)), scored=tuple(scored)
    )


def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {f"w{i}": i for i in range(VOCAB)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w2")), eos_token="w1", pad_token="w0"
    )


def gradients(of: Trainer, trees: Sequence[Tree]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and accumulated gradient of one Trainer.step, caught before the update."""
    caught: dict[str, torch.Tensor] = {}

    def catch(number: int) -> tuple[float, float, bool]:
        for name, master in of.optimizer.masters.items():
            grad = torch.zeros_like(master) if master.grad is None else master.grad.clone()
            caught[name] = grad
        of.optimizer.forget()
        return 0.0, 0.0, True

    kept = of.optimizer.step
    of.optimizer.step = catch  # type: ignore[method-assign]
    try:
        result = of.step(trees, 0, on_policy=False)
    finally:
        of.optimizer.step = kept  # type: ignore[method-assign]
    return result.metrics["policy/loss"], caught


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Norm of the difference, relative to the norm of b."""
    assert a.keys() == b.keys()
    difference = sum(float((a[n] - b[n]).double().square().sum()) for n in a)
    size = sum(float(b[n].double().square().sum()) for n in b)
    return (difference / size) ** 0.5 if size else difference**0.5


def saved_after_a_step(
    folder: Path, *, dtype: torch.dtype = torch.float32, adapters: bool = False
) -> tuple[Path, Trainer, Reference]:
    """A checkpoint of one fixed update, the same in every process."""
    from aha.config import ZeroConfig
    from aha.train.credit import to_trees

    of = lora(dtype=dtype) if adapters else fresh(dtype=dtype)
    reference = Reference(of)
    worker = trainer(of, reference=reference)
    groups = [group("a", [5, 6, 7], [[8, 9, 1], [10, 1]], [1.0, 0.0])]
    worker.step(to_trees(groups, ZeroConfig()), 0, on_policy=False)
    loaded = models.Loaded(of, tokenizer(), (1,), folder, "")
    path = checkpoint.save(
        folder,
        policy=of,
        save_model=lambda hf: models.save(hf, loaded),
        optimizer=worker.optimizer,
        reference=reference,
        state=checkpoint.State(step=1, phase=1, cursor=2, alerts={"z": [1, 2.5], "a": None}),
    )
    return path, worker, reference
