"""Preference pairs from a judge: a stage of kind `judge`. DeepSeek-R1, supplement B.2.

    RUN/NAME/pairs.jsonl        what is kept: what reward_model and dpo stages learn (train = "stage:NAME")
    RUN/NAME/data.json          what became of every answer and of every pair, counted with reasons
    RUN/NAME/judgements.jsonl   what the judge replied, each reply as it came
    RUN/NAME/resolved.json      threads, where the judge is a model of this machine

A killed stage asks only what was not answered yet, and writes the same pairs. A failure of the judge (it
does not answer) is never kept, so the next start asks again; a reply that holds no verdict is one.

Must stay true:  what is asked depends on the answers and the seed alone, and so do the pairs, given the
                 replies; a judge that cannot be reached stops the stage, it does not make a small file.
Holds not:       which pairs are compared, what is kept, the balance (data/judged_pairs.py); the judge's
                 prompt and how its verdict is read (rewards/judge.py).
"""

import json
import os
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from aha import files
from aha.config import DataConfig, JudgeConfig, Recipe
from aha.config.recipe import JudgeStage
from aha.data import cold_start, query
from aha.data.judged_pairs import (
    SHOWN,
    Answered,
    Balanced,
    JudgedPairs,
    balance,
    judge_pairs,
    load_answered,
    to_rows,
)
from aha.data.sources import limit_of
from aha.errors import DataError, RunError
from aha.records import Prompt
from aha.report.console import Console
from aha.rewards.judge import Judge
from aha.rewards.judge_ask import Asked, Asker, Reply
from aha.rewards.judge_cache import VerdictCache, key_of
from aha.rewards.judge_screen import screened, summary
from aha.stages import opinions, resolution
from aha.stages.dag import Node
from aha.stages.run_folder import RunFolder
from aha.stages.sample import NEXT_TURN
from aha.stages.start import PAIRS, SAMPLES

DATA = "data.json"
BLOCK = 32
"""Questions whose pairs are judged together. Fixed: a model of this machine decodes them side by side."""
TOGETHER = 64
"""Askings that a model of this machine is handed at a time, and that are asked again after a kill."""
GONE = 8
"""Pairs of one block after which a judge that answered about none of them is taken to be gone."""
UNREACHED = ("timeout", "error")
"""Reasons that are nobody's verdict: asked again, there may be one."""


def run(recipe: Recipe, node: Node, run_folder: RunFolder, console: Console) -> dict[str, Any]:
    """Compare, filter, balance; returns the facts for DONE.

    Raises:
        DataError: no answers, nothing to compare, or no pair is left.
        ConfigError, ModelError: the judge cannot be asked at all.
        RunError: it does not answer; its replies so far are kept.
    """
    config = recipe.stage[node.name]
    assert isinstance(config, JudgeStage)
    folder = run_folder.begin(node)
    found = read(config, recipe.data)
    total = sum(pairs_of(one, config.per_question) for one in found.questions)
    if not total:
        raise DataError(
            f"{node.name}: none of {len(found.questions)} questions has two different answers that say "
            f"something, so there is nothing to compare ({found.sentence()})"
        )
    console.start(f"aha {node.name} · {recipe.name}", _lines(config, found, total, folder))
    for bad in found.first_bad:
        console.note(f"broken: {bad}")
    if config.judge.path:
        _set_threads(recipe.threads, folder)
    told = compare(
        _judge(config.judge, recipe.data, folder / opinions.CACHE),
        found.questions,
        config,
        seed=recipe.seed,
        total=total,
        progress=lambda done: console.heartbeat(done, total, 0.0),
    )
    return _finish(node, config, found, told, recipe.data, folder, console)


def _lines(config: JudgeStage, found: "Found", total: int, folder: Path) -> list[str]:
    asked = config.judge
    return [
        f"judge   {asked.path or f'{asked.model} at {asked.url}'}",
        f"data    {found.sentence()}",
        f"        {total} pairs, each asked about {2 * config.rounds} times",
        f"run     {folder.parent}",
    ]


