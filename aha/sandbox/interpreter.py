"""Which Python runs untrusted programs, and which files it needs."""

import functools
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace

PACKAGES = ("sortedcontainers",)
"""What the sites of the field offer beyond the standard library, and is plain Python."""
MODULES = (
    "collections decimal math heapq bisect itertools functools re random datetime string typing"
)
"""What answers use most; their shared libraries are found by importing them."""
_ASK = f"""
import json, os, sys, sysconfig
for name in {MODULES!r}.split() + ["zlib", "_ctypes", "_json", "hashlib", "lzma", "bz2", "select"]:
    try: __import__(name)
    except ImportError: pass
libraries = set()
for line in open("/proc/self/maps"):
    path = line.split(maxsplit=5)[5:]
    if path and path[0].startswith("/") and ".so" in path[0]:
        libraries.add(os.path.dirname(path[0].strip()))
paths = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
paths += [p for p in sys.path if os.path.isdir(p)]
print(json.dumps({{"paths": paths, "libraries": sorted(libraries), "executable": sys.executable}}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    executable: str
    readable: tuple[str, ...]
    """Files and folders that it reads; nothing else need be visible."""
    packages: str = ""
    """A folder that programs may import from, beside the standard library; "" for none."""


@functools.cache
def find() -> Interpreter:
    """The first Python that a user without rights can run: ours, or the system's.

    Raises:
        OSError: there is none.
    """
    own = getattr(sys, "_base_executable", None) or sys.executable
    tried = []
    for candidate in (own, "/usr/local/bin/python3", "/usr/bin/python3"):
        path = os.path.realpath(candidate)
        if os.path.exists(path) and (os.geteuid() != 0 or _open_to_all(path)):
            said = subprocess.run(
                [path, "-s", "-P", "-S", "-c", _ASK],
                capture_output=True,
                text=True,
                timeout=60,
                env={},
            )
            if said.returncode == 0:
                found = json.loads(said.stdout)
                return Interpreter(path, _needed(path, found["paths"], found["libraries"]))
        tried.append(path)
    raise OSError(f"no Python that an ordinary user can run; tried {', '.join(tried)}")


def with_packages(python: Interpreter) -> Interpreter:
    """The interpreter, and copies of PACKAGES that every user can read.

    One folder for each user of aha, made once and kept: supervisors may be killed, and would leave theirs.
    """
    folder = os.path.join(tempfile.gettempdir(), f"aha-packages-{os.geteuid()}")
    if not _ours(folder):
        aside = tempfile.mkdtemp(prefix="aha-packages-")
        _copy(aside)
        try:
            os.rename(aside, folder)
        except OSError:  # another one was faster; or it is not ours, and we keep our own
            if _ours(folder):
                shutil.rmtree(aside)
            else:
                folder = aside
    return replace(python, packages=folder)


def _ours(folder: str) -> bool:
    """Whether a folder is there, whole, and nobody else can write in it."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    safe = stat.S_ISDIR(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    there = all(os.path.isfile(os.path.join(folder, name, "__init__.py")) for name in PACKAGES)
    return safe and found.st_uid == os.geteuid() and there


def _copy(folder: str) -> None:
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:
            shutil.copytree(
                os.path.dirname(found.origin),
                os.path.join(folder, name),
                ignore=shutil.ignore_patterns("__pycache__"),
            )
    for above, _, files in os.walk(folder):
        os.chmod(above, 0o755)
        for file in files:
            os.chmod(os.path.join(above, file), 0o444)


def _open_to_all(path: str) -> bool:
    """May every user read and run it? (Each folder above it must be open too.)"""
    mode = os.stat(path).st_mode
    if not (mode & stat.S_IROTH and mode & stat.S_IXOTH):
        return False
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
    return True


def _needed(executable: str, paths: list[str], libraries: list[str]) -> tuple[str, ...]:
    wanted = {executable, *paths, *libraries, "/etc/ld.so.cache"}
    # the loader looks in /lib and /lib64, which may be links into /usr
    for folder in ("/lib", "/lib64", "/usr/lib", "/usr/lib64"):
        for library in libraries:
            if os.path.realpath(library).startswith(os.path.realpath(folder) + "/"):
                inside = os.path.relpath(os.path.realpath(library), os.path.realpath(folder))
                wanted.add(os.path.join(folder, inside))
        if os.path.isdir(folder):
            wanted |= {e.path for e in os.scandir(folder) if e.name.startswith("ld-linux")}
    there = sorted(path for path in wanted if os.path.exists(path))
    return tuple(p for p in there if not any(p != o and p.startswith(o + "/") for o in there))
