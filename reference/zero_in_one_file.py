r"""R1-Zero in one file: GRPO with rule-based rewards on a small language model, to be read in one go.

Nothing here is fast: tensors are padded, a prompt is computed again for each of its answers, nothing is
saved. Each formula stands once, in the paper's form. Needs torch and transformers only.

    python reference/zero_in_one_file.py                      # the base model that ships with aha
    python reference/zero_in_one_file.py --model FOLDER --steps 100 --lr 1e-5

The life of a step, as in `main`: draw questions; sample a group of answers to each (`sample`); score
each answer by rule (`reward`); compare it with its group (`advantages`); take one clipped policy
gradient step with a KL term in the loss (`step`).

Source: DeepSeek-R1 (arXiv 2501.12948), section 2.2 and equations 1 to 3. Where the paper is silent or
this differs: the ratio is taken per token and averaged within the answer, then over answers
(DeepSeekMath, arXiv 2402.03300, equation 3); "std" is the sample standard deviation; clip ratio 0.2; an
answer also ends at `</answer>`; one optimizer step after each sampling; AdamW with the betas below.

Not covered: dropout (it is off), GPUs, answers other than whole numbers.
"""

# N = answers of a step, Q = questions, G = answers to each (N = Q * G), L = padded prompt + answer
import argparse
import copy
import hashlib
import operator
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean as mean
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE = Path(__file__).resolve().parents[1] / "aha" / "weights" / "base"

# ---- the question, as the model reads it
# DeepSeek-R1, Table 1: one paragraph; the full stop after the question is the paper's
TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with "
    "the answer. The reasoning process and answer are enclosed within <think> </think> and <answer> "
    "</answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here "
    "</answer>. User: {question}. Assistant:"
)
STOP = "</answer>"


def render(question: str) -> str:
    return TEMPLATE.replace("{question}", question)


# ---- problems: chains of three numbers
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
WORDINGS = ("What is {}?", "Compute {}.", "{} = ?", "{} 等于多少？", "计算 {}。")


def heldout(expression: str) -> bool:
    """Is this one of the tenth that is never trained on? A hash decides, whatever the wording."""
    form = "arithmetic:" + expression.replace(" ", "")
    return int.from_bytes(hashlib.sha256(form.encode()).digest()[:8], "big") % 10 == 0


def problem(rng: random.Random, *, held: bool) -> tuple[str, str]:
    """A question about `27 + 6 * 8` and the answer; no step of the calculation is below 0."""
    while True:
        first, second = rng.choices("+-*", k=2)
        beside = (first == "*", "*" in (first, second), second == "*")  # factors are small
        a, b, c = (rng.randint(2, 9) if small else rng.randint(1, 99) for small in beside)
        if second == "*" and first != "*":  # the product comes first
            value = SIGNS[first](a, inner := b * c)
        else:
            value = SIGNS[second](inner := SIGNS[first](a, b), c)
        expression = f"{a} {first} {b} {second} {c}"
        if min(inner, value) >= 0 and heldout(expression) == held:
            return rng.choice(WORDINGS).replace("{}", expression), str(value)


# ---- rewards: rules, no model
_TAG = r"</?(?:think|answer)>"
_FILLED = rf"\s*(?!{_TAG})\S(?:(?!{_TAG}).)*"  # something, and none of the four tags
FORMAT = re.compile(rf"\s*<think>{_FILLED}</think>\s*<answer>{_FILLED}</answer>\s*", re.DOTALL)


def final_answer(text: str) -> str | None:
    r"""What the last \boxed{} after the thinking holds, else the last <answer>; None if left open."""
    if text.rfind("<think>") > text.rfind("</think>"):
        return None
    text = text.rpartition("</think>")[2]
    for opening, closing in (("\\boxed{", "}"), ("<answer>", "</answer>")):
        if opening in text:
            inside, closed, _ = text.rpartition(opening)[2].partition(closing)
            return inside if closed else None
    return None


def accuracy(text: str, gold: str) -> float:
    """1 if the final answer is one whole number, the right one. Two numbers are no answer."""
    number = (final_answer(text) or "").strip(" \n$.")
    return float(bool(re.fullmatch(r"-?\d{1,18}", number)) and int(number) == int(gold))


def form(text: str) -> float:
    """1 if the answer is <think> ... </think> <answer> ... </answer> and nothing else."""
    return float(FORMAT.fullmatch(text) is not None)


def reward(text: str, gold: str) -> float:
    """Accuracy and format, with the same weight."""
    return accuracy(text, gold) + form(text)


# ---- GRPO
CLIP = 0.2  # epsilon of Equation 1
LARGEST_NORM = 1.0  # larger gradients are scaled down to it


