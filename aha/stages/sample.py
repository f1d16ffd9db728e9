"""Answers of a model, judged and filtered, as dialogues to learn. DeepSeek-R1 §2.3.1 (cold start), §2.3.3.

    RUN/NAME/eval/samples.jsonl   every answer with its verdict
    RUN/NAME/dialogues.jsonl      what is kept: what a supervised stage learns (train = "stage:NAME")
    RUN/NAME/data.json            why each of the others was dropped, counted, with examples

A killed run goes on after the last finished block of problems. What is kept depends on the samples alone
(data/selecting.py), so the same seed gives the same file.
"""

from collections.abc import Sequence
from typing import Any

from aha import files
from aha.config import EvalConfig, Recipe, SampleStage
from aha.data import cold_start, mixture, problems, templates
from aha.data.dialogues import Dialogue
from aha.data.lengths import render_all
from aha.data.order import Order
from aha.data.refine import graded_by, refine_all
from aha.data.selecting import Rules, Sampled, of_row, select
from aha.data.templates import Template
from aha.errors import DataError
from aha.models.locate import locate
from aha.records import Prompt, Rendered
from aha.report.console import Console
from aha.rewards.workers import GraderPool
from aha.stages.dag import Node
from aha.stages.run_folder import RunFolder
from aha.stages.start import DIALOGUES

DATA = "data.json"


def run(recipe: Recipe, node: Node, run_folder: RunFolder, console: Console) -> dict[str, Any]:
    """Sample, judge, filter; returns the facts for DONE.

    Raises:
        DataError: no problem can be asked, or nothing was kept.
        ModelError, RunError: see there.
    """
    config = recipe.stage[node.name]
    assert isinstance(config, SampleStage)
    folder = run_folder.begin(node)
    asked = problems.load(recipe.data)
    if config.sandbox == "none":
        console.alert(
            f"stage.{node.name}.sandbox='none': programs that the model writes run without any protection, "
            "with the rights of this user"
        )
    with GraderPool(
        workers=config.grader_workers, seconds=config.grader_seconds, sandbox=config.sandbox
    ) as graders:  # started before the model: its processes hold nothing of it
        import torch

        from aha.evals import run as evals
        from aha.evals.ask import engine_of

        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        engine, loaded = engine_of(recipe.model.path)
        template = templates.load_template(
            recipe.data, loaded.tokenizer, generation_eos=loaded.eos_ids
        )
        order = Order(len(asked.train), recipe.seed)
        places, _ = order.take(min(config.problems, len(asked.train)), 0)
        prompts = [asked.train[place] for place in places]
        questions, stop, askings = _questions(
            config, template, prompts, recipe.data.max_prompt_tokens, recipe.data.think_tag
        )
        console.start(
            f"aha {node.name} · {recipe.name}",
            [
                f"model   {locate(recipe.model.path)}",
                *asked.facts,
                f"        {len(questions)} questions x {config.samples} answers of up to "
                f"{config.max_answer_tokens} tokens, {config.prompting} prompting",
                f"run     {run_folder.root}",
            ],
        )
        drawn = EvalConfig(
            problems=len(questions),
            samples=config.samples,
            temperature=config.temperature,
            top_p=config.top_p,
        )
        receipt = evals.receipt(
            drawn,
            template_hash=f"{template.hash} {config.prompting}",
            cap=config.max_answer_tokens,
            mode="all" if askings else "rl",  # answers without tags end in "the answer is"
            seed=recipe.seed,
        )
        total = len(questions) * config.samples
        evals.evaluate(
            engine,
            graders,
            questions,
            drawn,
            folder=folder / "eval",
            receipt=receipt,
            stop=stop,
            weights=f"{node.name} {node.fingerprint}",
            tags=(recipe.data.think_tag, "" if askings else recipe.data.answer_tag),
            progress=lambda done, tokens: console.heartbeat(done, total, 0.0),
            stream=node.name,
        )
        rows = files.read_jsonl(folder / "eval" / "samples.jsonl")
        for row in rows:
            if row["problem"] in askings:  # without the string that ended it
                row["response"] = askings[row["problem"]].answer(row["response"])
        kept, facts = _chosen(recipe, config, rows, prompts, asked.heldout, graders, node.name)
    facts |= {"problems": len(questions), "samples": len(rows)}
    facts["table"] = mixture.table_text(_table(kept, loaded.tokenizer))
    files.write_jsonl(folder / DIALOGUES, kept)
    files.write_json(folder / DATA, facts)
    console.note(facts["sentence"])
    console.lines(["what is kept", *facts["table"].split("\n")])
    if not kept:
        raise DataError(
            f"{node.name}: none of {len(rows)} answers was kept ({facts['sentence']}); read some in "
            f"{folder / 'eval' / 'samples.jsonl'}"
        )
    return {"dialogues": len(kept), "samples": len(rows)}


