"""Supervised training on dialogues. DeepSeek-R1 §2.3.1 (cold start), §2.3.3, §2.4 (distillation).

    RUN/sft/data.json            what became of every row
    RUN/sft/mismatch.json        where stored answers of an RL stage are learned: stages/off_policy.py
    RUN/sft/metrics.jsonl        loss of each step; held-out loss before, after and on the way
    RUN/sft/checkpoints/step_N/  the model (hf/) and everything to go on from (state/)

A killed run goes on from its newest whole checkpoint to the same bytes. What is learned, token by token,
`train/supervised.py` says; `aha data inspect` shows it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from aha import files
from aha.config import Recipe, SftConfig
from aha.data import dialogues, learned, mixture, templates
from aha.data.dialogues import Dialogue
from aha.data.order import set_aside
from aha.data.templates import Template
from aha.errors import DataError
from aha.models import load as models
from aha.models.adapters import merged
from aha.models.locate import locate
from aha.report.console import Console
from aha.stages import longest, off_policy, resolution
from aha.stages.course import Course
from aha.stages.dag import Node
from aha.stages.run_folder import RunFolder, check_disk
from aha.stages.stop import Stop, on_signal
from aha.train import plan
from aha.train.checkpoint import seed_all, step_name
from aha.train.optim import Optimizer
from aha.train.plan import Resolved
from aha.train.step import LossOptions, Trainer
from aha.train.supervised import Example, Lessons, learn, loss

DATA = "data.json"
MOST_HELDOUT = 200


def run(recipe: Recipe, node: Node, run_folder: RunFolder, console: Console) -> dict[str, Any]:
    """Train; returns the facts for DONE. Goes on from the newest whole checkpoint if there is one.

    Raises:
        ConfigError: dialogues may be longer than the model has positions.
        DataError: no dialogue can be used.
        ModelError, RunError, DoesNotFit: see there.
        Stopped: the user asked for it; a checkpoint was written first.
    """
    config = recipe.sft
    assert config is not None
    folder, stop = run_folder.begin(node), Stop()
    read = read_data(recipe, config)
    for doubt in read.doubts:
        console.alert(doubt)
    model_folder = locate(recipe.model.path)
    longest.check(recipe, node.name, models.describe(model_folder))
    resolved, size = resolve(recipe, config, folder, model_folder)
    check_disk(run_folder.root, size)
    torch.set_num_threads(resolved.threads)
    seed_all(recipe.seed)
    loaded = models.load(model_folder, recipe.model, dtype=resolved.dtype)
    template = templates.load_template(recipe.data, loaded.tokenizer, generation_eos=loaded.eos_ids)
    data = examples_of(config, template, read)
    stored, dropped = off_policy.answers_of(config.train)
    files.write_json(folder / DATA, data.facts | ({"dropped": dropped} if stored else {}))
    taken = {
        example.id for example in data.learned
    }  # of a mixture, or beside held-out ones, not all are
    answers = [(sampler, one) for sampler, one in stored if one.id in taken]
    measured = off_policy.measured(
        folder,
        answers,
        template,
        recipe.data,
        max_tokens=config.max_tokens,
        seed=recipe.seed,
        budget=resolved.micro_tokens,
    )
    lessons = Lessons(
        data.learned, per_step=config.examples_per_step, epochs=config.epochs, seed=recipe.seed
    )
    policy = loaded.policy
    policy.kept_logits = resolved.kept_logits
    optimizer = Optimizer(policy, config.optim, lessons.steps)
    trainer = Trainer(policy, optimizer, options=LossOptions(), budget=resolved.micro_tokens)
    course = _course(run_folder, folder, config, lessons, data.heldout, trainer, loaded, console)
    if answers:  # the weights are those of the start here, also in a run that goes on
        measured.at("start", policy, console)
    course.begin(
        f"aha {folder.name} · {recipe.name}",
        _lines(config, data.facts, resolved, loaded, run_folder.root),
    )
    console.lines([*read.lines, *mixture.table_text(data.facts["table"]).split("\n")])
    with on_signal(stop, console):
        course.train(stop)
    ends = course.ends("sft", "loss")
    if answers:
        measured.at("end", policy, console)
        ends |= measured.ends()
    final = folder / "checkpoints" / step_name(course.state.step)
    console.note(f"done. model: {final / 'hf'}")
    return {"step": course.state.step, "checkpoint": final.name, **ends}


def _course(
    run_folder: RunFolder,
    folder: Path,
    config: SftConfig,
    lessons: Lessons[Example],
    heldout: Sequence[Example],
    trainer: Trainer,
    loaded: models.Loaded,
    console: Console,
) -> Course:
    def measured(step: int) -> dict[str, float | None]:
        if not heldout:
            return {}
        with merged(trainer.policy):
            return {"sft/heldout/loss": loss(trainer, heldout)["all"]}

    def export(path: Path, step: int) -> None:
        models.save(path, loaded)
        run_folder.describe(path, step=step)

    return Course(
        name=folder.name,
        folder=folder,
        config=config,
        steps=lessons.steps,
        step=lambda step: learn(trainer, lessons, step),
        heldout=measured,
        export=export,
        loss="sft/loss",
        policy=trainer.policy,
        optimizer=trainer.optimizer,
        console=console,
        attempt=run_folder.attempt,
        event=run_folder.event,
    )


def _lines(
    config: SftConfig, facts: dict[str, Any], resolved: Resolved, loaded: models.Loaded, root: Path
) -> list[str]:
    parameters = sum(p.numel() for p in loaded.policy.parameters())
    return [
        f"model   {loaded.folder}, {parameters / 1e6:.1f}M parameters, {resolved.dtype}, "
        f"{resolved.threads} threads",
        f"data    {facts['learned']} examples, {facts['tokens']:,} tokens to learn; "
        f"{facts['heldout']} held out; left out: {facts['too_long']} too long, "
        f"{facts['refused']} refused, {facts['broken']} broken",
        f"step    {config.examples_per_step} examples, {config.epochs:g} epochs; "
        f"micro-batches of {resolved.micro_tokens} tokens",
        f"run     {root}",
    ]


# -- the data ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Data:
    learned: list[Example]
    heldout: list[Example]
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
    """Dialogues to learn and held-out ones, and what became of the rows."""

    learned: list[Dialogue]
    heldout: list[Dialogue]
    broken: int
    sources: dict[str, dict[str, Any]]
    """Of what is learned or set aside: data/learned.py."""
    lines: list[str]
    doubts: list[str]
    shared: int = 0
    """Dialogues of `train` that are left out because a named held-out one asks the same."""
    contaminated: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What was left out because it shares text with held-out problems: data/learned.py."""


