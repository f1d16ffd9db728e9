"""reference/zero_in_one_file.py against the package: same rewards, advantages, gradients and weights.

The file imports nothing of the package and shares no code with it: padded tensors against the packed,
prefix-shared, column-weighted step; a regular expression against the graders.
"""

import ast
import copy
import importlib.util
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from small_policies import gradients, group, trainer

from aha.config import DataConfig, ModelConfig, OptimConfig, ZeroConfig
from aha.data.tasks import arithmetic
from aha.data.templates import PLACE, load_template, r1_zero
from aha.models import load as models
from aha.models.policy import Policy
from aha.records import Prompt, Rendered, Rollout
from aha.rewards.grade import grade
from aha.rewards.mix import Mix
from aha.rewards.workers import GraderPool
from aha.rl.advantages import group_advantages
from aha.rollout.collect import collect
from aha.rollout.engine import SamplingParams
from aha.rollout.local.engine import LocalEngine
from aha.train.credit import to_samples, to_trees
from aha.train.reference import Reference

ROOT = Path(__file__).parents[2]
FILE = ROOT / "reference" / "zero_in_one_file.py"
KINDS = ("llama", "qwen2", "deepseek_v3")
LR = 1e-3

spec = importlib.util.spec_from_file_location("zero_in_one_file", FILE)
zero = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = zero  # dataclasses look their module up
spec.loader.exec_module(zero)


def test_it_imports_nothing_of_the_package_and_stays_short():
    tree = ast.parse(FILE.read_text("utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module.split(".")[0])
    assert found - set(sys.stdlib_module_names) == {"torch", "transformers"}
    assert len(FILE.read_text("utf-8").splitlines()) <= 345


def test_its_settings_are_the_packages_defaults():
    config, optim = ZeroConfig(), OptimConfig()
    said = zero.arguments([])
    assert (said.group, said.kl) == (config.group_size, config.kl_coef)
    assert config.clip_low == config.clip_high == zero.CLIP
    assert optim.grad_clip == zero.LARGEST_NORM
    (settings,) = zero.adam(torch.nn.Linear(1, 1), said.lr).param_groups
    assert settings["lr"] == said.lr
    assert settings["betas"] == (optim.beta1, optim.beta2)
    assert settings["eps"] == optim.eps
    assert settings["weight_decay"] == optim.weight_decay == 0


def test_the_template_is_the_packages_byte_for_byte():
    assert zero.TEMPLATE.replace("{question}", PLACE) == r1_zero()
    assert zero.render("1 + {question}?") == r1_zero().replace(PLACE, "1 + {question}?")


def test_wrong_arguments_are_refused(capsys, tmp_path):
    for given in (["--group", "1"], ["--model", str(tmp_path)]):
        with pytest.raises(SystemExit):
            zero.arguments(given)
    assert "no config.json" in capsys.readouterr().err


def test_problems_have_the_right_answer_and_the_packages_split():
    for held in (True, False):
        for seed in range(300):
            question, gold = zero.problem(random.Random(seed), held=held)
            written = re.search(r"\d+ [-+*] \d+ [-+*] \d+", question).group()
            assert str(eval(written)) == gold  # digits and three signs: nothing else can match
            assert int(gold) >= 0
            assert arithmetic.is_heldout(written) == held


# ---- rewards and advantages

ANSWERS = [
    "<think>2 + 3 = 5</think> <answer>5</answer>",
    " <think>\n2 + 3\n</think>\n<answer> 5 </answer>\n",
    "<think>x</think> <answer>\\boxed{5}</answer>",
    "<think>x</think> <answer>$5$.</answer>",
    "<think>x</think> <answer>05</answer>",
    "<think>x</think> <answer>-5</answer>",
    "<think>x</think> <answer>6</answer>",
    "<think>x</think> <answer>4 5</answer>",
    "<think>x</think> <answer></answer>",
    "<think> </think> <answer>5</answer>",
    "<think>x</think> <answer>5</answer> 5",
    "<think>x</think> <answer>5",
    "<think>\\boxed{5}",
    "<think>5</think> \\boxed{5}",
    "\\boxed{5} and <answer>6</answer>",
    "\\boxed{6} no, \\boxed{5}",
    "\\boxed{5} no, \\boxed{",
    "<think>x</think> <answer>6</answer> <answer>5</answer>",
    "<answer>5</answer>",
    "<think>a<think>b</think><answer>5</answer>",
    "<think>a</think><answer><think>5</think></answer>",
    "<think>a <answer>5</answer></think><answer>5</answer>",
    "<think>a</think>b<answer>5</answer>",
    "x<think>a</think><answer>5</answer>",
    "<THINK>a</THINK><ANSWER>5</ANSWER>",
    "答案是 5。",
    "",
]


def scored(text):
    """What the package's rewards say of an answer to a question whose answer is 5."""
    rollout = Rollout(
        prompt_id="q", sample=0, token_ids=(1,), logprobs=(0.0,), text=text, policy_version=0,
        stopped="stop",
    )  # fmt: skip
    asked = Rendered(prompt=Prompt(id="q", question="?", gold="5"), text="?", token_ids=(1,))
    mix = Mix({"accuracy": 1.0, "format": 1.0})
    return mix.score(asked, [rollout], [grade("math", "5", text)]).scored[0]


@pytest.mark.parametrize("text", ANSWERS)
def test_rewards_are_the_packages(text):
    parts = scored(text).parts
    assert (zero.accuracy(text, "5"), zero.form(text)) == (parts["accuracy"], parts["format"])
    assert zero.reward(text, "5") == scored(text).reward


@pytest.mark.parametrize("answer", ["five", "2 + 3 = 5", "5 apples", "\\boxed{\\text{5}}", "10/2"])
def test_other_ways_to_write_a_number_are_left_to_the_package(answer):
    text = f"<think>x</think><answer>{answer}</answer>"
    assert scored(text).parts["accuracy"] == 1.0 > zero.accuracy(text, "5")


def test_the_format_of_texts_that_are_almost_right_is_the_packages():
    draw = random.Random(0)
    good = ["<think>", "2 + 3", "</think>", " ", "<answer>", "5", "</answer>"]
    formed = 0
    for _ in range(3000):
        pieces = list(good)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(pieces))
            pieces[at : at + draw.randint(0, 1)] = draw.choices([*good, ""], k=1)
        text = "".join(pieces)
        formed += zero.form(text)
        assert zero.form(text) == scored(text).parts["format"], text
    assert 100 < formed < 2900


def test_advantages_by_hand():
    # mean 1/4, variance (9 + 1 + 1 + 1)/16 / 3 = 1/4, std 1/2; a group that agrees teaches nothing
    got = zero.advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.7, 0.7, 0.7, 0.7]]))
    assert got.tolist() == [[1.5, -0.5, -0.5, -0.5], [0.0, 0.0, 0.0, 0.0]]