def _finish(
    node: Node,
    config: JudgeStage,
    found: "Found",
    told: JudgedPairs,
    data: DataConfig,
    folder: Path,
    console: Console,
) -> dict[str, Any]:
    """Balance the pairs, write them and say what became of the others; the facts for DONE.

    Raises:
        DataError: none is left.
    """
    bound = config.length_bound or float("inf")
    pairs = [one.pair for one in told.kept]
    even = balance(pairs, bound=bound, part=config.part, think_tag=data.think_tag)
    scores = {one.pair: one.score for one in told.kept}
    rows = zip(to_rows(even.kept), even.kept, strict=True)
    said = _sentence(told, even)
    sources = node.config[node.name]["answers"]  # as the recipe has them: no path of this run
    facts = {
        "sources": [sources] if isinstance(sources, str) else sources,
        "answers": found.facts(),
        "judged": told.facts(),
        "balance": even.facts(),
        "pairs": len(even.kept),
        "sentence": said,
    }
    files.write_jsonl(folder / PAIRS, [row | {"score": scores[pair]} for row, pair in rows])
    files.write_json(folder / DATA, facts)
    console.note(said)
    if 2 * told.left_out.get("inconsistent", 0) > told.candidates:
        console.alert(
            f"in {told.left_out['inconsistent']} of {told.candidates} pairs the judge named another winner "
            "when the answers changed places: it likes a place, not an answer. Ask a stronger one"
        )
    if not even.kept:
        first = "".join(f"; first without a verdict: {why}" for why in told.first_failures[:1])
        raise DataError(
            f"{node.name}: no pair is left to learn ({said}{first}). Try margin lower than "
            f"{config.margin:g}, length_bound=0, more answers to a question, or another judge"
        )
    return {"pairs": len(even.kept), "candidates": told.candidates}


def _sentence(told: JudgedPairs, even: Balanced) -> str:
    left = Counter(told.left_out).most_common()
    said = ", ".join(f"{count} {reason}" for reason, count in left) or "none"
    return (
        f"{len(even.kept)} pairs of {told.candidates} that were compared ({told.questions} questions, "
        f"{told.single} with nothing to compare); left out: {said}; dropped for length: "
        f"{len(even.dropped)} (length of chosen to rejected {even.before.ratio:.2f}, now "
        f"{even.after.ratio:.2f})"
    )


# -- what is compared -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Questions with their answers, and what became of every row."""

    questions: list[Answered]
    answers: int = 0
    """Read: kept ones and those of `left_out`, repeated ones too."""
    left_out: dict[str, int] = field(default_factory=dict)
    """cut (by the token cap), garbled (no plain text), and what no judge need be asked about
    (rewards/judge_screen.py): empty, think_open, only_signs, only_opener."""
    broken: int = 0
    """Rows that are none."""
    first_bad: list[str] = field(default_factory=list)
    """The first of them, with file and line."""

    def facts(self) -> dict[str, Any]:
        return {
            "questions": len(self.questions),
            "read": self.answers,
            "left_out": dict(sorted(self.left_out.items())),
            "broken": self.broken,
        }

    def sentence(self) -> str:
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))
        return (
            f"{self.answers} answers to {len(self.questions)} questions; left out: {said or 'none'}; "
            f"{self.broken} broken rows"
        )


def read(config: JudgeStage, data: DataConfig) -> Found:
    """All sources together; what is no answer is left out and counted. A question stands once.

    Raises:
        ConfigError: a key that is not known.
        DataError: nothing there, no usable row, too many broken ones.
    """
    named = [config.answers] if isinstance(config.answers, str) else config.answers
    left_out: Counter[str] = Counter()
    bad: list[str] = []
    loaded: list[Answered] = []
    for source in named:
        path = samples_file(source)
        if path is not None:
            loaded += of_samples(path, source, left_out)
        else:
            questions, broken = load_answered(source, split="train", config=data)
            loaded += questions
            bad += [str(row) for row in broken]
    answers = sum(len(one.answers) for one in loaded) + left_out.total()
    kept = [replace(one, answers=_worth(one.answers, data, left_out)) for one in _once(loaded)]
    return Found(
        questions=kept,
        answers=answers,
        left_out=dict(left_out),
        broken=len(bad),
        first_bad=bad[:SHOWN],
    )


def samples_file(source: str) -> Path | None:
    """What a sampling stage sampled, where a source is that or the stage's folder; None for any other."""
    path = Path(query.parse(source).where).expanduser()
    if (path / SAMPLES).is_file():
        return path / SAMPLES
    return path if path.parts[-2:] == Path(SAMPLES).parts and path.is_file() else None


