"""Can reinforcement learning start from this base? Measured on a model, before any is spent on it.

    drills      single steps right at temperature 1             wanted: 95 % or more
    format      answers in <think> and <answer> tags             wanted: 1 to 10 %
    pass@1      held-out `arithmetic`, R1-Zero template          wanted: 5 to 30 %
    pass@k      solved at least once in k samples                wanted: 60 % or more
    informative groups neither all right nor all wrong           wanted: 40 % or more

Answers count only in <answer> or \\boxed{}, read here by one regular expression: whole numbers need
no more. Sampling is transformers' `generate`, from the whole distribution. The rewards' own graders
and the rollout engine are not involved, so the gates are a check of them too.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from aha.data.tasks import arithmetic, problems
from aha.data.templates import PLACE, r1_zero

BOUNDS = {
    "drills_right": (0.95, 1.0),
    "format_rate": (0.01, 0.10),
    "pass@1": (0.05, 0.30),
    "pass@k": (0.60, 1.0),
    "informative": (0.40, 1.0),
}
"""Lowest and highest share that pass."""

FORMAT = re.compile(r"\s*<think>[^<]*\S[^<]*</think>\s*<answer>[^<]*\S[^<]*</answer>\s*")
ANSWER = re.compile(r"<answer>\s*(-?\d+)\s*</answer>|\\boxed\{\s*(-?\d+)\s*\}")
STEP = re.compile(r"(-?\d+) ([+*-]) (-?\d+) = (-?\d+)(?!\?)\b(?!\d)")
CHECKS = re.compile(r"wait|check|again|等等|检查|验算|重新|再算一次", re.IGNORECASE)


def sample(
    model: Any, tokenizer: Any, prompts: Sequence[str], *, tokens: int, seed: int
) -> list[str]:
    """One continuation of at most `tokens` tokens for each prompt, at temperature 1."""
    given = tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left")
    settings = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        written = model.generate(**given, generation_config=settings)
    answers = written[:, given["input_ids"].shape[1] :]
    return list(tokenizer.batch_decode(answers, skip_special_tokens=True))


def template(question: str) -> str:
    """The R1-Zero template around a question."""
    return r1_zero().replace(PLACE, question)


def gates(
    model: Any,
    tokenizer: Any,
    *,
    problems_n: int = 64,
    samples: int = 16,
    drills_n: int = 256,
    tokens: int = 160,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the gates; shares are 0..1. `passed` names each gate's verdict.

    Steps written in answers (`steps_right`), the last number of an answer's first turn, whatever its
    form (`last_number_right`), and the same by style are given for judgement and have no bound.
    """
    model.eval()
    table: dict[str, Any] = {"drills_right": _drills(model, tokenizer, drills_n, seed)}
    held, _ = problems(arithmetic.TASK, arithmetic.Settings(), split="heldout", n=problems_n)
    asked = [template(prompt.question) for prompt in held for _ in range(samples)]
    texts = []
    for start in range(0, len(asked), 256):
        part = asked[start : start + 256]
        texts += sample(model, tokenizer, part, tokens=tokens, seed=seed + start)
    # sampling ends at </answer> as it does in training
    texts = [t.split("</answer>")[0] + "</answer>" * ("</answer>" in t) for t in texts]
    golds = [prompt.gold for prompt in held for _ in range(samples)]
    turns = [text.split("User:")[0] for text in texts]  # a base may go on with a talk of its own
    right = [_answer(text) == gold for text, gold in zip(texts, golds, strict=True)]
    groups = [right[i : i + samples] for i in range(0, len(right), samples)]
    table |= {
        "format_rate": _share([FORMAT.fullmatch(text) is not None for text in texts]),
        "parsed": _share([_answer(text) is not None for text in texts]),
        "pass@1": _share(right),
        "pass@k": _share([any(group) for group in groups]),
        "informative": _share([any(group) and not all(group) for group in groups]),
        "last_number_right": _share(
            [_last(turn) == gold for turn, gold in zip(turns, golds, strict=True)]
        ),
        "steps_right": _share([good for text in texts for good in _steps(text)]),
        "styles": _styles(turns, golds),
        "tokens_mean": sum(map(len, tokenizer(texts)["input_ids"])) / len(texts),
        "k": samples,
        "problems": len(held),
    }
    table["passed"] = {k: low <= table[k] <= high for k, (low, high) in BOUNDS.items()}
    return table


def _drills(model: Any, tokenizer: Any, n: int, seed: int) -> float:
    """Share of single steps of held-out problems that are right, in the layout of the drills."""
    held, _ = problems(arithmetic.TASK, arithmetic.Settings(seed=1), split="heldout", n=n)
    asked, golds = [], []
    for prompt in held:
        a, sign, b = prompt.columns["expression"].split(" ")[:3]
        asked.append(f"3 * 5 = 15\n40 + 7 = 47\n{a} {sign} {b} =")
        golds.append(_worth(int(a), sign, int(b)))
    texts = sample(model, tokenizer, asked, tokens=6, seed=seed)
    found = [re.match(r" (-?\d+)(?!\d)", text) for text in texts]
    return _share([m is not None and int(m[1]) == g for m, g in zip(found, golds, strict=True)])


def _styles(texts: list[str], golds: list[str]) -> dict[str, dict[str, float]]:
    """Share of each style, and how often its last number is right."""
    kinds = []
    for text in texts:
        steps = len(STEP.findall(text))
        kinds.append("long" if CHECKS.search(text) else "short" if steps else "direct")
    good = [_last(text) == gold for text, gold in zip(texts, golds, strict=True)]
    return {
        kind: {
            "share": _share([k == kind for k in kinds]),
            "right": _share([g for g, k in zip(good, kinds, strict=True) if k == kind]),
        }
        for kind in ("direct", "short", "long")
    }


def _answer(text: str) -> str | None:
    found = ANSWER.findall(text)
    return (found[-1][0] or found[-1][1]) if found else None


def _last(text: str) -> str | None:
    numbers = re.findall(r"-?\d+", text)
    return numbers[-1] if numbers else None


def _steps(text: str) -> list[bool]:
    return [_worth(int(a), s, int(b)) == int(r) for a, s, b, r in STEP.findall(text)]


def _worth(a: int, sign: str, b: int) -> int:
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