def _questions(
    config: SampleStage,
    template: Template,
    prompts: Sequence[Prompt],
    longest: int,
    think_tag: str,
) -> tuple[list[Rendered], tuple[str, ...], dict[str, cold_start.Asking]]:
    """The prompts as the model reads them, the strings that end an answer, and how a base model was asked
    (by prompt id; {} for a template's own questions)."""
    if config.prompting == "plain":
        return render_all(template, prompts, longest)[0], template.stop, {}
    encode = template.tokenizer
    rendered: list[Rendered] = []
    askings: dict[str, cold_start.Asking] = {}
    stop: tuple[str, ...] = template.stop
    for prompt in prompts:
        if template.chat:
            messages = cold_start.as_messages(config.prompting, prompt, think_tag=think_tag)
            text = templates.converse(template.tokenizer, messages, where=prompt.id)
            asking = cold_start.Asking(text=text, prefill=template.prefill)
        else:
            asking = cold_start.as_text(
                config.prompting, prompt, shots=1, think_tag=think_tag, tagged=False
            )
            askings[prompt.id], stop = asking, asking.stop
        one = cold_start.rendered(
            asking,
            prompt,
            lambda text: encode(text, add_special_tokens=False).input_ids,
            bos=template.bos,
        )
        rendered.append(one)
    return rendered, stop, askings


def _chosen(
    recipe: Recipe,
    config: SampleStage,
    rows: Sequence[dict[str, Any]],
    prompts: Sequence[Prompt],
    heldout: Sequence[Prompt],
    graders: GraderPool,
    name: str,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of what is kept, and what became of all answers."""
    by_id = {prompt.id: prompt for prompt in prompts}
    samples: list[Sampled] = [of_row(row, by_id[row["problem"]], policy=name) for row in rows]
    facts: dict[str, Any] = {}
    think, answer = recipe.data.think_tag, recipe.data.answer_tag
    answer = "" if recipe.data.template == "chat" else answer
    if config.refine:
        made = refine_all(samples, graded_by(graders, think_tag=think), think_tag=think)
        facts["refined"] = made.facts()
        samples, answer = made.samples, ""
    rules = Rules(
        per_prompt=config.per_problem,
        prefer="seeded",
        seed=recipe.seed,
        overlap_words=config.overlap_words,
        think_tag=think,
        answer_tag=answer,
    )
    selected = select(samples, rules, heldout if config.overlap_words else ())
    return selected.rows, facts | selected.facts() | {"sentence": selected.sentence()}


def _table(rows: Sequence[dict[str, Any]], tokenizer: Any) -> list[dict[str, Any]]:
    """The table of what is kept: area, samples, rounds, tokens (DeepSeek-R1 v2, Table 5)."""
    made = [
        Dialogue(
            id=row["id"],
            messages=(("user", row["question"]), ("assistant", row["response"])),
            domain=row.get("area", ""),
        )
        for row in rows
    ]

    def tokens(one: Dialogue) -> int:
        texts = [text for _, text in one.messages]
        return sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False).input_ids)

    return mixture.table(made, tokens)
