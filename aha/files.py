"""Files that are either whole or not there.

A file is written beside its final name, flushed to the disk and renamed; a folder is filled under a
temporary name, gets `manifest.json` (size and sha256 of every file) last, and is renamed. So a reader
never meets half a file, whenever the writer was killed. Leftovers of a killed writer carry `.tmp-`
in their name and are removed by the next one.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aha.errors import RunError

MANIFEST = "manifest.json"
TMP = ".tmp-"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Flush a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `path` whole: beside, flush, rename."""
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}{TMP}{os.getpid()}")
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        fsync(path.parent)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def json_line(value: Any) -> str:
    """One JSON line. Lone surrogates are escaped, so that any text survives."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        line = json.dumps(value, ensure_ascii=True)
    return line


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    write_text(path, "".join(json_line(row) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[Any]:
    """Rows of one of our own JSONL files; a torn last line (killed while appending) is dropped."""
    rows = []
    for line in path.read_bytes().split(b"\n"):
        if line:
            try:
                rows.append(json.loads(line.decode("utf-8")))
            except ValueError:  # not JSON, or cut within a character
                break
    return rows


@contextlib.contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Fill the yielded folder; on leaving it gets a manifest, is flushed, and is renamed to `final`.

    Raises:
        RunError: the disk is full or the folder cannot be written. `final` is then untouched.
    """
    with _explained(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        clean(final.parent, final.name)
        aside = final.with_name(f"{final.name}{TMP}{os.getpid()}")
        aside.mkdir()
    try:
        with _explained(final):
            yield aside
            names = sorted(p for p in aside.rglob("*") if p.is_file())
            for name in names:
                fsync(name)
            for folder in {name.parent for name in names}:
                fsync(folder)
            listed = {
                str(name.relative_to(aside)): {"bytes": name.stat().st_size, "sha256": sha256(name)}
                for name in names
            }
            write_json(aside / MANIFEST, {"files": listed})
            fsync(aside)
            _replace_folder(aside, final)
            fsync(final.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _replace_folder(aside: Path, final: Path) -> None:
    """Rename; an older `final` (a replayed phase writes the same folder again) goes as a whole."""
    if not final.exists():
        os.rename(aside, final)
        return
    old = final.with_name(f"{final.name}{TMP}old-{os.getpid()}")
    os.rename(final, old)
    try:
        os.rename(aside, final)
    except BaseException:
        os.rename(old, final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def clean(parent: Path, prefix: str = "") -> None:
    """Remove what killed writers left in `parent`."""
    for left in parent.glob(f"{prefix}*{TMP}*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def clean_below(root: Path) -> None:
    """Remove what killed writers left anywhere below `root`; nobody else may be writing there."""
    for left in sorted(root.rglob(f"*{TMP}*")):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def verify(folder: Path) -> str | None:
    """None if every file of the manifest is there and whole; else what is wrong, in plain words."""
    try:
        listed = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        said = {name: (facts["bytes"], facts["sha256"]) for name, facts in listed.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__}: {error})"
    if not said:
        return f"{MANIFEST} lists no file"
    for name, (size, digest) in said.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, not {size}"
        if sha256(path) != digest:
            return f"{name} does not match its sha256"
    return None


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(_why(path, error)) from error
    except Exception as error:  # safetensors and tokenizers report a full disk in classes of theirs
        said = re.search(r"\(os error (\d+)\)", str(error))
        if said is None:
            raise
        raise RunError(_why(path, OSError(int(said[1]), str(error)))) from error


@contextlib.contextmanager
def disk_trouble(root: Path) -> Iterator[None]:
    """A full or forbidden disk below `root` becomes a RunError wherever it was met.

    For the many small appends (events, journal, logs); every other OSError is a mistake of ours and
    passes through.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_FULL, *_FORBIDDEN):
            raise
        named = error.filename if isinstance(error.filename, str) else None
        raise RunError(_why(Path(named or root), error)) from error


_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def _why(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        free = shutil.disk_usage(_existing(path)).free / 1e9
        return (
            f"the disk is full: cannot write {path} ({free:.2f} GB free). Earlier checkpoints are "
            "whole; free some space and run the same command again"
        )
    if error.errno in _FORBIDDEN:
        return f"no permission to write {path}; choose another folder with --set run_dir=DIR"
    return f"cannot write {path}: {error.strerror or error}"


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
