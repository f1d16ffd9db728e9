"""People look at dialogues before they are learned: accept, edit, reject. DeepSeek-R1 §2.3.1, v2 §B.3.2.

    review(path, out, reviewer, ask, say)   shows what has no decision yet, appends a line for each
    export(path, records)                   the accepted and edited dialogues

Decisions are kept apart from the dialogues, one JSON line each, flushed as they are made:

    {"id", "decision": "accept" | "edit" | "reject", "reviewer", "time", "before_sha", "text", "note"}

`before_sha` is the hash of what was shown: when a dialogue changes, its decision no longer counts. The
last line about a dialogue is the one that counts. Nothing that is exported depends on the time.

Holds not: the terminal. `ask`, `say` and `clean` are given by the command line; what a model wrote goes
through `clean` (report/lines.py) before it is said.
"""

import difflib
import hashlib
import json
import os
import shlex
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aha import files
from aha.data import dialogues, readers
from aha.data.dialogues import RESPONSE, TURNS, Dialogue
from aha.data.readers import BadRow, Row
from aha.data.thinking import split
from aha.errors import DataError, RunError

DECISIONS = ("accept", "edit", "reject")
KEYS = "[a]ccept  [e]dit  [r]eject  [s]kip  [q]uit"
MAX_NOTE = 2000
"""Characters of a note."""
DIALOGUES = "dialogues.jsonl"
"""What a sampling stage writes."""
SHOWN = 5
"""Files that an error names."""

Ask = Callable[[str], str]
"""A question to the reviewer, one line back. EOFError ends the review."""
Say = Callable[[str], None]
Edit = Callable[[str], str]
"""A text, edited. RunError if there is no result."""


@dataclass(frozen=True, slots=True)
class Item:
    """A dialogue to look at and the row that it came from."""

    dialogue: Dialogue
    row: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The last answer: what can be edited."""
        return self.dialogue.messages[-1][1]

    @property
    def sha(self) -> str:
        """Hash of everything that is shown."""
        plain = json.dumps([list(turn) for turn in self.dialogue.messages])
        return hashlib.sha256(plain.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Rows of reviewed dialogues, in the order of the file, and what became of all of them."""

    rows: list[dict[str, Any]]
    accepted: int
    edited: int
    rejected: int
    undecided: int
    """Without a decision, or changed since."""

    def sentence(self) -> str:
        return (
            f"{self.accepted} accepted, {self.edited} edited, {self.rejected} rejected, "
            f"{self.undecided} without a decision"
        )


def review(
    path: Path,
    out: Path,
    reviewer: str,
    ask: Ask,
    say: Say,
    *,
    clean: Callable[[str], str],
    edit: Edit | None = None,
    think_tag: str = "think",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, int]:
    """Show each dialogue that has no decision; append what is decided to `out`. Counts of this sitting.

    What is skipped is shown again the next time.

    Args:
        clean: makes a text harmless for a terminal.
        edit: edits an answer; None opens $VISUAL or $EDITOR on a temporary file.

    Raises:
        DataError: the file of dialogues cannot be used.
        RunError: `out` cannot be written or is not a file of decisions.
    """
    items = read(path)
    records = read_records(out)
    if out.exists() and not out.read_bytes().endswith(b"\n"):
        files.write_jsonl(out, records)  # without the line that a kill has torn
    decided = _current(items, records)
    left = [one for one in items if one.dialogue.id not in decided]
    say(f"{len(items)} dialogues, {len(decided)} decided, {len(left)} to look at")
    counts: Counter[str] = Counter()
    for number, one in enumerate(left, 1):
        say(_shown(one, f"{number} of {len(left)}", clean))
        try:
            record = _decide(one, ask, say, edit or edit_in_editor, clean, think_tag)
        except (EOFError, KeyboardInterrupt):
            break
        if record is None:
            counts["skip"] += 1
            continue
        who = {"reviewer": reviewer, "time": now().astimezone(UTC).isoformat(timespec="seconds")}
        _append(out, {"id": one.dialogue.id, **record, **who, "before_sha": one.sha})
        counts[record["decision"]] += 1
    say(", ".join(f"{counts[name]} {name}" for name in (*DECISIONS, "skip")))
    return dict(counts)


