"""`aha data check`: every row of every split of a source, each fault with its file and line.

Rows go through the very functions that a run reads them with (`sources.py`, `readers.py`,
`columns.py`, `templates.py`), but nothing ends early: kept + rejected = read, to the row. Rejected is
what a run would not use; warnings are on rows that it would.

Files are read as a stream; what stays of a row are hashes, its id and its lengths. Held-out
questions are held whole, because training questions are compared with them.

Not covered: a whole .json file is held while it is read; a hub data set needs the hub or its cache.
"""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aha.config import DataConfig
from aha.data import columns, doubts, faults, language, odd_json, overlap, parts, query, readers
from aha.data.faults import Fault, Level, Tally
from aha.data.golds import GoldCheck
from aha.data.parts import Part, Split
from aha.data.readers import BadRow, Row
from aha.data.repeats import Repeats, digest
from aha.data.spread import spread
from aha.data.templates import Template
from aha.errors import DataError
from aha.records import Prompt, Rendered

CHUNK = 20_000
"""Training problems that are held to be compared with the held-out ones."""
MAX_CHARS = 50_000
"""Characters of a question, where no model says how many tokens it is."""
DOMAINS = 1000
"""Different domains that are counted by name; more are counted together."""
See = Callable[[str, Row, Prompt | BadRow, Rendered | None], None]
"""Is shown every object that was read: split, row, what became of it, how it is rendered."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What was seen in a source."""

    source: str
    splits: list[Split] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    chars: "array[int]" = field(default_factory=lambda: array("L"))
    """Characters of the questions that columns could make."""
    tokens: "array[int]" = field(default_factory=lambda: array("L"))
    """Tokens of their prompts, with a model."""
    too_long: int = 0
    declared: Counter[str] = field(default_factory=Counter)
    """Kept rows by declared language."""
    scripts: Counter[str] = field(default_factory=Counter)
    """Kept rows by the script that most letters of the question are in."""
    domains: Counter[str] = field(default_factory=Counter)
    golds_checked: int = 0
    golds_failed: int = 0
    leaks_looked_for: bool = False

    @property
    def read(self) -> int:
        return sum(split.read for split in self.splits)

    @property
    def kept(self) -> int:
        return sum(split.kept for split in self.splits)

    @property
    def rejected(self) -> int:
        return sum(split.rejected for split in self.splits)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the single faults, as JSON holds it."""
        counts = sorted(self.tally.counts.items())
        return {
            "source": self.source,
            "read": self.read,
            "kept": self.kept,
            "rejected": self.rejected,
            "file_faults": self.tally.total("file"),
            "warnings": self.tally.total("warning"),
            "splits": [asdict(split) for split in self.splits],
            "counts": [{"level": k[0], "kind": k[1], "count": count} for k, count in counts],
            "characters": spread(self.chars),
            "tokens": spread(self.tokens),
            "too_long": self.too_long,
            "golds": {"checked": self.golds_checked, "failed": self.golds_failed},
            "leaks_looked_for": self.leaks_looked_for,
            "declared_languages": dict(self.declared.most_common()),
            "scripts": dict(self.scripts.most_common()),
            "domains": dict(self.domains.most_common()),
        }

    @property
    def clean(self) -> bool:
        """No row is rejected, and every file could be read to its end."""
        return not self.tally.total("rejected") and not self.tally.total("file")


def check(
    source: str,
    config: DataConfig,
    *,
    template: Template | None = None,
    max_chars: int = MAX_CHARS,
    sink: Callable[[Fault], None] | None = None,
    rejects: Callable[[dict[str, Any]], None] | None = None,
    see: See | None = None,
) -> Report:
    """Read a source, and the held-out one that `config.heldout` names, to the last row.

    Args:
        template: renders every question, so that tokens are counted and control tokens refused.
        sink: is told every fault, as it is found.
        rejects: is told every rejected row: file, line, kind, reason and what the row held.

    Raises:
        ConfigError: a source or a key that cannot be.
    """
    report = Report(source=source, tally=Tally(sink))
    walk = _Walk(report, config, template, max_chars, rejects, see)
    asked: list[tuple[str, parts.Side]] = [(source, "train"), (source, "heldout")]
    named = [config.heldout] if isinstance(config.heldout, str) else config.heldout
    asked += [(where, "named") for where in named if where]
    found: list[parts.Found] = []
    why = ""
    for where, side in asked:
        if side == "heldout" and why:
            continue  # it cannot be had at all
        splits, why = parts.splits(where, side, config)
        found += splits
        if why:
            walk.fault("file", "cannot be read", query.parse(where).where, 0, why)
    found.sort(key=lambda each: each[0].name == "train")  # held-out ones first: they are looked up
    with GoldCheck(walk.gold_fails, answer_tag=config.answer_tag) as golds:
        walk.golds = golds
        for split, files in found:
            walk.read(split, files)
        walk.compare()
    report.golds_checked, report.golds_failed = golds.checked, golds.failed
    report.splits.sort(key=lambda split: split.name != "train")
    return report


@dataclass(slots=True)
class _Walk:
    """The state of one walk through all splits."""

    report: Report
    config: DataConfig
    template: Template | None
    max_chars: int
    rejects: Callable[[dict[str, Any]], None] | None
    see: See | None
    golds: GoldCheck | None = None
    split: Split = field(default_factory=lambda: Split(name="", source="", files=[]))
    ids: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Digest of an id -> file and line of its row, in this split."""
    repeats: Repeats = field(default_factory=Repeats)
    heldout: list[Prompt] = field(default_factory=list)
    heldout_at: list[str] = field(default_factory=list)
    chunk: list[tuple[Prompt, str, int]] = field(default_factory=list)
    """Training problems that are not yet compared."""

    # -- reading ----------------------------------------------------------------------------------

    def read(self, split: Split, files: list[Part]) -> None:
        """All rows of one split."""
        self.split, self.ids, self.repeats = split, {}, Repeats()
        self.report.splits.append(split)
        limit = parts.limit(split.source)
        made = 0
        for part in files:
            if limit is None or made < limit:
                made += self._made(part) if part.prompts else self._file(part, limit, made)
        if made == limit:
            split.notes.append(f"stopped at n={limit}")
        for file, line, kind, said in self.repeats.found():
            self.fault("warning", kind, file, line, said)

    def _made(self, part: Part) -> int:
        """Problems of a task: nothing to read, but they may be too long."""
        for number, prompt in enumerate(part.prompts, 1):
            row = Row(part.name, number, {"question": prompt.question, "gold": prompt.gold})
            self._one(row, prompt, None)
        return len(part.prompts)

    def _file(self, part: Part, limit: int | None, made: int) -> int:
        """One file; returns how many rows could be problems (before their length is looked at)."""
        if part.path is not None and (told := _sniffed(part.path)):
            self.fault("file", told[0], part.name, 0, told[1])
            return 0
        broken: list[str] = []
        first, before = self.split.read, made
        suffix = readers.suffix(part.path).removesuffix(".gz") if part.path is not None else ""
        notes = odd_json.of_file(part.path) if part.path and suffix == ".json" else {}
        rows, sample = readers.peek(_whole(part.rows, broken), wait=True)
        make = self._columns(part, sample)
        strict = suffix == ".jsonl"
        lines = faults.Lines(part.path) if part.path and (strict or suffix == ".csv") else None
        for row in rows:
            raw = lines.get(row.line) if lines and (strict or isinstance(row, BadRow)) else None
            prompt = self._prompt(row, make, part)
            made += isinstance(prompt, Prompt)
            if self._one(row, prompt, raw):
                odd = odd_json.of_line(raw) if strict and raw else notes.get(row.line, [])
                for kind, said in odd:
                    self.fault("warning", kind, row.file, row.line, said)
            if made == limit:
                break
        if lines is not None:
            lines.close()
        for kind, said in notes.get(0, []):
            self.fault("warning", kind, part.name, 0, said)
        self._of_file(part, broken, self.split.read - first, sample, make)
        return made - before

    def _one(self, row: Row | BadRow, prompt: Prompt | BadRow, raw: bytes | None) -> bool:
        """One row is kept (True) or rejected, and counted as that."""
        self.split.read += 1
        rendered = None
        if isinstance(prompt, Prompt):
            assert isinstance(row, Row)
            fits = self._fits(prompt, row)
            if isinstance(fits, BadRow):
                prompt = fits
            else:
                rendered = fits
        if isinstance(prompt, BadRow):
            self.split.rejected += 1
            self._reject(prompt, raw, row.value if isinstance(row, Row) else None)
        else:
            assert isinstance(row, Row)
            self.split.kept += 1
            self._keep(prompt, row)
        if self.see is not None and isinstance(row, Row):
            self.see(self.split.name, row, prompt, rendered)
        return isinstance(prompt, Prompt)

    def _of_file(
        self,
        part: Part,
        broken: list[str],
        read: int,
        sample: list[Row],
        make: columns.Columns | None,
    ) -> None:
        """What is to be said of a file as a whole, now that it is read."""
        if broken:
            said = broken[0].removeprefix(f"{part.path}: ").removeprefix(f"{part.path} ")
            said += f" ({read} rows were read before)"
            self.fault("file", "cannot be read", part.name, 0, said)
        elif not read:
            self.fault("file", "no rows", part.name, 0, "there is no row in it")
        if part.path is not None:
            for kind, line, said in faults.file_notes(part.path):
                self.fault("warning", kind, part.name, line, said)
        there = {name for row in sample for name in row.value}
        chosen = make is not None and "choice" in (make.kind, make.found)
        if not chosen and (options := {"choices", "options"} & there):
            said = f"column '{min(options)}' is not part of the question: models will not see it"
            self.fault("warning", "options not shown", part.name, 0, said)

    def _columns(self, part: Part, sample: list[Row]) -> columns.Columns | None:
        """How rows become problems; None, and a fault, if no column is known for it."""
        if not sample:
            return None
        keys = query.parse(self.split.source).keys
        try:
            made = columns.bind([row.value for row in sample], keys, where=part.source)
        except DataError as error:
            self.fault("file", "no such column", part.name, 0, f"{error}{_other_comma(sample)}")
            return None
        self.split.mapping = made.mapping
        if (note := made.note()) and note not in self.split.notes:
            self.split.notes.append(note)
        return made

    def _prompt(
        self, row: Row | BadRow, make: columns.Columns | None, part: Part
    ) -> Prompt | BadRow:
        if isinstance(row, BadRow):
            return row
        if make is None:
            return BadRow(row.file, row.line, _NO_COLUMN)
        prompt = make.prompt(row, spare_id=f"{part.stem}-{row.line}", source=part.source)
        if isinstance(prompt, BadRow):
            return prompt
        first = self.ids.setdefault(digest(prompt.id), (row.file, row.line))
        if first != (row.file, row.line):
            said = f"id '{prompt.id[:60]}' is already that of {first[0]}:{first[1]}"
            return BadRow(row.file, row.line, said, make.mapping.get("id", ""))
        if columns.has_system(row.value.get(make.mapping["question"])):
            said = "the system message of the row is not used; set data.system"
            self.fault("warning", "system message", row.file, row.line, said)
        return prompt

    def _fits(self, prompt: Prompt, row: Row) -> Rendered | BadRow | None:
        """The rendered prompt, None without a template, or why it cannot be asked."""
        column = self.split.mapping.get("question", "")
        self.report.chars.append(len(prompt.question))
        rendered = None
        if self.template is None:
            if len(prompt.question) <= self.max_chars:
                return None
            said = f"{len(prompt.question)} characters, above max_prompt_chars={self.max_chars}"
        else:
            try:
                rendered = self.template.render(prompt)
            except DataError as error:
                said = str(error).removeprefix(f"prompt {prompt.id}: ")
                return BadRow(row.file, row.line, said, column)
            length, most = len(rendered.token_ids), self.config.max_prompt_tokens
            self.report.tokens.append(length)
            if length <= most:
                return rendered
            said = f"{length} tokens, above max_prompt_tokens={most}"
        self.report.too_long += 1
        return BadRow(row.file, row.line, said, column)

    def _keep(self, prompt: Prompt, row: Row) -> None:
        report, config = self.report, self.config
        for kind, said in doubts.doubts(
            prompt,
            think_tag=config.think_tag,
            answer_tag=config.answer_tag,
            control=doubts.CONTROL if self.template is None else (),
        ):
            self.fault("warning", kind, row.file, row.line, said)
        self.repeats.add(prompt, row.file, row.line)
        assert self.golds is not None
        self.golds.add((row.file, row.line, self.split.name), prompt)
        report.declared[prompt.lang or "not declared"] += 1
        report.scripts[next(iter(language.scripts(prompt.question)), "no letters")] += 1
        known = prompt.domain in report.domains or len(report.domains) < DOMAINS
        report.domains[(prompt.domain or "none") if known else "others"] += 1
        if self.split.name != "train":
            self.heldout.append(prompt)
            self.heldout_at.append(f"{row.file}:{row.line}")
        elif self.heldout:
            self.chunk.append((prompt, row.file, row.line))
            if len(self.chunk) >= CHUNK:
                self.compare()

    # -- what is said -----------------------------------------------------------------------------

    def compare(self) -> None:
        """Look for the held-out questions among the training problems that were held for it."""
        self.report.leaks_looked_for |= bool(self.heldout)
        for found in overlap.find([prompt for prompt, _, _ in self.chunk], self.heldout):
            _, file, line = self.chunk[found.train]
            there = self.heldout_at[found.heldout]
            if found.why == "same":
                said = f"the question is held out: {there}"
            else:
                said = f"shares a run of words with the held-out {there}: {found.shared[:100]!r}"
            self.fault("warning", f"leak: {found.why}", file, line, said, split="train")
        self.chunk.clear()

    def gold_fails(self, where: tuple[str, int, str], kind: str, said: str) -> None:
        self.fault("warning", kind, where[0], where[1], said, split=where[2])

    def _reject(self, bad: BadRow, raw: bytes | None, value: Any) -> None:
        kind, reason = faults.kind_of(bad.reason), bad.reason
        if kind in ("not JSON", "not an object", "encoding") and (why := faults.hint(raw)):
            reason = f"{reason} ({why})"
        elif kind == "not CSV" and "unexpected end" in reason:
            reason += " (a quote that opens here is never closed: the rest of the file is in it)"
        self.fault("rejected", kind, bad.file, bad.line, reason, bad.column)
        if self.rejects is not None:
            text = None if value is not None or raw is None else raw.decode("utf-8", "replace")
            self.rejects(
                {"file": bad.file, "line": bad.line, "split": self.split.name, "kind": kind}
                | {"column": bad.column, "reason": reason, "row": value, "text": text}
            )

    def fault(
        self, level: Level, kind: str, file: str, line: int, reason: str, column: str = "", /,
        split: str | None = None,
    ) -> None:  # fmt: skip
        named = self.split.name if split is None else split
        self.report.tally.add(
            Fault(
                level=level,
                kind=kind,
                file=file,
                line=line,
                reason=reason,
                column=column,
                split=named,
            )
        )