def test_advantages_are_the_packages():
    rewards = torch.randint(0, 3, (200, 5)).float()
    rewards[7] = 0.1
    ours = zero.advantages(rewards)
    theirs = torch.stack([group_advantages(row) for row in rewards]).float()
    assert torch.equal(ours, theirs)


# ---- loss, gradient and weights on the same rollouts


def padded(groups):
    """Groups of the package as the file's batch."""
    rollouts = [s.rollout for g in groups for s in g.scored]
    prompts = [list(g.rendered.token_ids) for g in groups for _ in g.scored]
    answers = [
        zero.Answer(prompt, list(r.token_ids), list(r.logprobs))
        for prompt, r in zip(prompts, rollouts, strict=True)
    ]
    rewards = [torch.tensor([[s.reward for s in g.scored]]) for g in groups]
    credit = torch.cat([zero.advantages(each).flatten() for each in rewards])
    return zero.pad(answers, credit)


def plain(of):
    """The same weights with the attention that transformers ships, as the file loads them."""
    model = copy.deepcopy(of.model)
    model.set_attn_implementation("sdpa")
    return model.eval()


def near(of, size=0.01):
    """A reference whose weights differ a little from the policy's."""
    other = copy.deepcopy(of)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return Reference(other)


def ragged(of):
    """Groups by hand: prompts and answers of many lengths, one cut, one group that agrees.

    Old log-probabilities are the policy's, shaken, so that ratios leave the clip range both ways.
    """
    generator = torch.Generator().manual_seed(3)
    works = LocalEngine(of, eos_ids=(2,), decode=str, budget_bytes=1 << 24)

    def make(name, prompt, lengths, rewards, **more):
        prompt, *answers = (
            torch.randint(3, tiny.VOCAB, (n,), generator=generator).tolist()
            for n in (prompt, *lengths)
        )
        known = works.score([prompt] * len(answers), answers)
        shaken = [
            (torch.tensor(row) + 0.25 * torch.randn(len(row), generator=generator)).tolist()
            for row in known
        ]
        return group(name, prompt, answers, rewards, logprobs=shaken, **more)

    return [
        make("a", 5, [3, 9, 1, 6], [1.0, 0.0, 0.0, 2.0]),
        make("agrees", 2, [4, 2, 7, 1], [1.0, 1.0, 1.0, 1.0]),
        make("cut", 11, [12, 3, 2, 8], [0.0, 1.0, 0.0, 1.0], cut=[0]),
        make("one token", 1, [2, 5, 1, 8], [2.0, 1.0, 0.0, 0.0]),
    ]


