"""What each stage did, measured: after a stage is done its model answers the prompts of `[measures]`.

    RUN/STAGE/measures/NAME/samples.jsonl   every answer to the source NAME, with its verdict
    RUN/STAGE/measures/NAME/answers.jsonl   what is measured of each (evals/measures.py)
    RUN/STAGE/measures/measures.json        the numbers, with intervals (evals/measures_numbers.py)
    RUN/STAGE/measures/DONE                 their fingerprint, last (cost.json: what measuring took)
    RUN/measures/base/                      the same of the model that the recipe begins with

Each stage is asked with its own template. All share one stream of random numbers, so that they are compared
in pairs. The fingerprint is apart from the stage's: other measures never run a stage again, and answers
that are already there are used again. A measure that fails loses nothing; the next `aha run` takes it up.

Not covered:  free memory decides how many answers decode side by side; where it is scarce and another
              at the next attempt, last bits of float32 may differ.
"""

import hashlib
import json
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import files
from aha.config import DataConfig, EvalConfig, MeasuresConfig, Recipe
from aha.data import sources
from aha.errors import ConfigError, RunError, Stopped
from aha.records import Prompt
from aha.report.console import Console
from aha.report.page.measures import ALL, BASE, BASE_FOLDER, FILE
from aha.stages import cost, dag, start
from aha.stages.run_folder import RunFolder

if TYPE_CHECKING:
    from aha.evals.measures import Measured

WRITERS = ("rl", "sft", "dpo")
"""Kinds of stages that make a model that writes text."""
VERSION = 1
"""Bump it when the same answers would give other numbers, or the same settings other answers."""
STREAM = "measures"
ANSWERS, ASKED = "answers.jsonl", "asked.json"


@dataclass(frozen=True)
class Subject:
    """A model that is measured."""

    name: str
    after: str | None
    """The stage that must be done first; None: nothing."""
    folder: Path
    """Of its measures, in the run folder."""
    model: str
    """What `locate` finds it by; relative to the run folder where `after` made it."""
    data: DataConfig
    """How it is asked."""
    made_by: Any
    """Plain values that say which model it is."""
    before: str = ""
    """The model that it is compared with: of the measured stages that it comes from, directly or not, the
    last one; else the base."""


def subjects(recipe: Recipe) -> list[Subject]:
    """The models that are measured, parents first, else in the recipe's order.

    Raises:
        ConfigError: `measures.stages` names what is no stage, or makes no model that writes.
    """
    config = recipe.measures
    if config is None:
        return []
    nodes = dag.graph(recipe)
    writers = [node for node in nodes if node.kind in WRITERS]
    for name in config.stages:
        if name not in [node.name for node in writers]:
            known = ", ".join(node.name for node in writers) or "none"
            raise ConfigError(
                f"measures.stages names {name!r}, which is no stage that makes a model that writes "
                f"text (there is: {known})"
            )
    wanted = [node for node in writers if not config.stages or node.name in config.stages]
    if config.base and BASE in recipe.stages():
        raise ConfigError(
            f"a stage is called {BASE!r}, as the column of measures.base is: give it another name"
        )
    found = [_base(recipe, nodes)] if config.base else []
    names = [node.name for node in wanted]
    for node in wanted:
        data = DataConfig.model_validate(start.settings(recipe, node.name)["data"])
        folder = Path(node.name, "measures")
        before = _before(node, names) or (BASE if config.base else "")
        made = (node.name, node.name, folder, node.name, data, node.fingerprint, before)
        found.append(Subject(*made))
    return found


def _before(node: dag.Node, measured: Sequence[str]) -> str:
    """Of the measured stages that a stage comes from, the nearest to it; "" if there is none.

    Nearest: none of the others comes from it. So R1 is compared with the model that it started from, and a
    supervised stage that starts from the base again with the model that wrote its answers.
    """
    found = [one for one in dag.ancestors(node) if one.name in measured]
    behind = {above.name for one in found for above in dag.ancestors(one)}
    nearest = [one.name for one in found if one.name not in behind]
    return max(nearest, key=measured.index, default="")


def _base(recipe: Recipe, nodes: Sequence[dag.Node]) -> Subject:
    path = recipe.model.path
    after = next(start.references(path), None)
    made = [node.fingerprint for node in nodes if node.name == after]
    return Subject(BASE, after, BASE_FOLDER, after or path, recipe.data, made or [path])


