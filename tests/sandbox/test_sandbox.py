"""The sandbox, in every tier that works on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aha.errors import RunError
from aha.sandbox import check, jail, seccomp
from aha.sandbox.box import Sandbox, missing
from aha.sandbox.types import TIERS, Limits

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
QUICK = Limits(seconds=1.0)


@pytest.fixture(scope="module", params=TIERS[:-1])
def sandbox(request):
    reason = missing(request.param)
    if reason:
        pytest.skip(reason)
    try:
        made = Sandbox(request.param, slots=2)
    except RunError as error:
        pytest.skip(str(error))
    with made:
        yield made


def said(sandbox, text, **more):
    outcome = sandbox.run(text.encode(), **more)
    return outcome.status, outcome.stdout


def test_input_arguments_and_output(sandbox):
    text = "import sys\nprint(sys.argv, __name__, sys.stdin.read(), end='')\nprint('e', file=sys.stderr)"
    outcome = sandbox.run(text.encode(), arguments=["a", "b c"], stdin="größer\n".encode())
    assert outcome.status == "ok"
    assert outcome.exit_code == 0
    assert outcome.stdout.decode() == "['main.py', 'a', 'b c'] __main__ größer\n"
    assert outcome.stderr == b"e\n"
    assert outcome.tier == sandbox.tier
    assert 0 < outcome.seconds < 5


ENDS = {
    "exit code": ("import sys; sys.exit(3)", "failed", 3),
    "exit by name": ("exit(4)", "failed", 4),
    "exception": ("1/0", "failed", 1),
    "not python": ("def f(:", "compile", 1),
    "a null byte": ("x = 1\0", "compile", 1),
    "its own signal": ("import os; os.kill(os.getpid(), 9)", "failed", None),
    "abort": ("import os; os.abort()", "failed", None),
    "no memory": ("x = bytearray(1 << 33)", "memory", 1),
    "no end": ("while True: pass", "timeout", None),
    "much output": ("while True: print('x' * 9999)", "output", None),
    "empty": ("", "ok", 0),
    "system exit in the middle": ("raise SystemExit", "ok", 0),
}


@pytest.mark.parametrize("name", ENDS)
def test_how_programs_end(sandbox, name):
    text, status, code = ENDS[name]
    outcome = sandbox.run(text.encode(), limits=Limits(seconds=1.0, output_bytes=1 << 16))
    assert outcome.status == status
    if code is not None:
        assert outcome.exit_code == code
    assert len(outcome.stdout) <= 1 << 16
    assert len(outcome.stderr) <= 1 << 16


def test_programs_do_not_see_each_other(sandbox):
    assert said(sandbox, "open('left', 'w').write('x'); print(1)") == ("ok", b"1\n")
    status, out = said(sandbox, "import os; print(os.listdir('.'))")
    assert status == "ok"
    assert b"left" not in out


def test_many_at_a_time_come_back_whole(sandbox):
    text = b"print(input())"
    begun = [sandbox.submit(text, stdin=b"%d\n" % i) for i in range(30)]
    for i, number in reversed(list(enumerate(begun))):
        assert sandbox.wait(number).stdout == b"%d\n" % i


def test_large_input_that_is_not_read_hurts_nobody(sandbox):
    assert said(sandbox, "print(1)", stdin=b"x" * 3_000_000) == ("ok", b"1\n")
    text = "import sys; print(len(sys.stdin.buffer.read()))"
    assert said(sandbox, text, stdin=b"x" * 3_000_000) == ("ok", b"3000000\n")


def test_threads_are_allowed_and_processes_on_request(sandbox):
    text = "import threading as t\nx = t.Thread(target=print, args=(5,)); x.start(); x.join()"
    assert said(sandbox, text) == ("ok", b"5\n")
    fork = "import os\nif os.fork() == 0: os._exit(0)\nprint(os.wait()[1])"
    assert said(sandbox, fork)[0] == "failed"
    assert said(sandbox, fork, limits=Limits(processes=2)) == ("ok", b"0\n")


def test_children_die_with_the_program(sandbox):
    text = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nprint('gone')"
    begun = time.monotonic()
    outcome = sandbox.run(text.encode(), limits=Limits(seconds=1.0, processes=2))
    assert outcome.stdout == b"gone\n"
    assert time.monotonic() - begun < 10
    assert check._left_behind(sandbox).held


@pytest.mark.slow
def test_the_hostile_suite_holds(sandbox):
    findings = check.run(sandbox)
    assert len(findings) >= 100
    assert [f for f in findings if not f.held and not f.known] == []
    names = [(f.area, f.name) for f in findings]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("area", ["read", "write", "network", "process", "kernel"])
def test_hostile_programs_that_end_at_once(sandbox, area):
    findings = check.run(sandbox, only=[area])
    assert [f for f in findings if not f.held] == []


def test_the_suite_notices_when_nothing_holds():
    """Run bare, as an ordinary user would run it: most of the suite must get through."""
    with Sandbox("none", slots=2) as bare:
        findings = check.run(bare, only=["network", "kernel", "read"])
    assert sum(not f.held for f in findings) >= 10


def test_the_supervisor_sees_no_secrets():
    os.environ["AHA_TEST_SECRET"] = "x"
    with Sandbox("none", slots=1) as bare:
        environment = Path(f"/proc/{bare.pid}/environ").read_bytes()
    assert b"SECRET" not in environment


def test_a_dead_supervisor_is_said():
    with Sandbox("none", slots=1) as bare:
        os.kill(bare.pid, signal.SIGKILL)
        bare._process.wait()
        with pytest.raises(RunError, match="supervisor has ended"):
            bare.run(b"print(1)")


def test_programs_die_with_their_caller(tmp_path):
    code = (
        "from aha.sandbox.box import Sandbox\n"
        "s = Sandbox('none', slots=1)\n"
        "s.submit(b'import time\\nwhile True: time.sleep(1)')\n"
        "import time; time.sleep(0.5); print(s.pid, flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    supervisor = int(process.stdout.readline())
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not [p for p in check._processes() if p == supervisor or check._theirs(p, supervisor)]:
            return
        time.sleep(0.05)
    raise AssertionError("the supervisor or its program is still alive")


def test_unknown_and_missing_tiers(monkeypatch):
    with pytest.raises(RunError, match="no sandbox 'docker'"):
        Sandbox("docker")
    monkeypatch.setattr(jail, "bubblewrap", lambda: None)
    with pytest.raises(RunError, match="bubblewrap is not installed"):
        Sandbox("bwrap")
    monkeypatch.setattr(seccomp, "supported", lambda: False)
    with pytest.raises(RunError, match="no sandbox works here"):
        Sandbox("auto")


@pytest.mark.parametrize("machine", seccomp.MACHINES)
@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize("own", [0, 4242])
def test_every_jump_of_the_filter_lands_inside(machine, forks, own, monkeypatch):
    import struct

    monkeypatch.setattr(seccomp.platform, "machine", lambda: machine)
    text = seccomp.program(forks=forks, own_pid=own)
    lines = [struct.unpack("<HBBI", text[i : i + 8]) for i in range(0, len(text), 8)]
    assert len(lines) < 4096
    for place, (kind, yes, no, _) in enumerate(lines):
        if kind in (0x15, 0x35, 0x45):
            assert place + 1 + max(yes, no) < len(lines)
    assert lines[-1][0] == 0x06


def test_commands(tmp_path):
    program, data = tmp_path / "p.py", tmp_path / "in"
    program.write_text("import sys; print(input(), sys.argv[1:])")
    data.write_text("7\n")
    command = [
        sys.executable,
        "-m",
        "aha",
        "sandbox",
        "run",
        str(program),
        "x",
        "--stdin",
        str(data),
    ]
    done = subprocess.run([*command, "--tier", "none", "--json"], capture_output=True, text=True)
    facts = json.loads(done.stdout)
    assert facts["status"] == "ok"
    assert facts["stdout"] == "7 ['x']\n"
    program.write_text("exit(3)")
    done = subprocess.run([*command, "--tier", "none"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "failed, exit code 3" in done.stdout
    done = subprocess.run([*command[:-3], "--tier", "nowhere"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no sandbox 'nowhere'" in done.stderr


def test_the_packages_that_sites_offer_are_there_and_no_others(sandbox):
    text = "from sortedcontainers import SortedList\nprint(SortedList([3, 1, 2]))"
    assert said(sandbox, text) == ("ok", b"SortedList([1, 2, 3])\n")
    assert said(sandbox, "import pydantic")[0] == "failed"
    gone = (
        "import os, sortedcontainers\n"
        "try: os.remove(sortedcontainers.__file__)\n"
        "except OSError: print('kept')"
    )
    assert said(sandbox, gone) == ("ok", b"kept\n")
