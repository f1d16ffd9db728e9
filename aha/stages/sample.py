"""Answers of a model, judged and filtered, as dialogues to learn. DeepSeek-R1 §2.3.1 (cold start), §2.3.3.

    RUN/NAME/eval/samples.jsonl   every answer with its verdict
    RUN/NAME/dialogues.jsonl      what is kept: what a supervised stage learns (train = "stage:NAME")
    RUN/NAME/pairs.jsonl          a right and a wrong answer of each problem that has both (data/contrast.py)
    RUN/NAME/data.json            why each of the others was dropped, counted, with examples
    RUN/NAME/judgements.jsonl     what a judge said, where one is asked (sample_verdicts.py)
    RUN/NAME/refinements.jsonl    what a model that refines said, where one is asked (sample_refined.py)

A killed run goes on after the last finished block of problems, with the budgets it began with
(sample_budget.py). What is kept depends on the samples and their verdicts alone (data/selecting.py), so the
same seed gives the same file. With `written` no model is asked: dialogues of people go through the rules.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aha import files
from aha.config import EvalConfig, JudgeConfig, Recipe, SampleStage
from aha.data import contrast, mixing, mixture, problems, templates, written
from aha.data.dialogues import Dialogue
from aha.data.dialogues import load as load_dialogues
from aha.data.order import Order, permutation
from aha.data.problems import Problems
from aha.data.refine import Check
from aha.data.selecting import Rules, Sampled, of_row, select
from aha.data.templates import Template
from aha.errors import DataError, RunError
from aha.evals.run import Result
from aha.models.locate import locate
from aha.records import Prompt
from aha.report.console import Console
from aha.rewards.judge import Judge
from aha.rewards.workers import GraderPool
from aha.stages import (
    longest,
    opinions,
    sample_asked,
    sample_budget,
    sample_refined,
    sample_verdicts,
)
from aha.stages.dag import Node
from aha.stages.run_folder import RunFolder
from aha.stages.sample_asked import NEXT_TURN
from aha.stages.sample_budget import Budget
from aha.stages.sample_verdicts import Name
from aha.stages.start import DIALOGUES, PAIRS

DATA = "data.json"


def run(recipe: Recipe, node: Node, run_folder: RunFolder, console: Console) -> dict[str, Any]:
    """Sample, judge, filter; returns the facts for DONE.

    Raises:
        ConfigError: keys that do not fit the data or the template.
        DataError: no problem can be asked, or nothing was kept.
        ModelError, RunError: see there.
    """
    config = recipe.stage[node.name]
    assert isinstance(config, SampleStage)
    folder = run_folder.begin(node)
    if config.written:
        return _of_written(recipe, config, node.name, folder, run_folder, console)
    sample_asked.refuse(config, recipe.data)
    examples = sample_asked.examples_of(config, recipe.data)
    asked = problems.load(recipe.data)
    prompts = questions_of(asked, config.problems, recipe.seed)
    for said in sample_verdicts.check_prompts(prompts, config, node.name):
        console.alert(said)
    judge = _judge_maker(recipe, config, folder)
    refiner = _refiner_maker(config, folder)
    if config.sandbox == "none":
        console.alert(
            f"stage.{node.name}.sandbox='none': programs that the model writes run without any protection, "
            "with the rights of this user"
        )
    with GraderPool(
        workers=config.grader_workers, seconds=config.grader_seconds, sandbox=config.sandbox
    ) as graders:  # started before the model: its processes hold nothing of it
        rows, tokenizer, facts = _sampled(
            recipe, node, folder, asked, prompts, examples, graders, console
        )
        by_id = {prompt.id: prompt for prompt in prompts}
        samples = [of_row(row, by_id[row["problem"]], policy=node.name) for row in rows]
        facts |= {"problems": len({row["problem"] for row in rows})}
        judged: frozenset[Name] = frozenset()

        def progress(done: int, of: int) -> None:
            console.heartbeat(done, of, 0.0)

        if judge is not None:  # the model that wrote has gone: one of this machine may be loaded
            ruled = sample_verdicts.rule(
                samples, judge(), most_unreached=config.max_judge_failures, progress=progress
            )
            samples, judged, facts["judged"] = ruled.samples, ruled.names, ruled.facts()
        kept, pairs, more = _chosen(
            recipe,
            config,
            samples,
            asked.heldout,
            sample_refined.check_of(graders, config, judge=judge, think_tag=recipe.data.think_tag),
            judged=judged,
            refiner=refiner,
            progress=progress,
        )
    facts = more | facts | {"samples": len(rows), "pairs": contrast.facts(pairs)}
    files.write_jsonl(folder / PAIRS, pairs)
    return _finish(node.name, kept, facts, tokenizer, folder, console)


def _sampled(
    recipe: Recipe,
    node: Node,
    folder: Path,
    asked: Problems,
    prompts: Sequence[Prompt],
    examples: Sequence[Dialogue] | None,
    graders: GraderPool,
    console: Console,
) -> tuple[list[dict[str, Any]], Any, dict[str, Any]]:
    """Every answer with the verdict of the rules, the model's tokenizer, and which questions were not asked.
    The model is let go."""
    from aha.evals import run as evals
    from aha.models.load import describe

    config = recipe.stage[node.name]
    assert isinstance(config, SampleStage)
    model_folder = locate(recipe.model.path)
    longest.check(recipe, node.name, describe(model_folder))
    budget = sample_budget.resolve(recipe, config, folder, model_folder, block=evals.BLOCK)
    engine, template = _writer(recipe, model_folder, budget)
    put = sample_asked.questions(config, recipe.data, template, prompts, examples)
    questions, askings = put.questions, put.askings
    console.start(
        f"aha {node.name} · {recipe.name}",
        [
            f"model   {model_folder}, {budget.dtype}, {budget.threads} threads",
            *asked.facts,
            f"        {len(questions)} questions x {config.samples} answers of up to "
            f"{config.max_answer_tokens} tokens, {config.prompting} prompting",
            *([f"        {len(examples)} examples of {config.examples}"] if examples else []),
            f"run     {folder.parent}",
        ],
    )
    if put.dropped:
        first = put.dropped[0]
        console.alert(
            f"{len(put.dropped)} of {len(prompts)} questions are not asked (first: {first.prompt.id}: "
            f"{first.reason})"
        )
    drawn = EvalConfig(
        problems=len(questions),
        samples=config.samples,
        temperature=config.temperature,
        top_p=config.top_p,
    )
    receipt = evals.receipt(
        drawn,
        template_hash=f"{template.hash} {config.prompting} {sample_asked.digest(examples)}".rstrip(),
        cap=config.max_answer_tokens,
        mode="all" if askings else "rl",  # answers without tags end in "the answer is"
        seed=recipe.seed,
    )
    total = len(questions) * config.samples
    evals.evaluate(
        engine,
        graders,
        [sample_verdicts.left_open(question, config) for question in questions],
        drawn,
        folder=folder / "eval",
        receipt=receipt | {"judged": sorted(config.judged), "judge": config.judge},
        stop=put.stop,
        weights=f"{node.name} {node.fingerprint}",
        tags=(recipe.data.think_tag, "" if askings else recipe.data.answer_tag),
        progress=lambda done, tokens: console.heartbeat(done, total, 0.0),
        stream=node.name,
        summary=counted,
    )
    rows = files.read_jsonl(folder / "eval" / "samples.jsonl")
    for row in rows:
        if row["problem"] in askings:  # without the string that ended it
            row["response"] = askings[row["problem"]].answer(row["response"])
        elif config.bare and not template.chat:
            row["response"] = row["response"].partition(NEXT_TURN)[0].rstrip()
    return rows, template.tokenizer, put.facts()


def _writer(recipe: Recipe, model_folder: Path, budget: Budget) -> tuple[Any, Template]:
    """The engine of the model that writes, and how it is asked."""
    import torch

    from aha.models import load as models
    from aha.rollout.local.engine import LocalEngine

    torch.set_num_threads(budget.threads)
    plain = recipe.model.model_copy(update={"lora_rank": 0})  # nothing is trained here
    loaded = models.load(model_folder, plain, dtype=budget.dtype)
    template = templates.load_template(recipe.data, loaded.tokenizer, generation_eos=loaded.eos_ids)
    if not template.eos_ids:
        raise RunError(
            f"{recipe.model.path}: no end-of-sequence token in its generation config or tokenizer"
        )
    engine = LocalEngine(
        loaded.policy,
        eos_ids=template.eos_ids,
        decode=models.decoder(loaded.tokenizer),
        budget_bytes=budget.kv_bytes,
        max_rows=budget.max_rows,
    )
    return engine, template


def questions_of(asked: Problems, count: int, seed: int) -> list[Prompt]:
    """The first `count` problems in the order of the seed; of several sources, by their weights.

    No problem comes twice; a source that has no more leaves its turns to the others.
    """
    shares = asked.shares
    if len(shares.names) == 1:
        places, _ = Order(len(asked.train), seed).take(min(count, len(asked.train)), 0)
        return [asked.train[place] for place in places]
    parts: list[list[Prompt]] = [[] for _ in shares.names]
    for prompt in asked.train:
        parts[shares.source_of[prompt.id]].append(prompt)
    mixed = [
        [part[place] for place in permutation(len(part), f"{seed} source {number}", 0)]
        for number, part in enumerate(parts)
    ]
    return mixing.interleave(mixed, shares.weights)[:count]


def counted(rows: Sequence[Mapping[str, Any]], receipt: Mapping[str, Any]) -> Result:
    """Numbers of the samples; what they are worth is counted when they are chosen."""
    statuses = Counter(row["status"] for row in rows)
    numbers = {"samples": len(rows), "tokens": sum(row["tokens"] for row in rows)}
    return Result(numbers | {"statuses": dict(sorted(statuses.items()))}, dict(receipt), {})


def _judge_maker(recipe: Recipe, config: SampleStage, folder: Path) -> sample_refined.Make | None:
    """Makes the judge. What an endpoint cannot be is told now; a model of this machine is loaded when it is
    asked, by when the one that wrote has gone."""
    judged = config.judges.get(config.judge)
    if judged is None:
        return None
    if judged.path:
        locate(judged.path)  # told before anything is sampled
        return lambda: _judge(recipe, judged, folder)
    made = _judge(recipe, judged, folder)
    return lambda: made


def _refiner_maker(config: SampleStage, folder: Path) -> sample_refined.Make | None:
    """The same for who rewrites."""
    if not config.refine_by:
        return None
    if path := config.refiners[config.refine_by].path:
        locate(path)
        return lambda: sample_refined.refiner_of(config, folder)
    made = sample_refined.refiner_of(config, folder)
    return lambda: made


def _judge(recipe: Recipe, judged: JudgeConfig, folder: Path) -> Judge:
    tags = {"think_tag": recipe.data.think_tag, "answer_tag": recipe.data.answer_tag}
    return opinions.judge_of(judged, folder / opinions.CACHE, **tags)


def _of_written(
    recipe: Recipe,
    config: SampleStage,
    name: str,
    folder: Path,
    run_folder: RunFolder,
    console: Console,
) -> dict[str, Any]:
    """Dialogues of people through the rules; nothing is sampled and nothing graded."""
    from transformers import AutoTokenizer

    named = [config.written] if isinstance(config.written, str) else config.written
    loaded = [load_dialogues(one, split="train", config=recipe.data) for one in named]
    found = [one for each in loaded for one in each.dialogues]
    given = written.samples(found)
    console.start(
        f"aha {name} · {recipe.name}",
        [*(each.sentence() for each in loaded), f"run     {run_folder.root}"],
    )
    heldout = problems.heldout(recipe.data)[0] if config.overlap_words else []
    plain = _rules(recipe, config, "")  # of equal answers the one with the first id stays
    rules = replace(plain, prefer="shortest", per_prompt=0, correct=False, bare=True)
    selected = select(given, rules, heldout)
    facts = selected.facts() | {
        "sentence": selected.sentence(),
        "broken": sum(len(each.bad) for each in loaded),
    }
    kept = written.rows(found, given, selected.rows)
    tokenizer = AutoTokenizer.from_pretrained(locate(recipe.model.path))
    return _finish(name, kept, facts, tokenizer, folder, console)


def _finish(
    name: str,
    kept: Sequence[dict[str, Any]],
    facts: dict[str, Any],
    tokenizer: Any,
    folder: Path,
    console: Console,
) -> dict[str, Any]:
    """Write what is kept and say it; the facts for DONE.

    Raises:
        DataError: nothing is.
    """
    facts["table"] = mixture.table_text(_table(kept, tokenizer))
    files.write_jsonl(folder / DIALOGUES, kept)
    files.write_json(folder / DATA, facts)
    console.note(facts["sentence"])
    console.lines(["what is kept", *facts["table"].split("\n")])
    if not kept:
        raise DataError(
            f"{name}: none of {facts['samples']} answers was kept ({facts['sentence']}); read some in "
            f"{folder / 'eval' / 'samples.jsonl'}"
            if (folder / "eval").exists()
            else f"{name}: none of {facts['samples']} dialogues was kept ({facts['sentence']}); "
            f"{folder / DATA} has examples"
        )
    return {"dialogues": len(kept), "samples": facts["samples"]}


def _chosen(
    recipe: Recipe,
    config: SampleStage,
    samples: Sequence[Sampled],
    heldout: Sequence[Prompt],
    check: Check,
    *,
    judged: frozenset[Name] = frozenset(),
    refiner: sample_refined.Make | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Rows of what is kept, rows of pairs, and what became of all answers."""
    facts: dict[str, Any] = {}
    answer = "" if recipe.data.template == "chat" else recipe.data.answer_tag
    rules, rewrites = _rules(recipe, config, answer), None
    if config.refine:
        made = sample_refined.readable(
            samples,
            config,
            recipe.data,
            rules,
            check=check,
            judged=judged,
            refiner=refiner,
            progress=progress,
        )
        samples, rewrites, facts["refined"] = made.samples, made.rewrites, made.facts
        rules = replace(rules, answer_tag="")
    selected = select(samples, rules, heldout if config.overlap_words else ())
    sentence = selected.sentence()
    if unfit := facts.get("refined", {}).get("unfit"):
        said = ", ".join(f"{count} {reason}" for reason, count in unfit.items())
        sentence += f"; before that, not made readable: {said}"
    facts |= selected.facts() | {"sentence": sentence}
    return selected.rows, contrast.contrasts(selected, rules, rewrites), facts


def _rules(recipe: Recipe, config: SampleStage, answer_tag: str) -> Rules:
    return Rules(
        per_prompt=config.per_problem,
        prefer="seeded",
        seed=recipe.seed,
        correct=config.correct,
        bare=config.bare,
        min_score=config.min_score,
        think=config.think,
        trivial_words=config.trivial_words,
        overlap_words=config.overlap_words,
        think_tag=recipe.data.think_tag,
        answer_tag=answer_tag,
    )


def _table(rows: Sequence[dict[str, Any]], tokenizer: Any) -> list[dict[str, Any]]:
    """The table of what is kept: area, samples, rounds, tokens (DeepSeek-R1 v2, Table 5)."""
    made = [
        Dialogue(
            id=row["id"],
            messages=_messages(row),
            domain=row.get("area", ""),
        )
        for row in rows
    ]

    def tokens(one: Dialogue) -> int:
        texts = [text for _, text in one.messages]
        return sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False).input_ids)

    return mixture.table(made, tokens)


def _messages(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    if "messages" in row:
        return tuple((turn["role"], turn["content"]) for turn in row["messages"])
    return ("user", row["question"]), ("assistant", row["response"])
