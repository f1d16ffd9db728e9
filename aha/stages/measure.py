"""What each stage did, measured: after a stage is done its model answers the prompts of `[measures]`.

    RUN/STAGE/measures/NAME/samples.jsonl   every answer to the source NAME, with its verdict
    RUN/STAGE/measures/NAME/answers.jsonl   what is measured of each (evals/measures.py)
    RUN/STAGE/measures/measures.json        the numbers, with intervals (evals/measures_numbers.py)
    RUN/STAGE/measures/DONE                 their fingerprint, last (cost.json: what measuring took)
    RUN/measures/NAME/                      the same of the models that the recipe begins with

Each stage is asked with its own template. All share one stream of random numbers, so that they are compared
in pairs. The fingerprint is apart from the stage's: other measures never run a stage again, and answers
that are already there are used again. A measure that fails loses nothing; the next `aha run` takes it up.
What a reward model and a judge hold of the answers is a pass of its own (measure_opinions.py): one that
is not there yet is waited for, and the numbers are made again when it is.

Not covered:  free memory decides how many answers decode side by side; where it is scarce and another
              at the next attempt, last bits of float32 may differ.
"""

import hashlib
import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import files
from aha.config import DataConfig, EvalConfig, MeasuresConfig, Recipe
from aha.data import sources
from aha.errors import ConfigError, RunError, Stopped
from aha.records import Prompt
from aha.report.console import Console
from aha.report.page.measures import ALL, FILE
from aha.stages import cost, dag, lineage, measure_opinions, start
from aha.stages.measure_subjects import Subject, subjects
from aha.stages.run_folder import RunFolder

if TYPE_CHECKING:
    from aha.evals.measures import Measured

VERSION = 1
"""Bump it when the same settings would give other answers."""
READING = 3
"""Bump it when the same answers would give other numbers."""
STREAM = "measures"
ANSWERS, ASKED = "answers.jsonl", "asked.json"