def read_data(recipe: Recipe, config: SftConfig) -> Read:
    """The dialogues of a recipe. No question is on both sides of the split, whatever its answers.

    Raises:
        ConfigError, DataError: see data/learned.py.
    """
    against = learned.held_out(recipe.data)
    made = learned.load(config.train, config=recipe.data, seed=recipe.seed, index=against.index)
    train, broken, doubts = made.dialogues, made.broken, list(made.doubts)
    there, lines = len(train), made.lines()
    said = against.line(made.contaminated)
    (doubts if recipe.data.heldout and against.detail else lines).append(said)
    if config.heldout:
        named = [config.heldout] if isinstance(config.heldout, str) else config.heldout
        loaded = [dialogues.load(one, split="heldout", config=recipe.data) for one in named]
        heldout = [one for each in loaded for one in each.dialogues]
        broken += sum(len(each.bad) for each in loaded)
        asked = {context for one in heldout for context in _learned_after(one, config)}
        train = [one for one in train if asked.isdisjoint(_learned_after(one, config))]
        heldout = heldout[:MOST_HELDOUT]
    else:
        roots = [one.asked[0] for one in train]
        out = set_aside(roots, config.heldout_share, recipe.seed, most=MOST_HELDOUT)
        heldout = [one for one, root in zip(train, roots, strict=True) if root in out]
        train = [one for one, root in zip(train, roots, strict=True) if root not in out]
        if int(there * config.heldout_share) and not heldout:
            doubts.append(_none_aside(there, len(set(roots)), config.heldout_share))
    return Read(
        learned=train,
        heldout=heldout,
        broken=broken,
        sources=made.sources,
        lines=lines,
        doubts=doubts,
        shared=there - len(train) if config.heldout else 0,
        contaminated=against.facts(made.contaminated),
    )