def advantages(rewards: Tensor) -> Tensor:
    """[Q, G] rewards -> [Q, G] advantages: (r - mean) / std of the group. Equation 3.

    Sample standard deviation (G - 1). A group whose rewards are all equal teaches nothing: exactly 0.
    """
    rewards = rewards.double()
    centred = rewards - rewards.mean(-1, keepdim=True)
    flat = rewards.amax(-1, keepdim=True) - rewards.amin(-1, keepdim=True) < 1e-6
    return torch.where(flat, 0.0, centred / rewards.std(-1, correction=1, keepdim=True)).float()


@dataclass
class Answer:
    """One sampled answer. `ids` are its tokens, at least one, with the end-of-sequence token if any."""

    prompt: list[int]
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)  # of ids, when they were sampled; nats
    text: str = ""
    cut: bool = False  # it ended only because it was too long


class Batch(NamedTuple):
    """Padded answers. In `answer` and `old_logp` column t is about the token of column t + 1."""

    ids: Tensor  # [N, L] int64
    mask: Tensor  # [N, L] 1 at tokens, 0 at padding
    answer: Tensor  # [N, L-1] bool: is the predicted token one of the answer?
    old_logp: Tensor  # [N, L-1] log-probabilities under the policy that sampled
    advantage: Tensor  # [N]


def pad(answers: Sequence[Answer], advantage: Tensor) -> Batch:
    """Prompts padded left, answers padded right: all answers begin in one column."""
    before, after = max(len(a.prompt) for a in answers), max(len(a.ids) for a in answers)
    ids = torch.zeros(len(answers), before + after, dtype=torch.long)
    mask, answer = torch.zeros_like(ids), torch.zeros_like(ids[:, 1:], dtype=torch.bool)
    old_logp = torch.zeros(answer.shape)
    for i, a in enumerate(answers):
        start, stop = before - len(a.prompt), before + len(a.ids)
        ids[i, start:stop] = torch.tensor([*a.prompt, *a.ids])
        mask[i, start:stop] = 1
        answer[i, before - 1 : stop - 1] = True
        old_logp[i, before - 1 : stop - 1] = torch.tensor(a.logps)
    return Batch(ids, mask, answer, old_logp, advantage)


def positions(mask: Tensor) -> Tensor:
    """[N, L] place of each token in its own text, padding not counted."""
    return (mask.cumsum(1) - 1).clamp_min(0)


