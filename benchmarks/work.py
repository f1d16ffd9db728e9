"""What the contestants are asked: prompts, forced lengths, a reward that both sides can compute.

    short    prompts of 20-40 tokens, every answer 128 tokens
    equal    word problems in the R1-Zero template (about 150 tokens), every answer 128 tokens
    ragged   the same prompts; lengths log-normal: mean about 150, sigma 0.8, capped at 512
    tiny     problems of recipes/zero_laptop.toml; lengths log-normal: mean about 60, capped at 160

Lengths are forced, so everyone samples as many tokens. Standard library only at import: workers of
other environments use `token_reward`.
"""

import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

PROBLEMS = Path(__file__).with_name("problems.json")
CASES = ("short", "equal", "ragged", "tiny")
TINY = "arithmetic?lang=mix&digits=1&factor=29&products=1"
ANSWER_TOKENS = 128
MEAN, SIGMA, CAP = 150.0, 0.8, 512
SHORT = "Question: {question}\nWork it out step by step, then give the result.\nAnswer:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One case: Q prompts, G answers to each."""

    case: str
    texts: tuple[str, ...]
    prompts: tuple[tuple[int, ...], ...]
    """[Q] token ids, as the texts are tokenised by the model's tokenizer."""
    golds: tuple[str, ...]
    lengths: tuple[tuple[int, ...], ...]
    """[Q][G] answer tokens."""

    @property
    def answers(self) -> int:
        return sum(len(group) for group in self.lengths)

    @property
    def answer_tokens(self) -> int:
        return sum(sum(group) for group in self.lengths)

    @property
    def longest(self) -> int:
        return max(max(group) for group in self.lengths)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def facts(self) -> dict[str, Any]:
        """For a result: sizes, and the histogram of lengths that ratios depend on."""
        flat = sorted(n for group in self.lengths for n in group)
        prompts = [len(ids) for ids in self.prompts]
        edges = [0, 64, 128, 192, 256, 384, 512]
        return {
            "prompts": len(self.prompts),
            "answers": self.answers,
            "prompt_tokens": {"min": min(prompts), "mean": sum(prompts) / len(prompts)}
            | {"max": max(prompts)},
            "answer_tokens": {"sum": sum(flat), "min": flat[0], "max": flat[-1]}
            | {"mean": sum(flat) / len(flat), "median": flat[len(flat) // 2]},
            "histogram": {
                f"{low + 1}-{high}": sum(low < n <= high for n in flat)
                for low, high in itertools.pairwise(edges)
            },
        }


def ragged(count: int, seed: int, *, mean: float = MEAN, cap: int = CAP) -> list[int]:
    """`count` log-normal lengths; `mean` is that of the distribution before the cap."""
    rng = random.Random(seed)
    mu = math.log(mean) - SIGMA * SIGMA / 2
    return [min(cap, max(1, round(rng.lognormvariate(mu, SIGMA)))) for _ in range(count)]


def groups(flat: Sequence[int], size: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(flat[i : i + size]) for i in range(0, len(flat), size))


def token_reward(token_ids: Sequence[int]) -> float:
    """A number in [0, 1) that depends on every token: answers of a group practically all differ, so
    every group is informative, and every trainer can compute it from the ids alone."""
    value = 0
    for token in token_ids:
        value = (value * 1_000_003 + token + 1) % (1 << 32)
    return value / (1 << 32)


def make(
    case: str,
    tokenizer: Any,
    *,
    prompts: int = 8,
    answers: int = 8,
    seed: int = 0,
    data: str = "",
    tokens: int = 0,
) -> Work:
    """The work of a case for this tokenizer.

    Args:
        data: a source of problems (docs/data.md) in place of the built-in word problems.
        tokens: of every answer, in place of the case's lengths; ragged ones are drawn around it.
    """
    from aha.config import DataConfig
    from aha.data import sources, templates
    from aha.records import Prompt

    if case not in CASES:
        raise ValueError(f"case {case!r}; one of {', '.join(CASES)}")
    template = templates.load_template(DataConfig(), tokenizer)
    if case == "short":
        found = sources.load("arithmetic?lang=en", split="train", config=DataConfig()).prompts
        texts = [SHORT.replace("{question}", p.question) for p in found[:prompts]]
        golds = [p.gold for p in found[:prompts]]
        ids = [(*template.bos, *tokenizer(t, add_special_tokens=False).input_ids) for t in texts]
    else:
        if data or case == "tiny":
            problems = sources.load(data or TINY, split="train", config=DataConfig()).prompts
        else:
            rows = json.loads(PROBLEMS.read_text("utf-8"))
            problems = [
                Prompt(id=f"builtin-{i}", question=row["question"], gold=row["answer"])
                for i, row in enumerate(rows)
            ]
        rendered = [template.render(p) for p in problems[:prompts]]
        texts = [r.text for r in rendered]
        golds = [r.prompt.gold for r in rendered]
        ids = [r.token_ids for r in rendered]
    if len(ids) < prompts:
        raise SystemExit(f"{case}: {prompts} prompts wanted, the data have {len(ids)}")
    mean, cap = (MEAN, CAP) if case == "ragged" else (60.0, 160)
    if tokens:
        mean, cap = float(tokens), 2 * tokens
    if case in ("ragged", "tiny"):
        lengths = ragged(prompts * answers, seed, mean=mean, cap=cap)
    else:
        lengths = [tokens or ANSWER_TOKENS] * (prompts * answers)
    return Work(
        case=case,
        texts=tuple(texts),
        prompts=tuple(tuple(i) for i in ids),
        golds=tuple(golds),
        lengths=groups(lengths, answers),
    )


def warm(asked: Work, tokens: int = 8) -> Work:
    """The same prompts with answers of at most `tokens` tokens: what a first call has to load and compile."""
    lengths = tuple(tuple(min(n, tokens) for n in group) for group in asked.lengths)
    return replace(asked, lengths=lengths)


def of_dict(fields: dict[str, Any]) -> Work:
    """What `as_dict` gave, after its way through JSON."""
    return Work(
        case=fields["case"],
        texts=tuple(fields["texts"]),
        prompts=tuple(tuple(ids) for ids in fields["prompts"]),
        golds=tuple(fields["golds"]),
        lengths=tuple(tuple(group) for group in fields["lengths"]),
    )