def export(path: Path, records: Path) -> Exported:
    """The dialogues that were accepted, and those that were edited with their new text.

    Each row gets `"review": {"decision", "reviewer"}`; what else it held stays.

    Raises:
        DataError: the file of dialogues cannot be used.
        RunError: `records` is not a file of decisions.
    """
    items = read(path)
    decided = _current(items, read_records(records))
    counts: Counter[str] = Counter()
    rows = []
    for one in items:
        record = decided.get(one.dialogue.id)
        counts[record["decision"] if record else "undecided"] += 1
        if record is None or record["decision"] == "reject":
            continue
        row = _edited(one, record["text"]) if record["decision"] == "edit" else dict(one.row)
        said = {"decision": record["decision"], "reviewer": record["reviewer"]}
        rows.append({**row, "id": one.dialogue.id, "review": said})
    return Exported(
        rows=rows,
        accepted=counts["accept"],
        edited=counts["edit"],
        rejected=counts["reject"],
        undecided=counts["undecided"],
    )


def read(path: Path) -> list[Item]:
    """The dialogues of a file; every row must be one, and ids must differ.

    Raises:
        DataError: it cannot be read, a row is broken, two rows have one id.
    """
    if not path.is_file():
        raise DataError(_instead(path))
    items: list[Item] = []
    for row in readers.read(path):
        made = dialogues.of_row(row, {}, stem=readers.stem(path), source=str(path))
        if isinstance(made, BadRow):
            raise DataError(f"{made}; mend the row or take it out before the review")
        assert isinstance(row, Row)
        items.append(Item(made, row.value))
    for name, count in Counter(one.dialogue.id for one in items).items():
        if count > 1:
            raise DataError(
                f"{path}: {count} dialogues have the id {name!r}; decisions belong to ids"
            )
    if not items:
        raise DataError(f"{path} holds no dialogue")
    return items


def read_records(path: Path) -> list[dict[str, Any]]:
    """Decisions in the order they were made; a torn last line is passed over.

    Raises:
        RunError: not a file of decisions.
    """
    if not path.exists():
        return []
    found = files.read_jsonl(path)
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    whole = path.read_bytes().endswith(b"\n")
    if len(found) < len(lines) - (not whole) or not all(map(_is_record, found)):
        raise RunError(f"{path} is not a file of decisions; name another file for them")
    return found


