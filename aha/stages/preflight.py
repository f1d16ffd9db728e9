"""Before the first step of RL: can this model learn from these problems, and if not, why?

Measured, cheap things first: the grader on gold answers; the template; answers that the run's own
model writes to its first questions, with its template, sampler, graders and rewards. `judge` turns
the numbers into a verdict: can, slowly, cannot (preflight_rules.py). The measurement has an engine
and a random stream of its own, so the run that follows is the same to the byte with or without it.

    RUN/zero/preflight.json   verdict and numbers; nothing volatile in it

What is not covered: whether what can be learned will be (a learning rate too high, a reward that can
be cheated). A verdict comes from a few questions: the intervals say how much it can be trusted.
"""

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from aha import files
from aha.config import Recipe, ZeroConfig
from aha.data.golds import own_answer
from aha.errors import ConfigError, RunError, keys_of
from aha.evals import passk
from aha.models.locate import locate
from aha.records import Grade, Group, Prompt, Scored
from aha.report.console import Console
from aha.rewards.format import format_reward
from aha.rollout.collect import Graders, collect
from aha.stages import dag, resolution, start
from aha.stages.normalise import NORMALISE
from aha.stages.preflight_rules import Gold, Sampled, Verdict, judge, lines, refused

if TYPE_CHECKING:
    from aha.train.run import Run

PREFLIGHT = "preflight.json"
GOLDS = 256
"""Gold answers that are tried on the grader."""
ROUNDS = 4
"""Times that more questions are asked while no group holds both right and other answers."""
SHOWN = 3
"""Refused gold answers that are told."""


def before_first_step(run: "Run", recipe: Recipe, node: dag.Node) -> None:
    """Measure (or read what was measured), say it, and stop a run that cannot learn.

    Raises:
        RunError: it cannot, and `zero.preflight_strict` is on. Nothing was trained: the folder takes
            a mended recipe.
    """

    assert recipe.zero is not None
    stored, rate = run.folder / PREFLIGHT, None
    facts = _stored(stored, node.fingerprint)
    if facts is None:
        facts, rate = measure(run, recipe.seed, recipe.data.answer_tag, recipe.zero.preflight)
        files.write_json(stored, {"recipe": node.fingerprint} | facts)
        run.event("preflight", verdict=facts["verdict"], tokens_per_s=rate)
    run.console.note(keys_of(node.name, "zero", "\n".join(lines(facts, recipe.zero, rate))))
    verdict = Verdict(**facts["verdict"])
    if verdict.state == "cannot" and recipe.zero.preflight_strict:
        begun_with = (resolution.RESOLVED, NORMALISE, dag.FINGERPRINT)
        for begun in begun_with:  # the folder is no recipe's own yet
            (run.folder / begun).unlink(missing_ok=True)
        raise RunError(
            f"{verdict.sentence}. {verdict.todo} To run all the same: "
            "--set zero.preflight_strict=false"
        )


def examine(recipe: Recipe, stage: str = "") -> tuple[dict[str, Any], list[str]]:
    """`aha preflight`: facts as plain values and as lines. Leaves nothing behind.

    Args:
        stage: of kind rl; the first one of the recipe without it.

    Raises:
        ConfigError: no such RL stage, or what it starts from is not made yet.
    """
    from aha.stages import zero
    from aha.stages.run_folder import opened

    nodes = dag.graph(recipe)
    learning = [node for node in nodes if node.kind == "rl"]
    if not learning:
        raise ConfigError(
            "the recipe has no stage of kind rl: there is nothing to look at beforehand"
        )
    node = dag.select(nodes, [stage])[-1] if stage else learning[0]
    if node.kind != "rl":
        there = ", ".join(node.name for node in learning)
        raise ConfigError(f"{stage} is of kind {node.kind}; a preflight looks at kind rl: {there}")
    root = Path(recipe.run_dir) / recipe.name
    for before in node.parents:
        if dag.status(before, root) != "done":
            raise ConfigError(
                f"{node.name} needs the stage {before.name}, which is not done in {root}: run it first with "
                f"`aha run RECIPE {before.name}`"
            )
    recipe = start.view(recipe, node.name, root)
    assert recipe.zero is not None
    name, (node,) = node.name, dag.graph(recipe)
    model = locate(recipe.model.path)
    answers = recipe.zero.preflight or ZeroConfig.model_fields["preflight"].default
    with (
        tempfile.TemporaryDirectory(prefix="aha-preflight-") as aside,
        opened(Path(aside) / "run", recipe) as folder,
        Console(stream=io.StringIO(), face="plain") as silent,
        zero.assembled(recipe, folder, folder.begin(node), model, silent) as run,
    ):
        facts, rate = measure(run, recipe.seed, recipe.data.answer_tag, answers)
    said = [keys_of(name, "zero", line) for line in lines(facts, recipe.zero, rate)]
    return facts | {"sampled_tokens_per_s": rate}, said