_NO_COLUMN = "no column is known to hold the question or its gold"


def _sniffed(path: Path) -> tuple[str, str] | None:
    try:
        return faults.sniff(path)
    except PermissionError:
        return "cannot be read", "no permission to read it; change its mode or copy it"
    except OSError as error:
        return "cannot be read", error.strerror or str(error)


def _whole(rows: Iterator[Row | BadRow], broken: list[str]) -> Iterator[Row | BadRow]:
    """The rows up to where the file breaks; the reason goes to `broken`."""
    try:
        yield from rows
    except DataError as error:
        broken.append(str(error))
    except Exception as error:  # libraries that read formats raise classes of their own
        broken.append(f"it cannot be read ({type(error).__name__}: {str(error)[:200]})")


def _other_comma(sample: list[Row]) -> str:
    """A hint where the only column of a table holds what separates its columns."""
    names = {name for row in sample for name in row.value}
    signs = [sign for sign in (";", "\t", "|") if len(names) == 1 and sign in next(iter(names))]
    return f" Its columns are separated by {signs[0]!r}: write commas" if signs else ""


def reject_line(row: dict[str, Any]) -> str:
    """A rejected row as one JSON line; what JSON cannot hold is written as text."""
    try:
        return json.dumps(row, ensure_ascii=True, default=str)
    except (ValueError, RecursionError):
        return json.dumps({**row, "row": None, "text": "cannot be written as JSON"})