def of_samples(path: Path, source: str, left_out: Counter[str]) -> list[Answered]:
    """The questions of a sampling stage with their answers, as they were asked; `left_out` is counted on.

    Raises:
        ConfigError: another key than n.
        DataError: rows that no sampling stage wrote.
    """
    asked = query.parse(source)
    query.refuse_unknown(asked.keys, ("n",), where=f"data source {asked.where}")
    limit = limit_of(asked)
    ended = _ended(path.parents[1])
    found: dict[str, list[str]] = {}
    about: dict[str, Mapping[str, Any]] = {}
    for number, row in enumerate(files.read_jsonl(path), 1):
        try:
            name, text = str(row["problem"]), str(row["prefill"]) + ended(row)
            cut = row["stopped"] == "length"
            plain = _is_plain(str(row["question"])) and _is_plain(text)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}: line {number} is no sampled answer (no {error}); name a stage of kind sample, or "
                "its folder"
            ) from error
        if name not in about:
            if limit is not None and len(about) >= limit:
                continue
            about[name], found[name] = row, []
        if cut or not plain:
            left_out["cut" if cut else "garbled"] += 1
        else:
            found[name].append(text)
    return [
        Answered(
            id=name,
            question=str(row["question"]).strip(),
            answers=tuple(found[name]),
            domain=str(row.get("domain") or row.get("area") or ""),
        )
        for name, row in about.items()
        if _is_plain(str(row["question"]))
    ]


def _ended(stage: Path) -> Callable[[Mapping[str, Any]], str]:
    """What of a stored response is the answer: a base model goes on with a next question of its own.

    How the stage asked stands in its config.toml; without one a response is taken as it is.
    """
    try:
        said = tomllib.loads((stage / "config.toml").read_text("utf-8"))
        own = next(t for t in said.values() if isinstance(t, dict) and t.get("kind") == "sample")
        chat = said["data"]["template"] == "chat"
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return lambda row: str(row["response"])
    route = own.get("prompting")
    if not chat and route in ("few_shot", "detailed"):
        one = Prompt(id="", question="?", gold="")
        asking = cold_start.as_text(route, one, shots=1, tagged=False)
        return lambda row: asking.answer(str(row["response"]))
    if not chat and own.get("bare"):
        return lambda row: str(row["response"]).partition(NEXT_TURN)[0].rstrip()
    return lambda row: str(row["response"])


def _once(loaded: Sequence[Answered]) -> list[Answered]:
    """Each question once, with all its answers, under an id that no other has."""
    found: dict[str, Answered] = {}
    for one in loaded:
        known = found.get(one.question)
        found[one.question] = (
            replace(known, answers=known.answers + one.answers) if known is not None else one
        )
    taken: Counter[str] = Counter()
    made = []
    for one in found.values():
        name = one.id.encode(
            "utf-8", "replace"
        ).decode()  # the draw of a question is seeded with it
        taken[name] += 1
        made.append(replace(one, id=name if taken[name] == 1 else f"{name}#{taken[name]}"))
    return made


def _worth(answers: Sequence[str], data: DataConfig, left_out: Counter[str]) -> tuple[str, ...]:
    """The answers that say something: no pair is spent on one that would lose without a judge."""
    kept = []
    for text in answers:
        why = screened(summary(text, data.think_tag), answer_tag=data.answer_tag)
        if why:
            left_out[why] += 1
        else:
            kept.append(text)
    return tuple(kept)