def measure(
    run: "Run", seed: int, answer_tag: str, answers: int
) -> tuple[dict[str, Any], float | None]:
    """Gold answers, template, samples and the verdict on them, as plain values; tokens per second.

    Args:
        answers: sampled at least, in whole groups.
    """
    asked, _ = run.order.take(min(GOLDS, len(run.questions)), 0)  # of a mix, as it is mixed
    prompts = [run.questions[i].prompt for i in asked]
    gold = check_gold(prompts, run.graders, answer_tag)
    sampled, rate = None, None
    if not refused(gold):
        sampled, rate = sample(run, seed, answers)
    facts = {
        "verdict": asdict(judge(gold, sampled, run.config)),
        "gold": asdict(gold),
        "template": list(run.lint),
        "sampled": asdict(sampled) if sampled else None,
    }
    return json.loads(json.dumps(facts)), rate  # as it will be read again: no tuples


def check_gold(prompts: Sequence[Prompt], graders: Graders, answer_tag: str = "answer") -> Gold:
    """The answer that each problem itself calls right, given as an answer, must be right.

    Problems that name none (countdown without a solution, some of gym) are counted, not tried.
    """
    tried = [(prompt, own) for prompt in prompts if (own := own_answer(prompt)) is not None]
    for number, (prompt, own) in enumerate(tried):
        response = own
        if answer_tag and prompt.kind != "math":
            response = f"<{answer_tag}>{own}</{answer_tag}>"
        elif prompt.kind != "code":  # a program stands in its own block
            response = f"\\boxed{{{own}}}"
        key = f"preflight/gold/{number}"
        graders.submit(key, prompt.kind, prompt.gold, response, answer_tag=answer_tag)
    found: dict[str, Grade] = {}
    while graders.pending():
        found.update(graders.poll(0.1))
    first, kinds = [], []
    for number, (prompt, own) in enumerate(tried):
        grade = found[f"preflight/gold/{number}"]
        if grade.status != "correct":
            kinds.append(prompt.kind)
            why = f"{grade.status}, {grade.reason}" if grade.reason else grade.status
            first.append(f"{prompt.id}: gold {own[:60]!r} is {why}")
    return Gold(
        tried=len(tried),
        refused=len(kinds),
        first=tuple(first[:SHOWN]),
        untried=len(prompts) - len(tried),
        kind=kinds[0] if kinds else "",
    )