def difference(found, wanted):
    """Cosine of two gradients (all parameters as one vector), norm of the difference over the norm."""
    names = sorted(wanted)
    assert sorted(found) == names
    a, b = (torch.cat([each[n].double().flatten() for n in names]) for each in (found, wanted))
    return float(torch.cosine_similarity(a, b, dim=0)), float((a - b).norm() / b.norm())


def assert_same_gradient(of, reference, groups, kl, *, budget):
    config = ZeroConfig(kl_coef=kl)
    worker = trainer(of, reference=reference if kl else None, budget=budget)
    packed_loss, packed = gradients(worker, to_trees(groups, config))
    model = plain(of)
    model.zero_grad()
    loss, divergence = zero.backward(model, plain(reference.policy), padded(groups), kl=kl, rows=5)
    naive = {
        f"model.{n}": torch.zeros_like(p) if p.grad is None else p.grad
        for n, p in model.named_parameters()
    }
    assert loss == pytest.approx(packed_loss, rel=1e-4, abs=1e-6)
    assert divergence >= 0
    cosine, apart = difference(packed, naive)
    assert cosine >= 0.99999
    assert apart <= 1e-4


def assert_same_weights(of, reference, groups, kl, steps=3):
    """Both optimizers on the same rollouts; from the second step on the ratios have moved."""
    config = ZeroConfig(kl_coef=kl)
    model, anchor = plain(of), plain(reference.policy)
    before = {n: p.detach().clone() for n, p in of.named_parameters()}
    worker = trainer(of, reference=reference if kl else None, optim={"lr": LR})
    optimizer, batch = zero.adam(model, LR), padded(groups)
    for number in range(steps):
        result = worker.step(to_trees(groups, config), number, on_policy=False)
        loss, divergence, norm = zero.step(model, anchor, optimizer, batch, kl=kl)
        assert result.made
        assert loss == pytest.approx(result.metrics["policy/loss"], rel=1e-3, abs=1e-5)
        assert norm == pytest.approx(result.metrics["optim/grad_norm"], rel=1e-3)
        if kl:
            assert divergence == pytest.approx(result.metrics["policy/kl/mean"], rel=1e-3, abs=1e-6)
    packed = {n: p.detach() for n, p in of.named_parameters()}
    naive = {f"model.{n}": p.detach() for n, p in model.named_parameters()}
    assert difference(packed, naive)[1] <= 1e-5
    assert difference(packed, before)[1] > 1e-3  # and they did move


