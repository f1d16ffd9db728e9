"""Functions of untrusted code, called from outside: arguments go in, plain data come out.

    with Calls(sandbox, source) as calls:
        calls.call("add", (1, 2))        -> 3

The expected values never enter the jail. Inside, a fixed program reads one request a line. An object
that is not plain data stays inside; outside it is a `Handle` on which methods can be called.
"""

import ast
import builtins
import functools
import json
import marshal
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.sandbox import plain
from aha.sandbox.box import Sandbox
from aha.sandbox.interpreter import find
from aha.sandbox.types import Limits, Outcome

PRELUDE = """
import bisect
import collections
import copy
import functools
import heapq
import itertools
import math
import operator
import random
import re
import string
import sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from string import *
from typing import *
from builtins import *
"""
"""Names that answers may use without importing them, as on the sites the problems come from."""
_INSIDE = """

def _serve():
    import marshal, os, sys
    given, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2): os.dup2(nowhere, stream)
    kept, space = {}, {"__name__": "answer"}

    try:  # the C part of json alone: the rest of it takes a third of the time that a program takes to start
        from _json import encode_basestring_ascii, make_encoder
        encoder = make_encoder(
            None, None, encode_basestring_ascii, None, ": ", ", ", False, False, False
        )
        as_json = lambda value: "".join(encoder(value, 0))
    except (ImportError, TypeError):
        from json import dumps as as_json

    def reply(**what):
        out.write(as_json(what).encode() + b"\\n")
        out.flush()

    def handle(value):
        kept[len(kept)] = value
        return {"h": len(kept) - 1}

    def other(name, content):
        if name == "h": return kept[content]
        if name == "n": return reached(content)
        raise NotPlain(name)

    def reached(path):
        value = space[path[0]] if type(path[0]) is str else kept[path[0]]
        for name in path[1:]: value = getattr(value, name)
        return value

    def failed(error):
        names = [kind.__name__ for kind in type(error).__mro__[:-1]]
        try: message = str(error)[:200]
        except BaseException: message = ""
        reply(raised=names, message=message)

    def read(line): return marshal.loads(bytes.fromhex(line.decode()))

    first = read(given.readline())
    sys.setrecursionlimit(20000)
    try:
        known = {}
        exec(first["prelude"], known)
        known = {**vars(__builtins__), **known}
        space["__builtins__"] = known  # what the answer may use; only what it makes can be called
        exec(compile(first["source"], "answer.py", "exec"), space)
        reply(ready=True)
    except (SyntaxError, ValueError) as error: reply(broken="compile", message=str(error)[:200])
    except BaseException as error: reply(broken="failed", message=type(error).__name__)
    for line in given:
        asked = read(line)
        try:
            args = [decode(a, other) for a in asked["args"]]
            named = {k: decode(v, other) for k, v in asked["named"].items()}
            if asked["what"] == "set":
                *path, name = asked["path"]
                setattr(reached(path), name, args[0])
                value = None
            else:
                value = reached(asked["path"])
                if asked["what"] == "call": value = value(*args, **named)
            value = encode(value, handle)
            after = [encode(a, handle) for a in args]
        except BaseException as error: failed(error)
        else: reply(value=value, after=after)

_serve()
"""
PROGRAM = (Path(plain.__file__).read_text("utf-8") + _INSIDE).encode()


@functools.cache
def program() -> bytes:
    """What runs inside: PROGRAM, compiled here once where the jail's interpreter is the one we run on."""
    own = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    if find().executable != own:
        return PROGRAM
    code = marshal.dumps(compile(PROGRAM, "main.py", "exec"))
    return f"import marshal\nexec(marshal.loads(bytes.fromhex({code.hex()!r})))".encode()


