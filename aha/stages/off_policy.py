"""Stored answers of an RL stage in a stage that learns from them: their tokens, and the mismatch.

    RUN/NAME/mismatch.json   how far the answers are from the model, at the start and at the end

Only answers with log-probabilities count: a source that is an RL stage (data/stored.py). At most MOST
of them are measured, drawn by the seed.

Must stay true:  the file depends on the data, the model and the seed alone; a resumed stage gives the
                 same one.
"""

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha import files
from aha.config import DataConfig
from aha.data import stored
from aha.data.order import permutation
from aha.data.stored import Stored
from aha.data.templates import Template
from aha.errors import DataError
from aha.models.load import decoder
from aha.models.policy import Policy
from aha.report.console import Console
from aha.rl.mismatch import CLIP
from aha.train.mismatch import StoredTokens, measure

MISMATCH = "mismatch.json"
MOST = 256
"""Answers that are measured, at most."""
SAME_DATA = ("template", "system", "suffix", "think_tag", "answer_tag")
"""Keys of [data] that decide how a question is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """What is known of the stage that wrote the answers."""

    source: str
    stage: str
    """Name of its folder."""
    temperature: float = 1.0
    asked: dict[str, Any] = field(default_factory=dict)
    """Its [data]; {} if it is not known."""


def sampler_of(source: str) -> Sampler:
    """From config.toml in the stage's folder; without one (a copy) the paper's temperature, 1."""
    folder = stored.folder_of(source)
    try:
        config = tomllib.loads((folder / "config.toml").read_text("utf-8"))
        temperature = float(config["zero"]["temperature"])
        asked = {key: config["data"][key] for key in SAME_DATA}
    except (OSError, ValueError, KeyError, TypeError):
        return Sampler(source=source, stage=folder.name)
    return Sampler(source=source, stage=folder.name, temperature=temperature, asked=asked)


def answers_of(
    sources: str | Sequence[str],
) -> tuple[list[tuple[Sampler, Stored]], dict[str, int]]:
    """The answers of those sources that are RL stages, with their samplers, and what was dropped, by
    reason.

    Raises:
        ConfigError, DataError: see data/stored.py.
    """
    found: list[tuple[Sampler, Stored]] = []
    dropped: Counter[str] = Counter()
    for source in [sources] if isinstance(sources, str) else sources:
        if stored.holds(source):
            answers = stored.load_answers(source)
            sampler = sampler_of(source)
            found += [(sampler, one) for one in answers.kept]
            dropped.update(answers.dropped)
    return found, dict(sorted(dropped.items()))


def tokens_of(
    template: Template, decode: Callable[[Sequence[int]], str], one: Stored
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(prompt, answer) with the ids as they were sampled; None if they do not fit this model.

    They fit if the model's tokenizer reads the stored text from them, the answer ends as the template
    ends one (or was stopped), and the template opens it as the sampler's did.
    """
    ids = one.token_ids
    if one.prefill != template.prefill or not ids:
        return None
    if min(ids) < 0 or max(ids) >= len(template.tokenizer):
        return None
    body = ids
    if one.stopped == "eos":
        if ids[-1] not in (*template.eos_ids, template.turn_end):
            return None
        body = ids[:-1]
    if decode(body) != one.text:
        return None
    try:
        return template.render(one.prompt).token_ids, ids
    except DataError:
        return None


@dataclass
class Measured:
    """Stored answers of a stage, and the file of their mismatch."""

    folder: Path
    samples: list[StoredTokens]
    facts: dict[str, Any]
    budget: int

    def at(self, when: str, policy: Policy, console: Console) -> None:
        """Measure, unless it was: write the file and say it. `when`: start or end."""
        path = self.folder / MISMATCH
        found = json.loads(path.read_text("utf-8")) if path.exists() else dict(self.facts)
        if found.get(when) is None:
            found[when] = None
            if self.samples:
                found[when] = measure(policy, self.samples, budget=self.budget).as_dict()
            files.write_json(path, found)
        console.note(said(when, found[when]))

    def ends(self) -> dict[str, float]:
        """For the facts of DONE."""
        found = json.loads((self.folder / MISMATCH).read_text("utf-8"))
        return {
            f"mismatch_{key}_{when}": found[when][key]
            for when in ("start", "end")
            for key in ("mean_log_ratio", "ess_share", "outside_share")
            if found.get(when)
        }


def measured(
    folder: Path,
    answers: Iterable[tuple[Sampler, Stored]],
    template: Template,
    data: DataConfig,
    *,
    max_tokens: int,
    seed: int,
    budget: int,
) -> Measured:
    """What of the answers can be measured: at most MOST of those that this model's tokens spell."""
    decode = decoder(template.tokenizer)
    reasons: Counter[str] = Counter()
    fit: list[StoredTokens] = []
    samplers: dict[str, Sampler] = {}
    counts: Counter[str] = Counter()
    for sampler, one in answers:
        samplers[sampler.source] = sampler
        counts[sampler.source] += 1
        found = tokens_of(template, decode, one)
        if found is None or sum(map(len, found)) > max_tokens:
            reasons["other_tokens" if found is None else "too_long"] += 1
            continue
        fit.append(
            StoredTokens(
                id=one.id,
                prompt_ids=found[0],
                token_ids=found[1],
                logprobs=one.logprobs,
                temperature=sampler.temperature,
            )
        )
    places = sorted(permutation(len(fit), f"mismatch {seed}", 0)[:MOST]) if fit else []
    asked = {key: getattr(data, key) for key in SAME_DATA}
    facts = {
        "answers": sum(counts.values()),
        "measured": len(places),
        "not_measured": dict(sorted(reasons.items())),
        "clip": CLIP,
        "samplers": [
            {
                "stage": one.stage,
                "answers": counts[one.source],
                "temperature": one.temperature,
                "same_template": one.asked == asked if one.asked else None,
            }
            for one in samplers.values()
        ],
    }
    return Measured(folder, [fit[place] for place in places], facts, budget)


def said(when: str, found: dict[str, float] | None) -> str:
    """The statistic in one line."""
    if found is None:
        return (
            f"mismatch at the {when}: not known, no stored answer is spelt by this model's tokens "
            f"as it was sampled (see {MISMATCH})"
        )
    return (
        f"mismatch at the {when}: {found['mean_log_ratio']:+.3f} nats a token against the sampler, "
        f"effective sample size {found['ess_share']:.1%} of {found['answers']:g} answers, "
        f"{found['outside_share']:.1%} of tokens outside 1 ± {CLIP:g}"
    )