def logprobs(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """[N, L-1] log-probability of each token but the first, given all before it; nats."""
    logits = model(ids, mask, position_ids=positions(mask), use_cache=False).logits
    logp = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    return logp.gather(-1, ids[:, 1:, None]).squeeze(-1)


def kl_divergence(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """pi_ref / pi - log(pi_ref / pi) - 1 for each token: unbiased, never negative. Equation 2."""
    return torch.exp(ref_logp - logp) - (ref_logp - logp) - 1


def loss(logp: Tensor, ref_logp: Tensor, batch: Batch, kl: float) -> Tensor:
    """Minus the objective, Equation 1 per token; [N, L-1] log-probabilities of policy, reference."""
    ratio = torch.exp(logp - batch.old_logp)
    advantage = batch.advantage[:, None]
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
    each = torch.where(batch.answer, gain - kl * kl_divergence(logp, ref_logp), 0.0)
    return -(each.sum(1) / batch.answer.sum(1)).mean()


def backward(
    model: nn.Module, reference: nn.Module, batch: Batch, *, kl: float, rows: int = 32
) -> tuple[float, float]:
    """Add the gradient of the loss to the parameters, `rows` answers at a time.

    Returns: the loss, and the mean KL divergence from the reference, nats per answer token.
    """
    value = divergence = 0.0
    for some in torch.arange(len(batch.ids)).split(rows):
        part = Batch(*(tensor[some] for tensor in batch))
        logp = logprobs(model, part.ids, part.mask)
        with torch.no_grad():
            ref_logp = logprobs(reference, part.ids, part.mask)
        share = loss(logp, ref_logp, part, kl) * (len(some) / len(batch.ids))
        share.backward()
        value += share.item()
        divergence += kl_divergence(logp.detach(), ref_logp)[part.answer].sum().item()
    return value, divergence / batch.answer.sum().item()


def adam(model: nn.Module, lr: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)


def step(
    model: nn.Module, reference: nn.Module, optimizer: torch.optim.AdamW, batch: Batch, **how: Any
) -> tuple[float, float, float]:
    """One update; `how` as in `backward`. Returns loss, KL, and the gradient's norm, uncut."""
    optimizer.zero_grad()
    value, divergence = backward(model, reference, batch, **how)
    norm = nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM, error_if_nonfinite=True)
    optimizer.step()
    return value, divergence, norm.item()


# ---- sampling
@torch.no_grad()
def sample(
    model: Any, tokenizer: Any, questions: Sequence[str], group: int, cap: int, heat: float = 1.0
) -> list[Answer]:
    """`group` answers to each question, all to the first one first, drawn from softmax(logits / heat).

    All are written side by side, one token at a time; one that ends leaves.
    """
    ends = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    answers = [Answer(tokenizer(render(q)).input_ids) for q in questions for _ in range(group)]
    ids, mask, *_ = pad(answers, torch.zeros(len(answers)))
    live, cache = answers, None
    while live:
        places = positions(mask)[:, -ids.shape[1] :]
        out = model(ids, mask, position_ids=places, past_key_values=cache, use_cache=True)
        logp = torch.log_softmax(out.logits[:, -1].float() / heat, dim=-1)
        token = torch.multinomial(logp.exp(), 1)
        going = []
        for row, answer in enumerate(live):
            answer.ids.append(int(token[row]))
            answer.logps.append(float(logp[row, token[row]]))
            ended = answer.ids[-1] in ends or STOP in tokenizer.decode(answer.ids[-16:])
            answer.cut = not ended and len(answer.ids) == cap
            if not ended and not answer.cut:
                going.append(row)
        live = [live[row] for row in going]
        if live:
            cache = out.past_key_values
            cache.batch_select_indices(torch.tensor(going))
            ids = token[going]
            mask = torch.cat([mask[going], torch.ones_like(ids)], dim=1)
    for a in answers:
        a.text = tokenizer.decode(a.ids[:-1] if a.ids[-1] in ends else a.ids)
    return answers


def pass_at_1(model: Any, tokenizer: Any, problems: Sequence[tuple[str, str]], cap: int) -> float:
    """Share of right answers among four to each problem, at the paper's 0.6 (without its top-p)."""
    answers = sample(model, tokenizer, [question for question, _ in problems], 4, cap, heat=0.6)
    golds = [gold for _, gold in problems for _ in range(4)]
    return sum(accuracy(a.text, g) for a, g in zip(answers, golds, strict=True)) / len(golds)


# ---- the program
OPTIONS = (
    ("model", str(BASE), "folder of a causal language model"),
    ("steps", 40, "optimizer steps"),
    ("seed", 0, "of questions and sampling"),
    ("prompts", 16, "questions a step"),
    ("group", 16, "answers to each question, 2 or more"),
    ("max-tokens", 128, "longer answers are cut"),
    ("lr", 3e-4, "learning rate"),
    ("kl", 0.001, "weight of the KL term"),
    ("rows", 32, "answers in one backward pass; fewer need less memory"),
    ("heldout", 64, "problems asked before and after"),
    ("threads", 0, "CPU threads; 0 leaves it to torch"),
)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="R1-Zero in one file.")
    for name, default, said in OPTIONS:
        parser.add_argument(f"--{name}", type=type(default), default=default, help=said)
    args = parser.parse_args(given)
    if args.group < 2:
        parser.error("--group 1: one answer has no group to be compared with; use 2 or more")
    if not (Path(args.model) / "config.json").is_file():
        parser.error(f"--model {args.model}: no config.json there; name the folder of a model")
    return args


def main() -> None:
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    reference = copy.deepcopy(model).requires_grad_(False)
    optimizer = adam(model, args.lr)
    rng = random.Random(args.seed)
    exam = [problem(random.Random(f"exam {i}"), held=True) for i in range(args.heldout)]
    print(f"held-out pass@1 before: {pass_at_1(model, tokenizer, exam, args.max_tokens):.1%}")
    for number in range(1, args.steps + 1):
        start = time.perf_counter()
        asked = [problem(rng, held=False) for _ in range(args.prompts)]
        questions = [question for question, _ in asked]
        golds = [gold for _, gold in asked for _ in range(args.group)]
        answers = sample(model, tokenizer, questions, args.group, args.max_tokens)
        judged = [(a.text, gold) for a, gold in zip(answers, golds, strict=True)]
        rewards = torch.tensor([reward(*each) for each in judged])
        credit = advantages(rewards.view(args.prompts, args.group))
        batch = pad(answers, credit.flatten())
        _, kl, norm = step(model, reference, optimizer, batch, kl=args.kl, rows=args.rows)
        if number % 400 == 0:  # the paper renews the reference every 400 steps
            reference.load_state_dict(model.state_dict())
        print(
            f"step {number}/{args.steps} acc {mean(accuracy(*each) for each in judged):.2f} "
            f"fmt {mean(form(a.text) for a in answers):.2f} "
            f"len {mean(len(a.ids) for a in answers):.0f} cut {mean(a.cut for a in answers):.0%} "
            f"kl {kl:.4f} norm {norm:.2f} {time.perf_counter() - start:.1f}s",
            flush=True,
        )
    print(f"held-out pass@1 after:  {pass_at_1(model, tokenizer, exam, args.max_tokens):.1%}")
    question, gold = exam[0]
    text = sample(model, tokenizer, [question], 1, args.max_tokens)[0].text.strip()
    print(f"{question} (right: {gold})\n{text}")


if __name__ == "__main__":
    main()