def _none_aside(dialogues: int, questions: int, share: float) -> str:
    if questions == 1:
        return f"nothing is held out: all {dialogues} dialogues begin with one question"
    return (
        f"nothing is held out: {dialogues} dialogues begin with {questions} questions, and each has more of "
        f"them than heldout_share={share:g} sets aside; raise it, or name other dialogues in heldout"
    )


def _learned_after(dialogue: Dialogue, config: SftConfig) -> set[tuple[str, ...]]:
    """What the user has said where an answer is learned, for each such answer."""
    asked = dialogue.asked
    if config.turns == "last":
        return {asked}
    return {asked[:turn] for turn in range(1, len(asked) + 1)}


def load_data(recipe: Recipe, config: SftConfig) -> tuple[list[Dialogue], list[Dialogue], int]:
    """Dialogues to learn, held-out ones, and how many rows were broken. Raises: as `read_data`."""
    read = read_data(recipe, config)
    return read.learned, read.heldout, read.broken


def examples_of(config: SftConfig, template: Template, read: Read) -> Data:
    """Dialogues as tokens; those that are too long or refused are counted, never cut."""
    why: list[str] = []
    long = 0
    sizes: dict[int, int] = {}  # tokens of the dialogues that are learned, by identity

    def made(some: Sequence[Dialogue]) -> list[Example]:
        nonlocal long
        examples = []
        for dialogue in some:
            places = dialogue.turns if config.turns == "all" else dialogue.turns[-1:]
            for place in places:
                turns, (_, response) = dialogue.messages[:place], dialogue.messages[place]
                try:
                    prompt, answer = templates.example(template, turns, response, name=dialogue.id)
                except DataError as error:
                    why.append(str(error))
                    continue
                if len(prompt) + len(answer) > config.max_tokens:
                    long += 1
                    continue
                name = dialogue.id if len(places) == 1 else f"{dialogue.id}/{place}"
                sizes[id(dialogue)] = len(prompt) + len(answer)
                examples.append(
                    Example(
                        id=name,
                        prompt_ids=tuple(prompt),
                        token_ids=tuple(answer),
                        domain=dialogue.domain,
                    )
                )
        return examples

    train, held = made(read.learned), made(read.heldout)
    if not train:
        raise DataError(
            f"none of {len(read.learned)} dialogues can be learned: {long} are longer than "
            f"sft.max_tokens={config.max_tokens}; refused: {'; '.join(why[:3]) or 'none'}"
        )
    facts = {
        "learned": len(train),
        "heldout": len(held),
        "tokens": sum(len(example.token_ids) for example in train),
        "prompt_tokens": sum(len(example.prompt_ids) for example in train),
        "too_long": long,
        "refused": len(why),
        "refused_first": why[:5],
        "broken": read.broken,
        "shared": read.shared,
        "contaminated": read.contaminated,
        "sources": read.sources,
        "table": mixture.table(
            [one for one in read.learned if id(one) in sizes], lambda one: sizes[id(one)]
        ),
    }
    return Data(train, held, facts)


def resolve(
    recipe: Recipe, config: SftConfig, folder: Path, model_folder: Path
) -> tuple[Resolved, int]:
    """Threads, dtype and budgets: measured at the first start, stored, and read ever after."""
    return resolution.planned(folder, lambda: plan.make_supervised(recipe, config, model_folder))