def edit_in_editor(text: str) -> str:
    """The text as $VISUAL or $EDITOR leaves it.

    Raises:
        RunError: no editor is named, it fails, or what it leaves is no UTF-8.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise RunError("no editor: set EDITOR, for example EDITOR=nano")
    with tempfile.TemporaryDirectory(prefix="aha-review-") as folder:
        file = Path(folder) / "answer.md"
        file.write_bytes(text.encode("utf-8"))
        try:
            done = subprocess.run([*shlex.split(editor), str(file)], check=False)
        except (OSError, ValueError) as error:
            raise RunError(f"the editor {editor!r} cannot be started: {error}") from error
        if done.returncode != 0:
            raise RunError(
                f"the editor {editor!r} ended with {done.returncode}; nothing was changed"
            )
        try:
            return file.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"what the editor left cannot be read: {error}") from error


def _instead(path: Path) -> str:
    """What to give in place of a path that is no file."""
    if path.is_dir():
        found = _dialogues_in(path)
        if not found:
            return (
                f"{path} is a folder without {DIALOGUES}; give a file of dialogues, such as "
                f"RUN/STAGE/{DIALOGUES} of a stage that samples"
            )
        return f"{path} is a folder; give a file of it: {', '.join(map(str, found))}"
    if not path.parent.is_dir():
        return f"no file at {path} (and no folder {path.parent})"
    there = sorted(one for one in path.parent.iterdir() if readers.suffix(one) or one.is_dir())
    near = difflib.get_close_matches(path.name, [one.name for one in there], n=1)
    best = [path.parent / near[0]] if near else _dialogues_in(path.parent)
    if best and best[0].is_dir():
        best = _dialogues_in(best[0]) or best
    hint = f"did you mean {best[0]}?" if best else f"{path.parent} has no file of dialogues"
    return f"no file at {path}; {hint}"


def _dialogues_in(folder: Path) -> list[Path]:
    """What sampling stages wrote in this folder, or in the stages of this run; at most SHOWN."""
    found = [folder / DIALOGUES, *sorted(folder.glob(f"*/{DIALOGUES}"))]
    return [one for one in found if one.is_file()][:SHOWN]


def _decide(
    one: Item, ask: Ask, say: Say, edit: Edit, clean: Callable[[str], str], think_tag: str
) -> dict[str, Any] | None:
    """Decision, text and note; None to skip. Asks until it is one of these."""
    while True:
        key = ask(f"{KEYS} > ").strip().lower()[:1]
        if key == "q":
            raise EOFError
        if key == "s":
            return None
        if key == "a":
            return {"decision": "accept", "text": "", "note": ""}
        if key == "r":
            return {"decision": "reject", "text": "", "note": ask("why? > ").strip()[:MAX_NOTE]}
        if key != "e":
            continue
        try:
            text = edit(one.text).strip()
        except RunError as error:
            say(str(error))
            continue
        if text == one.text:
            say("nothing was changed")
        elif why := _unusable(text, one.text, think_tag):
            say(f"not taken: {why}")
        else:
            say(clean(text))
            if ask("take this? [y]es [n]o > ").strip().lower()[:1] == "y":
                return {"decision": "edit", "text": text, "note": ""}


def _unusable(text: str, before: str, think_tag: str) -> str:
    """Why an edited answer cannot be learned; "" if it can."""
    if not text:
        return "the answer is empty"
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        return "it holds half a character (a lone surrogate)"
    was, new = split(before, think_tag), split(text, think_tag)
    if was.has_think and not (new.has_think and new.complete and new.rest.strip()):
        return f"<{think_tag}>, </{think_tag}> and an answer behind them must stay"
    return ""


def _shown(one: Item, where: str, clean: Callable[[str], str]) -> str:
    """The whole dialogue for the terminal."""
    name = " ".join(clean(f"{one.dialogue.id} {one.dialogue.domain}").split())
    turns = [f"── {role}\n{clean(text)}" for role, text in one.dialogue.messages]
    return "\n".join([f"\n══ {where} · {name}", *turns])


def _edited(one: Item, text: str) -> dict[str, Any]:
    """The row with another last answer, in the form that it had."""
    row = dict(one.row)
    turns = next((name for name in TURNS if name in row), None)
    if turns is not None:
        last = dict(row[turns][-1])
        last["content" if "content" in last else "value"] = text
        row[turns] = [*row[turns][:-1], last]
        return row
    name = next(name for name in RESPONSE if row.get(name) is not None)
    return {**row, name: text}


def _current(items: Sequence[Item], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The decision that counts for each dialogue as it is now."""
    shas = {one.dialogue.id: one.sha for one in items}
    return {r["id"]: r for r in records if shas.get(r["id"]) == r["before_sha"]}


def _is_record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("decision") in DECISIONS
        and all(isinstance(value.get(key), str) for key in ("id", "reviewer", "before_sha", "text"))
    )


def _append(path: Path, record: Mapping[str, Any]) -> None:
    """One line more, on the disk before the next dialogue is shown."""
    with files.disk_trouble(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(files.json_line(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