class CallFailed(Exception):
    """The answer's fault: it raised, took too long, or gave something that is not data."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True, eq=False)
class Handle:
    """An object inside the jail."""

    number: int


class Calls:
    """One answer's functions.

    Args:
        seconds: for one call; `limits.seconds` is for all of them together.

    Raises:
        CallFailed: the source is no Python, or fails when it is loaded.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        source: str,
        *,
        limits: Limits | None = None,
        seconds: float = 5.0,
        prelude: str = PRELUDE,
    ) -> None:
        self._sandbox, self._seconds = sandbox, seconds
        self._limits = limits or Limits(seconds=20.0)
        self._number = sandbox.open(program(), limits=self._limits)
        self.outcome: Outcome | None = None
        self.calls = 0
        try:
            said = self._asked({"prelude": needed(source, prelude), "source": source})
            if "broken" in said:
                raise CallFailed(str(said["broken"]), str(said.get("message", ""))[:200])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Calls":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self,
        path: str | Sequence[str | int],
        args: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function by its name, or a method: ("Solution",) gives a handle h, then (h, "run").

        Lists and dicts among the arguments are changed as the function changed them.

        Raises:
            CallFailed: see there.
            plain.NotPlain: an argument cannot go in: our failure.
        """
        return self._reached(path, args, named or {}, what="call")

    def get(self, path: Sequence[str | int]) -> Any:
        """The value of a name or an attribute."""
        return self._reached(path, (), {}, what="get")

    def set(self, path: Sequence[str | int], value: Any) -> None:
        """Give an attribute of an object inside a value."""
        self._reached(path, (value,), {}, what="set")

    def close(self) -> None:
        if self.outcome is None:
            self.outcome = self._sandbox.end(self._number)

    def _reached(
        self, path: str | Sequence[str | int], args: Sequence[Any], named: Any, *, what: str
    ) -> Any:
        self.calls += 1
        asked = {
            "path": [path] if isinstance(path, str) else list(path),
            "args": [plain.encode(value, _encoded) for value in args],
            "named": {name: plain.encode(value, _encoded) for name, value in named.items()},
            "what": what,
        }
        said = self._asked(asked)
        if "raised" in said:
            name = str(said["raised"][0])[:60] if said["raised"] else "an exception"
            raise CallFailed("failed", f"{name}: {str(said.get('message', ''))[:200]}")
        try:
            value = plain.decode(said["value"], _decoded)
            after = [plain.decode(a, _decoded) for a in said["after"]]
        except (plain.NotPlain, KeyError, TypeError) as error:
            raise CallFailed("failed", f"no plain data: {error}") from None
        for given, changed in zip(args, after, strict=False):
            _put_back(given, changed)
        return value

    def _asked(self, what: dict[str, Any]) -> dict[str, Any]:
        if self.outcome is not None:
            raise CallFailed(self.outcome.status, "the program has ended")
        begun = time.monotonic()
        # literals as marshal writes them: read inside without an import
        self._sandbox.send(self._number, marshal.dumps(what, 2).hex().encode() + b"\n")
        line = self._sandbox.line(self._number, self._seconds)
        if line is None:
            late = time.monotonic() - begun >= self._seconds
            self.close()
            assert self.outcome is not None
            ended = "failed" if self.outcome.status == "ok" else self.outcome.status
            status = "timeout" if late else ended
            raise CallFailed(status, "no answer in time" if late else "the program ended")
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise CallFailed("failed", "the program wrote something else where its results belong")
        return said


def needed(source: str, prelude: str = PRELUDE) -> str:
    """The lines of a prelude that a program can notice: those that make a name which stands in its text.

    Every import costs the program's start; most programs need none. All lines if the text may reach names
    otherwise.
    """
    words = set(_WORD.findall(source))
    if words & _REACHES:
        return prelude
    return "\n".join(line for line, names in _names_of(prelude) if names & words) + "\n"


_WORD = re.compile(r"[^\W\d]\w*")
_REACHES = {"eval", "exec", "globals", "locals", "vars", "dir", "getattr", "compile"} | {
    "__import__",
    "__builtins__",
    "__dict__",
}


@functools.cache
def _names_of(prelude: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Each line with the names that it makes; it is our own text."""
    found = []
    for line in prelude.strip().split("\n"):
        space: dict[str, Any] = {}
        exec(line, space)
        found.append((line, frozenset(space) - {"__builtins__"}))
    return tuple(found)


def _encoded(value: Any) -> Any:
    if isinstance(value, Handle):
        return {"h": value.number}
    if isinstance(value, Remote):
        return {"n": value._path}
    raise plain.NotPlain(f"a value of type {type(value).__name__}")