@pytest.mark.parametrize("kl", [0.5, 0.001, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_packed_one(kind, kl):
    of = tiny.policy(kind)
    groups = ragged(of)
    for budget in (10_000, 30):  # one packed stream; groups that are split
        assert_same_gradient(of, near(of), groups, kl, budget=budget)


@pytest.mark.parametrize("kl", [0.001, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_three_steps_give_the_same_weights(kind, kl):
    of = Policy(tiny.build(kind))
    assert_same_weights(of, Reference(of), ragged(of), kl)


# ---- the base model: rollouts of the package's engine, judged by its graders


@pytest.fixture(scope="module")
def base():
    return models.load(zero.BASE, ModelConfig())


QUESTIONS = [("What is 3 + 4 * 5?", "23"), ("计算 12 + 7 - 3。", "16")]
CAP = 12


@pytest.fixture(scope="module")
def collected(base):
    """Sampled groups, and one that writes what no untrained model does."""
    template = load_template(DataConfig(), base.tokenizer, generation_eos=base.eos_ids)
    rendered = [
        template.render(Prompt(id=str(i), question=q, gold=g)) for i, (q, g) in enumerate(QUESTIONS)
    ]
    engine = LocalEngine(
        base.policy,
        eos_ids=template.eos_ids,
        decode=models.decoder(base.tokenizer),
        budget_bytes=1 << 28,
    )
    params = SamplingParams(max_tokens=CAP, stop=template.stop, stream=(0, "parity"))
    score = Mix({"accuracy": 1.0, "format": 1.0}).score
    with GraderPool(workers=1) as graders:
        groups = collect(engine, graders, score, rendered, 4, params, phase="p")
    texts = [ANSWERS[i].replace("5", "23") for i in (0, 5, 12, 25)]
    ids = [base.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    known = engine.score([rendered[0].token_ids] * len(ids), ids)
    written = []
    for i, (text, each, logps) in enumerate(zip(texts, ids, known, strict=True)):
        rollout = Rollout(
            prompt_id="0", sample=i, token_ids=tuple(each), logprobs=tuple(logps), text=text,
            policy_version=0, stopped="stop",
        )  # fmt: skip
        written += score(rendered[0], [rollout], [grade("math", "23", text)]).scored
    by_hand = copy.copy(groups[0])
    object.__setattr__(by_hand, "scored", tuple(written))
    return [*groups, by_hand]


def test_collected_answers_earn_the_same(base, collected):
    golds = [*(gold for _, gold in QUESTIONS), "23"]
    lengths = set()
    for each, gold in zip(collected, golds, strict=True):
        rewards = [zero.reward(s.rollout.text, gold) for s in each.scored]
        assert rewards == [s.reward for s in each.scored]
        samples = to_samples(each, ZeroConfig())
        credit = zero.advantages(torch.tensor([rewards]))[0]
        assert credit.tolist() == torch.tensor([s.advantage[0] for s in samples]).tolist()
        assert zero.render(each.rendered.prompt.question) == each.rendered.text
        ids = base.tokenizer(zero.render(each.rendered.prompt.question)).input_ids
        assert tuple(ids) == each.rendered.token_ids
        lengths |= {len(s.rollout.token_ids) for s in each.scored}
    assert len(lengths) > 3
    assert any(s.rollout.stopped == "length" for g in collected for s in g.scored)
    assert max(len({s.reward for s in g.scored}) for g in collected) == 3


@pytest.mark.parametrize("kl", [0.001, 0.0])
def test_the_gradient_of_the_base_model_is_the_packed_one(base, collected, kl):
    assert_same_gradient(base.policy, near(base.policy, 0.002), collected, kl, budget=400)


def test_three_steps_of_the_base_model_give_the_same_weights(base, collected):
    of = copy.deepcopy(base.policy)
    assert_same_weights(of, Reference(of), collected, 0.001)


def test_its_own_sampling(base):
    """Recorded log-probabilities are those of a padded forward pass; answers end where they should."""
    model = plain(base.policy)
    torch.manual_seed(1)
    answers = zero.sample(model, base.tokenizer, [q for q, _ in QUESTIONS[:2]], 6, CAP)
    assert [a.prompt for a in answers[:6]] == [answers[0].prompt] * 6
    assert answers[6].prompt == base.tokenizer(zero.render(QUESTIONS[1][0])).input_ids
    batch = zero.pad(answers, torch.zeros(len(answers)))
    with torch.no_grad():
        logp = zero.logprobs(model, batch.ids, batch.mask)
    assert torch.allclose(logp[batch.answer], batch.old_logp[batch.answer], atol=1e-4)
    assert int(batch.answer.sum()) == sum(len(a.ids) for a in answers)
    for a in answers:
        assert a.cut == (
            len(a.ids) == CAP and a.ids[-1] not in base.eos_ids and zero.STOP not in a.text
        )
        assert a.cut or a.ids[-1] in base.eos_ids or zero.STOP in a.text
        assert not set(a.ids[:-1]) & set(base.eos_ids)
        kept = a.ids[:-1] if a.ids[-1] in base.eos_ids else a.ids
        assert a.text == models.decoder(base.tokenizer)(kept)
    assert len({len(a.ids) for a in answers}) > 2


def test_sampling_ends_at_the_closing_tag_and_draws_from_the_softmax():
    """A model that knows two tokens with shares 3 : 1, whatever it reads."""

    class Coin(torch.nn.Module):
        generation_config = type("", (), {"eos_token_id": None})

        def forward(self, ids, mask, *, position_ids, past_key_values, use_cache):
            assert position_ids.shape == ids.shape
            logits = torch.tensor([3.0, 1.0]).log().expand(*ids.shape, 2)
            cache = type("", (), {"batch_select_indices": lambda self, rows: None})()
            return type("", (), {"logits": logits, "past_key_values": cache})

    class Words:
        eos_token_id = None

        def __call__(self, text):
            return type("", (), {"input_ids": [0]})

        def decode(self, ids):
            return "".join((" go", "</answer>")[i] for i in ids)

    torch.manual_seed(0)
    for heat, share in ((1.0, 1 / 4), (0.5, 1 / 10)):  # 3^2 : 1^2
        answers = zero.sample(Coin(), Words(), ["a", "b"], 1000, 3, heat)
        assert all(a.cut == (a.ids == [0, 0, 0]) for a in answers)
        assert all(1 not in a.ids[:-1] for a in answers)
        first = sum(a.ids[0] for a in answers) / 2000
        assert abs(first - share) < 4 * (share * (1 - share) / 2000) ** 0.5
        assert answers[0].logps[0] == pytest.approx(
            torch.tensor([1 - share, share]).log()[answers[0].ids[0]].item(), abs=1e-6
        )


@pytest.mark.slow
def test_the_program_runs():
    small = "--steps 2 --prompts 2 --group 4 --max-tokens 40 --heldout 4 --threads 1"
    done = subprocess.run(
        [sys.executable, str(FILE), *small.split()],
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"held-out pass@1 before: \d+\.\d%", lines[0])
    for number in (1, 2):
        assert re.match(
            rf"step {number}/2 acc \d\.\d\d fmt \d\.\d\d len \d+ cut \d+% kl ", lines[number]
        )
    assert re.fullmatch(r"held-out pass@1 after:  \d+\.\d%", lines[3])