def _is_plain(text: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def pairs_of(one: Answered, per_question: int) -> int:
    """Pairs of different answers that are compared of a question."""
    different = len({answer.strip() for answer in one.answers})
    return min(per_question, different * (different - 1) // 2)


# -- the judge --------------------------------------------------------------------------------------------


def compare(
    judge: Judge,
    questions: Sequence[Answered],
    config: JudgeStage,
    *,
    seed: int,
    total: int,
    progress: Callable[[int], None] = lambda done: None,
) -> JudgedPairs:
    """All pairs, block after block.

    Args:
        total: pairs that there are.

    Raises:
        RunError: the judge does not answer about more than `max_judge_failures` of them, or about none of
            a whole block; its replies so far are kept.
    """
    blocks: list[JudgedPairs] = []
    done = unreached = 0
    for start in range(0, len(questions), BLOCK):
        told = judge_pairs(
            judge,
            questions[start : start + BLOCK],
            rounds=config.rounds,
            per_question=config.per_question,
            margin=config.margin,
            seed=seed,
        )
        blocks.append(told)
        lost = sum(told.left_out.get(reason, 0) for reason in UNREACHED)
        done, unreached = done + told.candidates, unreached + lost
        gone = lost == told.candidates >= GONE
        if unreached > config.max_judge_failures * (done if gone else total):
            first = f" (first without a verdict: {told.first_failures[0]})"
            raise RunError(
                f"the judge did not answer about {unreached} of {done} pairs, above max_judge_failures="
                f"{config.max_judge_failures:g}{first}. Its replies so far are kept: see "
                "whether it answers, then go on with `aha resume`, which asks for the others"
            )
        progress(done)
    return _together(blocks)


def _together(blocks: Sequence[JudgedPairs]) -> JudgedPairs:
    left_out: Counter[str] = Counter()
    for told in blocks:
        left_out.update(told.left_out)
    return JudgedPairs(
        kept=[one for told in blocks for one in told.kept],
        candidates=sum(told.candidates for told in blocks),
        left_out=dict(left_out),
        questions=sum(told.questions for told in blocks),
        single=sum(told.single for told in blocks),
        first_failures=[reason for told in blocks for reason in told.first_failures][:SHOWN],
    )


def _judge(asked: JudgeConfig, data: DataConfig, cache: Path) -> Judge:
    tags = {"think_tag": data.think_tag, "answer_tag": data.answer_tag}
    made = opinions.judge_of(asked, cache, **tags)
    assert made.cache is not None
    kept = Kept(made.asker, made.cache, parallel=0 if asked.path else asked.parallel)
    return replace(made, asker=kept, cache=None)


class Kept:
    """An asker whose replies are on the disk as they come. What was replied is never asked again.

    A reply that cannot be read is kept as well: the judge said that, and a stage that goes on after a kill
    must find the same. What did not come (timeout, error) is not, unless the judge is a model of this
    machine, whose failures are a matter of the texts alone.
    """

    def __init__(self, asker: Asker, cache: VerdictCache, *, parallel: int) -> None:
        """`parallel`: requests at a time; 0: a model of this machine, which is handed fixed blocks, since
        what is decoded side by side may decide last bits."""
        self.asker, self.cache, self.parallel = asker, cache, parallel

    @property
    def name(self) -> str:
        return self.asker.name

    def ask_all(self, asked: Sequence[Asked]) -> list[Reply]:
        if not asked:
            return []
        if not self.parallel:
            starts = range(0, len(asked), TOGETHER)
            return [it for start in starts for it in self._block(asked[start : start + TOGETHER])]
        with ThreadPoolExecutor(min(self.parallel, len(asked)), "aha-judge") as pool:
            return list(pool.map(lambda one: self._block([one])[0], asked))

    def _block(self, asked: Sequence[Asked]) -> list[Reply]:
        """Replies that are kept, if all of them are; else those that come now."""
        keys = [self._key(one) for one in asked]
        known = [_stored(self.cache.get(key)) for key in keys]
        there = [reply for reply in known if reply is not None]
        if len(there) == len(asked):
            return there
        replies = self.asker.ask_all(asked)
        for key, reply in zip(keys, replies, strict=True):
            if not self.parallel or reply.status not in UNREACHED:
                self.cache.put(key, files.json_line(_lasting(reply)))
        return replies

    def _key(self, one: Asked) -> str:
        messages = [dict(message) for message in one.messages]
        return key_of(self.name, messages, asdict(one.sampling))


def _lasting(reply: Reply) -> dict[str, Any]:
    """A reply without the time that it took."""
    return {
        "status": reply.status,
        "text": reply.text,
        "reason": reply.reason,
        "cut": reply.cut,
    }


def _stored(line: str | None) -> Reply | None:
    """A reply that was kept; None if there is none that can be read."""
    if line is None:
        return None
    try:
        said = json.loads(line)
        return Reply(
            status=said["status"], text=said["text"], reason=said["reason"], cut=said["cut"]
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _set_threads(wanted: int, folder: Path) -> None:
    """The threads of the first start: they decide last bits of what a local judge writes."""
    import torch

    facts = {"resolved": {"threads": wanted or os.cpu_count() or 1}}
    torch.set_num_threads(
        resolution.once(folder, lambda: facts, lambda said: said["resolved"]["threads"])
    )