def _decoded(name: str, content: Any) -> Any:
    if name == "h" and type(content) is int:
        return Handle(content)
    raise plain.NotPlain(f"unknown kind {name[:20]!r}")


def _put_back(given: Any, changed: Any) -> None:
    """What a function did to its arguments, done to ours."""
    if type(given) is list and type(changed) is list:
        given[:] = changed
    elif type(given) in (dict, set) and type(changed) is type(given):
        given.clear()
        given.update(changed)


# -- trusted tests about untrusted functions -------------------------------------------------------------


class Remote:
    """A name of the answer, for test code that runs outside: can be called, read, compared as data."""

    __slots__ = ("_calls", "_path")
    __hash__ = None  # type: ignore[assignment]

    _calls: Calls
    _path: list[str | int]

    def __init__(self, calls: Calls, path: list[str | int]) -> None:
        object.__setattr__(self, "_calls", calls)
        object.__setattr__(self, "_path", path)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._outside(self._calls.call(self._path, args, named))

    def __getattr__(self, name: str) -> "Remote":
        if name.startswith("__"):
            raise AttributeError(name)
        return Remote(self._calls, [*self._path, name])

    def __setattr__(self, name: str, value: Any) -> None:
        self._calls.set([*self._path, name], value)

    def _value(self) -> Any:
        value = self._calls.get(self._path)
        if isinstance(value, Handle):
            raise CallFailed("failed", "an object where data were expected")
        return value

    def _outside(self, value: Any) -> Any:
        return Remote(self._calls, [value.number]) if isinstance(value, Handle) else value

    def __eq__(self, other: object) -> bool:
        return bool(self._value() == (other._value() if isinstance(other, Remote) else other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __bool__(self) -> bool:
        return bool(self._value())

    def __len__(self) -> int:
        return len(self._value())

    def __iter__(self) -> Any:
        return iter(self._value())

    def __getitem__(self, key: Any) -> Any:
        return self._value()[key]


def run_tests(calls: Calls, code: str, *, entry: str = "", setup: str = "") -> None:
    """Execute trusted test code here; names that it does not define are the answer's.

    `entry` is also known as `candidate`. A `check` that is defined and never called is called with it.
    What `setup` defines is trusted and runs here, but for `entry`.

    Raises:
        AssertionError: a test failed.
        CallFailed: the answer failed.
        Exception: anything else is the test code's own failure.
    """
    space: dict[str, Any] = {"__name__": "tests"}
    exec(PRELUDE, space)  # trusted text: ours and the data set's, never the model's
    tree = ast.parse(code)
    for name in _missing(ast.parse(setup), space):
        space[name] = Remote(calls, [name])
    if entry:
        space[entry.partition(".")[0]] = Remote(calls, [entry.partition(".")[0]])
    exec(compile(setup, "setup", "exec"), space)
    if entry:  # the setup may hold a stub of it
        space[entry.partition(".")[0]] = Remote(calls, [entry.partition(".")[0]])
        kind, _, method = entry.partition(".")
        space["candidate"] = getattr(space[kind](), method) if method else space[kind]
    names = _missing(tree, space)
    if not names and not entry:
        names = _asserted(tree)
    for name in names:
        space[name] = Remote(calls, [name])
    exec(compile(code, "tests", "exec"), space)
    called = any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
        for node in ast.walk(tree)
    )
    if "check" in space and entry and not called:
        space["check"](space["candidate"])


def _asserted(tree: ast.Module) -> list[str]:
    """The function of the first assert, [] without one: for tests in which every name is Python's own,
    as in `assert sum(10, 15) == 6` of an answer that defines another `sum`."""
    for node in tree.body:
        if isinstance(node, ast.Assert):
            test = node.test.left if isinstance(node.test, ast.Compare) else node.test
            if isinstance(test, ast.Call) and isinstance(test.func, ast.Name):
                return [test.func.id]
    return []


def _missing(tree: ast.AST, space: Mapping[str, Any]) -> list[str]:
    """Names that are read and never made, in order."""
    read, made = [], set(space) | set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                read.append(node.id)
            else:
                made.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            made.add(node.name)
    return list(dict.fromkeys(name for name in read if name not in made))