class Measuring:
    """The measures of one run; does nothing where the recipe has no `[measures]`.

    Raises:
        ConfigError, DataError: a source that cannot be used, before any stage begins.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, console: Console) -> None:
        self.recipe, self.run, self.console = recipe, folder, console
        self.subjects = subjects(recipe)
        self.failed: dict[str, str] = {}
        self._prompts: dict[str, list[Prompt]] = {}
        if not all(self._is_done(place) for place in range(len(self.subjects))):
            for name in self.config.heldout:
                self.prompts(name)

    def before(self) -> None:
        """Measure what needs no stage."""
        self._due({None})

    def after(self, stage: str) -> None:
        """Measure what a stage that is done has made, if it is not measured yet."""
        self._due({stage})

    def show(self) -> None:
        """The table of all that is measured, if anything is."""
        if not self.subjects:
            return
        from aha.stages.measure_table import show

        nodes = dag.graph(self.recipe)
        # one that was measured before its predecessor has still to be compared with it
        self._due({node.name for node in nodes if dag.status(node, self.run.root) == "done"})
        show(self.run.root, self.console)

    def check(self) -> None:
        """
        Raises:
            RunError: something could not be measured.
        """
        if self.failed:
            said = "; ".join(f"{name}: {why}" for name, why in self.failed.items())
            raise RunError(
                f"not measured: {said}. The stages themselves are done and stay as they are; `aha run` or "
                "`aha resume` measures again"
            )

    # -- one model ---------------------------------------------------------------------------------------

    def _due(self, stages: Collection[str | None]) -> None:
        for place, subject in enumerate(self.subjects):
            if subject.after not in stages or subject.name in self.failed or self._is_done(place):
                continue
            try:
                with cost.metered(self.folder(subject), self.run.attempt):
                    _measure(self, place)
            except Stopped:
                raise
            except Exception as error:  # of whatever kind: the stages after it must not be lost
                why = str(error) or type(error).__name__
                self.failed[subject.name] = why
                self.console.alert(f"{subject.name} could not be measured: {why}")
                self.run.event("not_measured", stage=subject.name, error=why)
            else:
                self.run.event("measured", stage=subject.name)

    @property
    def config(self) -> MeasuresConfig:
        assert self.recipe.measures is not None
        return self.recipe.measures

    def earlier(self, place: int) -> tuple[Subject, str] | None:
        """The model before this one, that it is compared with, and the fingerprint of its measures.

        None if there is none, or if it is not measured.
        """
        names = [subject.name for subject in self.subjects]
        if not self.subjects[place].before:
            return None
        number = names.index(self.subjects[place].before)
        before, said = self.subjects[number], self.fingerprint(number)
        return (before, said) if _fingerprint_in(self.folder(before) / dag.DONE) == said else None

    def _is_done(self, place: int) -> bool:
        done = self.folder(self.subjects[place]) / dag.DONE
        return _fingerprint_in(done) == self.fingerprint(place)

    def folder(self, subject: Subject) -> Path:
        return self.run.root / subject.folder

    def fingerprint(self, place: int) -> str:
        """Of all that its numbers depend on."""
        subject, before = self.subjects[place], self.earlier(place)
        asked = [[name, self.asked(subject, name)] for name in self.config.heldout]
        return _hash([asked, before and before[1]])

    def asked(self, subject: Subject, name: str) -> str:
        """Of all that its answers to one source depend on."""
        from aha.rewards.grade import GRADER_VERSION

        config, data = self.config, subject.data
        how = [config.problems, config.samples, config.temperature, config.top_p]
        cut = [config.max_answer_tokens, config.grader_seconds, config.sandbox]
        form = [data.template, data.system, data.suffix, data.think_tag, data.answer_tag]
        of = [subject.name, subject.made_by, self.recipe.seed, config.heldout[name]]
        return _hash([VERSION, GRADER_VERSION, of, how, cut, form, data.max_prompt_tokens])

    def prompts(self, name: str) -> list[Prompt]:
        """The prompts of a source, by its name in the recipe."""
        if name not in self._prompts:
            source = self.config.heldout[name]
            loaded = sources.load(source, split="heldout", config=DataConfig(heldout=source))
            self._prompts[name] = loaded.prompts[: self.config.problems]
        return self._prompts[name]


def _measure(measuring: Measuring, place: int) -> None:
    """Answers to every source, then the numbers. What is there already is not asked again."""
    subject, config = measuring.subjects[place], measuring.config
    folder, before = measuring.folder(subject), measuring.earlier(place)
    for name in (dag.DONE, FILE):  # numbers of other settings must not stand in the table
        (folder / name).unlink(missing_ok=True)
    left = [
        name for name in config.heldout if _stored(folder / name) != measuring.asked(subject, name)
    ]
    if left:
        _ask(measuring, subject, left)
    fingerprint = measuring.fingerprint(place)
    said = {
        "fingerprint": fingerprint,
        "name": subject.name,
        "against": before[0].name if before else "",
        "template": subject.data.template,
        "settings": config.model_dump(exclude={"stages", "base", "heldout"}),
    } | _numbers(
        config, measuring.recipe.seed, folder, measuring.folder(before[0]) if before else None
    )
    files.write_json(folder / FILE, said)
    files.write_json(folder / dag.DONE, {"fingerprint": fingerprint})
    measuring.console.note(f"{subject.name}: measured; {folder / FILE}")


def _numbers(
    config: MeasuresConfig, seed: int, folder: Path, before: Path | None
) -> dict[str, Any]:
    """Of every source, and of all problems together (of everything, where all is conversation)."""
    from aha.evals import measures_numbers as numbers

    def of(ours: Sequence["Measured"], theirs: Sequence["Measured"]) -> dict[str, Any]:
        return {
            "numbers": numbers.numbers(ours),
            "lang": numbers.by_language(ours),
            "compared": numbers.compared(theirs, ours, seed=seed),
        }

    found, sides = [], []
    for name, source in config.heldout.items():
        ours, theirs = _read(folder / name), _read(before / name) if before else []
        left_out = json.loads((folder / name / ASKED).read_text("utf-8"))["left_out"]
        found.append({"name": name, "source": source, "left_out": left_out} | of(ours, theirs))
        sides.append((ours, theirs))
    problems = [both for both in sides if not all(one.sort for one in both[0])] or sides
    pooled = [one for ours, _ in problems for one in ours]
    theirs = [one for _, theirs in problems for one in theirs]
    return {"sources": found, ALL: of(pooled, theirs)}


def _ask(measuring: Measuring, subject: Subject, names: Sequence[str]) -> None:
    """Sample and grade the answers to these sources; an interrupted one goes on after its last block."""
    from aha.rewards.workers import GraderPool

    recipe, config = measuring.recipe, measuring.config
    if config.sandbox == "none":
        measuring.console.alert(
            "measures.sandbox='none': programs that the model writes run without any protection, with "
            "the rights of this user"
        )
    with GraderPool(
        workers=config.grader_workers, seconds=config.grader_seconds, sandbox=config.sandbox
    ) as graders:  # started before the model: its processes hold nothing of it
        import torch

        from aha.evals.ask import engine_of

        torch.set_num_threads(recipe.threads or os.cpu_count() or 1)
        path = subject.model if subject.after is None else str(measuring.run.root / subject.model)
        model = engine_of(path)
        measuring.console.start(
            f"aha measures of {subject.name} · {recipe.name}",
            [
                f"model   {model[1].folder}",
                *(
                    f"ask     {name}: {len(measuring.prompts(name))} prompts x {config.samples} answers "
                    f"of up to {config.max_answer_tokens} tokens"
                    for name in names
                ),
            ],
        )
        for name in names:
            _ask_one(measuring, subject, name, model, graders)


def _ask_one(
    measuring: Measuring, subject: Subject, name: str, model: tuple[Any, Any], graders: Any
) -> None:
    from aha.data import templates
    from aha.data.lengths import render_all
    from aha.evals import run as evals
    from aha.evals.measures import measured

    (engine, loaded), config, data = model, measuring.config, subject.data
    template = templates.load_template(data, loaded.tokenizer, generation_eos=loaded.eos_ids)
    prompts = measuring.prompts(name)
    questions, dropped = render_all(template, prompts, data.max_prompt_tokens)
    drawn = EvalConfig(
        problems=len(questions),
        samples=config.samples,
        temperature=config.temperature,
        top_p=config.top_p,
    )
    receipt = evals.receipt(
        drawn,
        template_hash=template.hash,
        cap=config.max_answer_tokens,
        mode="rl",
        seed=measuring.recipe.seed,
    )
    asked, total, began = (
        measuring.asked(subject, name),
        len(questions) * config.samples,
        time.time(),
    )
    folder = measuring.folder(subject) / name
    tags = (data.think_tag, data.answer_tag)
    evals.evaluate(
        engine,
        graders,
        questions,
        drawn,
        folder=folder,
        receipt=receipt,
        stop=template.stop,
        weights=f"{subject.name} {asked}",
        tags=tags,
        progress=lambda done, tokens: measuring.console.heartbeat(
            done, total, tokens / max(time.time() - began, 1e-3)
        ),
        stream=STREAM,
    )
    rows = files.read_jsonl(folder / "samples.jsonl")
    answers = measured(
        rows,
        {prompt.id: prompt for prompt in prompts},
        lambda texts: [
            len(ids) for ids in loaded.tokenizer(list(texts), add_special_tokens=False).input_ids
        ],
        think_tag=data.think_tag,
        answer_tag="" if template.chat else data.answer_tag,
    )
    files.write_jsonl(folder / ANSWERS, [one.as_dict() for one in answers])
    files.write_json(folder / ASKED, {"fingerprint": asked, "left_out": len(dropped)})


# -- files -------------------------------------------------------------------------------------------------


def _read(folder: Path) -> list["Measured"]:
    from aha.evals.measures import Measured

    try:
        return [Measured(**row) for row in files.read_jsonl(folder / ANSWERS)]
    except FileNotFoundError:
        return []  # a source that the earlier model was not asked
    except TypeError as error:
        raise RunError(
            f"{folder / ANSWERS} is of another version of aha ({error}); delete {folder}"
        ) from error


def _stored(folder: Path) -> str:
    """Fingerprint of the answers that are there, "" if they are not all there."""
    return _fingerprint_in(folder / ASKED) if (folder / ANSWERS).is_file() else ""


def _fingerprint_in(path: Path) -> str:
    try:
        return str(json.loads(path.read_text("utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _hash(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