def sample(run: "Run", seed: int, answers: int) -> tuple[Sampled, float]:
    """Answers to the run's first questions, and answer tokens sampled per second.

    Whole groups of the run's own size; more questions, up to `ROUNDS` times as many, while no group
    is informative. The run's engine, order and random streams are not touched.
    """
    from aha.models.adapters import merged
    from aha.rollout.local.engine import LocalEngine

    own, config = run.engine, run.config
    engine = LocalEngine(
        own.policy,
        eos_ids=tuple(own.eos),
        decode=own.decode,
        budget_bytes=own.budget,
        max_rows=own.max_rows,
    )
    engine.load(run.state.step)
    size = max(1, -(-answers // config.group_size))
    asked, _ = run.order.take(min(ROUNDS * size, len(run.questions)), 0)
    groups: list[Group] = []
    waits: list[float] = []
    start = time.perf_counter()

    def progress(done: int, tokens: int) -> None:
        total = (len(groups) + size) * config.group_size
        rate = tokens / (time.perf_counter() - start)
        run.console.heartbeat(len(groups) * config.group_size + done, total, rate)

    with merged(run.trainer.policy):
        for at in range(0, len(asked), size):
            groups += collect(
                engine,
                run.graders,
                run.early_score or run.score,  # what the first steps are paid by
                [run.questions[i] for i in asked[at : at + size]],
                config.group_size,
                replace(run.params, stream=(seed, "preflight")),
                phase=f"preflight/{at}",
                tags=run.tags,
                progress=progress,
                waited=waits.append,
            )
            if any(_informative(group) or _varied_open(group) for group in groups):
                break
    seconds = time.perf_counter() - start - sum(waits)
    tokens = sum(len(s.rollout.token_ids) for group in groups for s in group.scored)
    return count(groups, run.tags), tokens / seconds


def count(groups: Sequence[Group], tags: tuple[str, str]) -> Sampled:
    """The numbers of scored groups. `right` is over judged answers."""
    scored = [s for group in groups for s in group.scored]
    lengths = sorted(len(s.rollout.token_ids) for s in scored)
    closed = [group for group in groups if not _open(group)]
    judged = [[s for s in group.scored if s.valid] for group in closed]
    rights = [[(_right(s), None) for s in group] for group in judged if group]
    right = passk.pass_at_1(rights) if rights else None
    informative = [_informative(group) for group in closed]
    each = [[(yes, None)] for yes in informative]
    share = passk.pass_at_1(each) if each else None  # one each: plain Wilson
    paid = [[s for s in group.scored if s.valid] for group in groups]
    names = {name for s in scored for name in s.parts}
    varying = {
        name for name in names for group in paid if len({s.parts.get(name) for s in group}) > 1
    }
    formatted = [
        format_reward(
            group.rendered.prefill + s.rollout.text, *tags, cut=s.rollout.stopped == "length"
        )
        for group in groups
        for s in group.scored
    ]
    return Sampled(
        questions=len(groups),
        group_size=max(len(group.scored) for group in groups),
        answers=len(scored),
        failed=sum(s.grade.failed for s in scored),
        parsed=sum(s.grade.extracted is not None for s in scored),
        formatted=sum(one > 0 for one in formatted),
        cut=sum(s.rollout.stopped == "length" for s in scored),
        right=sum(_right(s) for s in scored),
        right_low=right.low if right else 0.0,
        right_high=right.high if right else 1.0,
        informative=sum(informative),
        informative_low=share.low if share else 0.0,
        informative_high=share.high if share else 1.0,
        all_right=sum(bool(group) and all(map(_right, group)) for group in judged),
        all_wrong=sum(bool(group) and not any(map(_right, group)) for group in judged),
        varied=sum(len({s.reward for s in group}) > 1 for group in paid),
        varying=tuple(sorted(varying)),
        tokens_mean=fmean(lengths),
        tokens_p95=lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))],
        open_answers=sum(len(group.scored) for group in groups if _open(group)),
        open_questions=len(groups) - len(closed),
        open_varied=sum(_varied_open(group) for group in groups),
    )


def _stored(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """What an earlier attempt of the same recipe measured."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        facts = json.loads(path.read_text("utf-8"))
        if facts.pop("recipe", None) == fingerprint:
            return dict(facts)
    return None


def _right(scored: Scored) -> bool:
    return scored.grade.status == "correct"


def _open(group: Group) -> bool:
    """Has the question no right answer?"""
    return group.rendered.prompt.kind == "open"


def _varied_open(group: Group) -> bool:
    """Is there something to learn where nothing is right or wrong?"""
    return _open(group) and len({s.reward for s in group.scored if s.valid}) > 1


def _informative(group: Group) -> bool:
    right = [_right(s) for s in group.scored if s.valid]
    return any(right) and not all(right)
