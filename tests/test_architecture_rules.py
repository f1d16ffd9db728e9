"""The rules of ARCHITECTURE.md that a machine can check: who may import whom, and what is light."""

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import aha

ROOT = Path(aha.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
LAYERS = (
    {"records", "errors", "files", "tally"},
    {"config"},
    {"rl", "kernels"},
    {"sandbox"},
    {"data", "rewards", "models"},
    {"report"},
    {"rollout"},
    {"train"},
    {"evals"},
    {"stages"},
    {"command_groups"},
    {"__main__"},
)
RANK = {name: number for number, layer in enumerate(LAYERS) for name in layer}
REPORT_MAY = {"records", "errors", "files", "config", "data", "rewards", "report"}
HEAVY = {"torch", "transformers", "datasets", "tokenizers", "safetensors", "peft", "gguf"}


def room(path):
    """First part of a module's name below aha: its package or its own name."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path, *, everywhere=True):
    """Dotted names a module imports; `everywhere` False: only when it is itself imported."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = ast.walk(tree) if everywhere else _at_import(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_import(body):
    for node in body:
        yield node
        for inner in ("body", "orelse", "finalbody"):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                nested = getattr(node, inner, [])
                if isinstance(nested, list) and not _only_for_types(node):
                    yield from _at_import(nested)


def _only_for_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def ours(path):
    names = {name.split(".")[1] for name in imported(path) if name.startswith("aha.")}
    return {name for name in names if name in RANK}


def test_every_module_has_a_place_in_the_order():
    assert {room(path) for path in MODULES} - {"__init__"} <= RANK.keys()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    here = room(path)
    if here == "__init__":
        assert not ours(path)
        return
    later = {name for name in ours(path) if RANK[name] > RANK[here]}
    assert not later, f"{path} imports {later}, which come after {here}"
    if here == "report":
        assert ours(path) <= REPORT_MAY
    if here == "rl":
        assert ours(path) <= {"rl"}


def test_only_light_modules_are_light():
    for path in MODULES:
        if room(path) in (
            "records",
            "errors",
            "files",
            "config",
            "__main__",
            "command_groups",
            "report",
            "data",
            "rewards",
        ):
            heavy = {n.split(".")[0] for n in imported(path, everywhere=False)} & HEAVY
            assert not heavy, f"{path} imports {heavy} at its top"


def child(code, **environment):
    """Run Python code; seconds of CPU it took (user and system) and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT.parent), **environment},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


LOADED = f"print(sorted({HEAVY!r} & {{n.split('.')[0] for n in sys.modules}}))"
HELP = """
import sys
from aha.__main__ import _run
code = _run(["--help"], False)
assert code == 0, code
"""


def test_configuration_and_help_are_light():
    """Below a second of CPU. The best of three: other programs may crowd the caches."""
    for code in ("import sys, aha.config, aha.__main__\n", HELP):
        took = []
        for _ in range(3):
            seconds, said = child(code + LOADED)
            assert said.splitlines()[-1] == "[]", said
            took.append(seconds)
            if seconds < 1:
                break
        assert min(took) < 1, took


def test_help_names_every_command():
    said = child(HELP, COLUMNS="200")[1]
    commands = "run resume plan doctor preflight sample eval grade cost hash model data"
    for command in commands.split():
        assert f" {command} " in said


def test_every_module_says_what_it_is_for_and_stays_short():
    for path in MODULES:
        text = path.read_text("utf-8")
        if text.strip() and path.name != "__init__.py":
            assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