class Measuring:
    """The measures of one run; does nothing where the recipe has no `[measures]`.

    Raises:
        ConfigError, DataError, ModelError: a source, a reward model or a judge that cannot be used, before
            any stage begins.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, console: Console) -> None:
        self.recipe, self.run, self.console = recipe, folder, console
        self.subjects = subjects(recipe)
        self.nodes = dag.graph(recipe)
        self.failed: dict[str, str] = {}
        self._prompts: dict[str, list[Prompt]] = {}
        self._read: dict[str | Path, str] = {}
        if not all(self._is_done(place) for place in range(len(self.subjects))):
            for name in self.config.heldout:
                self.prompts(name)
            measure_opinions.check(recipe, folder.root)
            self._check_sources()

    def before(self) -> None:
        """Measure what needs no stage."""
        self._due({None})

    def after(self, stage: str) -> None:
        """Measure what a stage that is done has made, if it is not measured yet; and hear a model that was
        waited for."""
        awaited = stage in measure_opinions.stages(self.recipe.measures)
        self._due(self._done_stages() if awaited else {stage})

    def show(self) -> None:
        """The table of all that is measured, if anything is."""
        if not self.subjects:
            return
        from aha.stages.measure_table import show

        # one that was measured before its predecessor has still to be compared with it
        self._due(self._done_stages())
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

    def _done_stages(self) -> set[str | None]:
        done = (node.name for node in self.nodes if dag.status(node, self.run.root) == "done")
        return {None, *done}

    def _check_sources(self) -> None:
        """
        Raises:
            ConfigError: a source that a reward model or a judge has nothing to say about.
        """
        from aha.evals.measures import HARM, sort_of

        if not measure_opinions.asked(self.recipe, self.nodes, self.run.root):
            return
        found = [
            name
            for name in self.config.heldout
            if any(sort_of(prompt) not in ("", HARM) for prompt in self.prompts(name))
        ]
        for name in self.config.opinions_on:
            if name not in found:
                raise ConfigError(
                    f"measures.opinions_on: {name!r} has no open prompt and no conversation (but for "
                    "requests for harm), so there is no opinion about it: leave it out"
                )
        if not found:
            raise ConfigError(
                "measures.reward_model and measures.judge are asked about open prompts (FILE?kind=open) and "
                "conversation (talk), and no source of measures.heldout has any: add one, or leave them out"
            )

    @property
    def config(self) -> MeasuresConfig:
        assert self.recipe.measures is not None
        return self.recipe.measures

    def earlier(self, place: int) -> tuple[Subject, str] | None:
        """The model before this one, that it is compared with, and the fingerprint of its answers.

        None if there is none, or if it has not answered every source.
        """
        names = [subject.name for subject in self.subjects]
        if not self.subjects[place].before:
            return None
        before = self.subjects[names.index(self.subjects[place].before)]
        marks = {name: self.mark(before, name) for name in self.config.heldout}
        there = all(_stored(self.folder(before) / name) == mark for name, mark in marks.items())
        return (before, _hash(marks)) if there else None

    def _is_done(self, place: int) -> bool:
        done = self.folder(self.subjects[place]) / dag.DONE
        return _fingerprint_in(done) == self.fingerprint(place)

    def folder(self, subject: Subject) -> Path:
        return self.run.root / subject.folder

    def fingerprint(self, place: int) -> str:
        """Of all that its numbers depend on."""
        subject, before = self.subjects[place], self.earlier(place)
        marks = [[name, self.mark(subject, name)] for name in self.config.heldout]
        heard = [who.mark for who in measure_opinions.asked(self.recipe, self.nodes, self.run.root)]
        return _hash([marks, before and before[1], heard and [heard, self.config.opinions_on]])

    def mark(self, subject: Subject, name: str) -> str:
        """Of what is read of its answers to one source."""
        return _hash([READING, self.asked(subject, name)])

    def answers(self, subject: Subject, name: str) -> measure_opinions.Answers:
        """Those that are stored, for an opinion."""
        folder, mark = self.folder(subject) / name, self.mark(subject, name)
        return measure_opinions.Answers(folder, mark, subject.data.think_tag)

    def asked(self, subject: Subject, name: str) -> str:
        """Of all that its answers to one source depend on."""
        from aha.rewards.grade import GRADER_VERSION

        config, data = self.config, subject.data
        how = [config.problems, config.samples, config.temperature, config.top_p]
        cut = [config.max_answer_tokens, config.grader_seconds, config.sandbox]
        form = [data.template, data.system, data.suffix, data.think_tag, data.answer_tag]
        form.append(data.chat_template)
        made = [lineage.weights_of(one, self.run.root) for one in start.references(subject.model)]
        of = [subject.name, subject.made_by, made, self.recipe.seed, config.heldout[name]]
        read = [self._bytes(one) for one in (data.template, data.chat_template)]
        read += [self._bytes(one) for one in lineage.files_of(config.heldout[name], "heldout")]
        return _hash([VERSION, GRADER_VERSION, of, how, cut, form, data.max_prompt_tokens, read])

    def _bytes(self, said: str | Path) -> str:
        """sha256 of a file, as it was when this run first looked; "" for what is none."""
        if said not in self._read:
            path = Path(said).expanduser()
            self._read[said] = files.sha256(path) if path.is_file() else ""
        return self._read[said]

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
        name for name in config.heldout if _stored(folder / name) != measuring.mark(subject, name)
    ]
    if left:
        _ask(measuring, subject, left)
    fingerprint = measuring.fingerprint(place)
    heard = _hear(measuring, subject, before[0] if before else None)
    said = {
        "fingerprint": fingerprint,
        "name": subject.name,
        "against": before[0].name if before else "",
        "template": subject.data.template,
        "settings": config.model_dump(exclude={"stages", "base", "heldout"}, exclude_none=True),
        "waiting": heard.waiting,
    } | _numbers(
        config, measuring.recipe.seed, folder, measuring.folder(before[0]) if before else None
    )
    for one in said["sources"]:
        for key, found in heard.numbers.get(one["name"], {}).items():
            one[key] |= found
    files.write_json(folder / FILE, said)
    if heard.trouble is not None:  # all else that is known stands in the table
        raise heard.trouble
    files.write_json(folder / dag.DONE, {"fingerprint": fingerprint})
    without = "".join(f", but for the {who} ({why})" for who, why in heard.waiting.items())
    measuring.console.note(f"{subject.name}: measured{without}; {folder / FILE}")


@dataclass
class _Heard:
    """What reward model and judge hold of the answers of one model."""

    numbers: dict[str, dict[str, Any]]
    """By source: `numbers` and `compared`, to be added to what is measured."""
    waiting: dict[str, str]
    """Who was not heard, and why."""
    trouble: Exception | None = None
    """The first one that should have been heard."""


def _hear(measuring: Measuring, subject: Subject, before: Subject | None) -> _Heard:
    recipe, config = measuring.recipe, measuring.config
    asked = measure_opinions.asked(recipe, measuring.nodes, measuring.run.root)
    heard = _Heard({}, {who.name: who.waits for who in asked if who.waits})
    for asker in measure_opinions.askers(asked, recipe.threads, measuring.console.note):
        try:
            for name in config.opinions_on or config.heldout:
                ours = measuring.answers(subject, name)
                theirs = measuring.answers(before, name) if before else None
                found = asker.hear(ours, theirs, seed=recipe.seed)
                into = heard.numbers.setdefault(name, {"numbers": {}, "compared": {}})
                for key, numbers in zip(("numbers", "compared"), found, strict=True):
                    into[key] |= numbers
        except Stopped:
            raise
        except Exception as error:  # of whatever kind: what else is measured must not be lost
            why = str(error) or type(error).__name__
            heard.waiting[asker.who.name] = why
            heard.trouble = heard.trouble or RunError(f"no opinion of the {asker.who.name}: {why}")
    return heard


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
        sides.append((_apart(name, ours), _apart(name, theirs)))
    problems = [both for both in sides if not all(one.sort for one in both[0])] or sides
    pooled = [one for ours, _ in problems for one in ours]
    theirs = [one for _, theirs in problems for one in theirs]
    return {"sources": found, ALL: of(pooled, theirs)}


def _apart(source: str, answers: Sequence["Measured"]) -> list["Measured"]:
    """Answers under ids that no other source has: those of a prompt are unique in its source only."""
    return [replace(one, problem=f"{source}/{one.problem}") for one in answers]


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
        model = engine_of(measure_opinions.placed(subject.model, measuring.run.root))
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
    from aha.evals.measures import OPEN, measured

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
        summary=_without_verdicts if all(one.kind == OPEN for one in prompts) else None,
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
    mark = measuring.mark(subject, name)
    files.write_json(folder / ASKED, {"fingerprint": mark, "left_out": len(dropped)})


def _without_verdicts(rows: Sequence[Mapping[str, Any]], receipt: Mapping[str, Any]) -> Any:
    """The result of an evaluation whose prompts have no right answer."""
    from aha.evals.run import Result

    numbers = {"problems": len({row["problem"] for row in rows}), "samples": len(rows)}
    return Result(numbers, dict(receipt), {})


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
