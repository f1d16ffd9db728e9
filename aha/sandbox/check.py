"""Does the sandbox hold here? A suite of hostile programs, run in it (`aha sandbox check`).

Each program tries one thing and prints BROKE if it worked. Some try to hold the machine up: they must be
ended by a limit. Afterwards nothing of theirs may be alive, and this process must be as it was.
"""

import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aha.sandbox import seccomp
from aha.sandbox.box import Sandbox
from aha.sandbox.jail import USER
from aha.sandbox.types import Limits, Outcome, Status

LIMITS = Limits(seconds=1.0, memory_mb=128, output_bytes=1 << 16, file_mb=4, disk_mb=16)
ENDED: tuple[Status, ...] = ("ok", "failed", "timeout", "memory", "output")


@dataclass(frozen=True, slots=True)
class Attack:
    area: str
    name: str
    program: str
    allowed: tuple[Status, ...] = ENDED
    """How it may end."""
    bwrap_only: bool = False
    """The landlock tier is known not to hold this."""


@dataclass(frozen=True, slots=True)
class Finding:
    area: str
    name: str
    held: bool
    known: bool
    """Not held, as documented for this tier."""
    said: str
    seconds: float


_TRY = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def broke(*what): print("BROKE", *what, flush=True)
try:
{body}
except (OSError, MemoryError, RuntimeError, ValueError, AttributeError, ImportError) as error:
    print("held:", type(error).__name__, error)
"""


def _attempt(body: str) -> str:
    return _TRY.format(body="\n".join("    " + line for line in body.strip().splitlines()))


def _open(path: str) -> str:
    return _attempt(f"broke(open({path!r}, 'rb').read(40))")


def _call(name: str) -> str:
    number = seccomp.MACHINES[platform.machine()].number.get(name)
    if number is None:
        return "print('not a call of this processor')"
    return _attempt(
        f"result = libc.syscall({number}, 0, 0, 0, 0, 0, 0)\n"
        "if result != -1 or ctypes.get_errno() != 1: broke(result, ctypes.get_errno())"
    )


def _socket(family: int, kind: int) -> str:
    return _attempt(f"import socket\nbroke(socket.socket({family}, {kind}))")


SECRET = "AHA_SANDBOX_CHECK"
"""An environment variable of the checking process that no program may see."""


def attacks(secret: str, pid: int) -> Iterator[Attack]:
    """The suite. `secret`: a file of ours that holds what must not be read; `pid`: this process."""
    reads = {
        "a secret file": _open(secret),
        "/etc/passwd": _open("/etc/passwd"),
        "/etc/shadow": _open("/etc/shadow"),
        "the environment of the caller": _open(f"/proc/{pid}/environ"),
        "the memory of the caller": _open(f"/proc/{pid}/mem"),
        "the command line of process 1": _attempt(
            "line = open('/proc/1/cmdline', 'rb').read()\n"
            "if b'python' not in line and b'bwrap' not in line: broke(line)"
        ),
        "secrets in its own environment": _attempt(
            f"if any({SECRET!r} in key for key in os.environ): broke(dict(os.environ))"
        ),
        "home folders": _attempt("broke(os.listdir('/home'), os.listdir('/root'))"),
        "the file system from outside": _open("/proc/1/root/etc/passwd"),
        "open descriptors of the caller": _attempt(
            "for fd in range(3, 64):\n    try: os.fstat(fd)\n    except OSError: continue\n"
            "    broke(fd, os.readlink(f'/proc/self/fd/{fd}'))"
        ),
        "the kernel's memory": _open("/proc/kcore"),
    }
    writes = {
        "/etc": "broke(open('/etc/aha', 'w'))",
        "/usr/bin": "broke(open('/usr/bin/aha', 'w'))",
        "the interpreter": "broke(open(os.path.realpath(sys.executable), 'ab'))",
        "the standard library": "broke(open(os.__file__, 'a'))",
        "a secret file": f"broke(open({secret!r}, 'r+'))",
        "/dev/shm": "broke(open('/dev/shm/aha', 'w'))",
        "/var/tmp": "broke(open('/var/tmp/aha', 'w'))",
        "core_pattern": "broke(open('/proc/sys/kernel/core_pattern', 'w'))",
        "the oom score of the caller": f"broke(open('/proc/{pid}/oom_score_adj', 'w'))",
        "cgroups": "broke(open('/sys/fs/cgroup/cgroup.procs', 'w'))",
        "a raw device": "broke(open('/dev/mem', 'rb'))",
    }
    sockets = {
        "internet": (2, 1),
        "datagrams": (2, 2),
        "raw packets": (2, 3),
        "internet, version 6": (10, 1),
        "unix": (1, 1),
        "netlink": (16, 3),
        "packets": (17, 3),
        "vsock": (40, 1),
        "bluetooth": (31, 1),
        "the kernel's cryptography": (38, 5),
    }
    processes = {
        "fork": "broke(os.fork())",
        "a subprocess": "import subprocess\nbroke(subprocess.run(['/bin/sh', '-c', 'id']))",
        "clone by hand": f"result = libc.syscall({_number('clone')}, 17, 0, 0, 0, 0)\n"
        "if result >= 0: broke(result)",
        "clone3": "result = libc.syscall(435, 0, 0)\nif ctypes.get_errno() != 38: broke(result)",
        "vfork": "import platform\nif platform.machine() == 'x86_64' and libc.syscall(58) >= 0: broke()",
        "kill the caller": f"os.kill({pid}, 0)\nbroke()",
        "kill its parent": "parent = os.getppid()\nif parent > 1: os.kill(parent, 0); broke(parent)",
        "kill everybody": "os.kill(-1, 0)\nbroke()",
        "limits of the caller": f"import resource\nresource.prlimit({pid}, resource.RLIMIT_NOFILE, (9, 9))"
        "\nbroke()",
        "more rights": "os.setuid(0)\nif os.geteuid() == 0 and os.path.exists('/etc/shadow'): broke()",
        "raise its own limits": "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nbroke()",
        "priority": "os.nice(-10)\nbroke()",
        "set the clock": "import time\ntime.clock_settime(0, 0)\nbroke()",
    }
    calls = (
        "ptrace process_vm_readv process_vm_writev pidfd_open pidfd_getfd kcmp memfd_create "
        "userfaultfd io_uring_setup bpf perf_event_open keyctl add_key shmget semget msgget mq_open "
        "mount umount2 pivot_root chroot unshare setns open_tree fsopen move_mount name_to_handle_at "
        "open_by_handle_at mknodat personality init_module kexec_load reboot swapon sethostname "
        "fanotify_init seccomp landlock_create_ruleset"
    )
    for name, program in reads.items():
        yield Attack("read", name, program)
    for name, body in writes.items():
        yield Attack("write", name, _attempt(body))
    for name, (family, kind) in sockets.items():
        yield Attack("network", name, _socket(family, kind))
    for name, body in processes.items():
        yield Attack("process", name, _attempt(body))
    for name in calls.split():
        yield Attack("kernel", name, _call(name))
    yield from _hogs()


def _hogs() -> Iterator[Attack]:
    """Programs that try to use up the machine."""
    over: tuple[Status, ...] = ("timeout", "memory", "output", "failed")
    programs: dict[str, tuple[str, tuple[Status, ...]]] = {
        "a loop": ("while True: pass", ("timeout",)),
        "sleep": ("import time\ntime.sleep(60)", ("timeout",)),
        "waiting for more input": (
            "import sys, time\nsys.stdin.read()\nwhile True: time.sleep(1)",
            ("timeout",),
        ),
        "ignored signals": (
            "import signal\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n"
            "    except (OSError, ValueError): pass\nwhile True: pass",
            ("timeout",),
        ),
        "a finaliser that never ends": (
            "class A:\n    def __del__(self):\n        while True: pass\na = A()",
            ("timeout",),
        ),
        "a non-daemon thread": (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()",
            ("timeout",),
        ),
        "memory": ("x = []\nwhile True: x.append(bytearray(1 << 20))", over),
        "one large block": ("x = bytearray(8 << 30)\nprint('BROKE')", over),
        "a large power": ("x = 9 ** 9 ** 9\nprint('BROKE')", over),
        "output": ("while True: print('x' * 65536)", ("output", "timeout")),
        "errors without end": (
            "import sys\nwhile True: sys.stderr.write('x' * 65536)",
            ("output", "timeout"),
        ),
        "a large file": (
            _attempt(
                "with open('big', 'wb') as f:\n    for _ in range(64): f.write(bytes(1 << 20))\n"
                "broke(os.path.getsize('big'))"
            ),
            ENDED,
        ),
        "a sparse file": (
            _attempt("with open('big', 'wb') as f: f.truncate(1 << 40)\nbroke()"),
            ENDED,
        ),
        "threads": (
            "import threading, time\nn = 0\ntry:\n    while n < 5000:\n"
            "        threading.Thread(target=time.sleep, args=(60,)).start(); n += 1\n"
            "    print('BROKE', n, flush=True)\nexcept RuntimeError: pass\nimport os; os._exit(0)",
            ENDED,
        ),
        "descriptors": (
            _attempt("kept = [os.open('/dev/null', 0) for _ in range(2000)]\nbroke(len(kept))"),
            ENDED,
        ),
        "recursion": (
            "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
            ("failed", "memory", "timeout"),
        ),
        "an invalid address": ("import ctypes\nctypes.string_at(1)", ("failed",)),
        "a large compile": ("eval('(' * 100000)", over),
    }
    for name, (program, allowed) in programs.items():
        yield Attack("resource", name, program, allowed)
    many = _attempt(
        "for n in range(12):\n    with open(f'part{n}', 'wb') as f: f.write(bytes(3 << 20))\nbroke(36)"
    )
    yield Attack("resource", "many files, above the disk limit", many, ENDED, bwrap_only=True)


def _number(name: str) -> int:
    return {"x86_64": {"clone": 56}, "aarch64": {"clone": 220}}[platform.machine()][name]


def run(sandbox: Sandbox, only: Sequence[str] = ()) -> list[Finding]:
    """Run the suite; `only`: these areas."""
    os.environ[SECRET] = "secret"
    with tempfile.NamedTemporaryFile("w", prefix="aha-secret-") as secret:
        os.chmod(secret.name, 0o644)
        secret.write("BROKE: a secret")
        secret.flush()
        suite = [a for a in attacks(secret.name, os.getpid()) if not only or a.area in only]
        begun = [(a, sandbox.submit(a.program.encode(), limits=LIMITS)) for a in suite]
        found = [_judged(a, sandbox.wait(number), sandbox) for a, number in begun]
    os.environ.pop(SECRET, None)
    return [*found, _left_behind(sandbox)]


def _judged(attack: Attack, outcome: Outcome, sandbox: Sandbox) -> Finding:
    said = (outcome.stdout + outcome.stderr[-300:]).decode("utf-8", "replace")
    held = "BROKE" not in said and outcome.status in attack.allowed
    known = not held and attack.bwrap_only and sandbox.tier == "landlock"
    what = f"{outcome.status}: {said.strip()[-160:]}" if not held else outcome.status
    return Finding(attack.area, attack.name, held, known, what, outcome.seconds)


def _left_behind(sandbox: Sandbox) -> Finding:
    """Is a program of the suite still alive? (A child of the supervisor, or anyone with their user.)"""
    deadline = time.monotonic() + 1.0
    while True:
        alive = [pid for pid in _processes() if _theirs(pid, sandbox.pid)]
        if not alive or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    said = f"processes {alive}" if alive else "nothing"
    return Finding("process", "left behind", not alive, False, said, 0.0)


def _processes() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def _theirs(pid: int, supervisor: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
        user = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return False
    ours = int(parent) == supervisor or (os.geteuid() == 0 and USER <= user < USER + 1000)
    return state != "Z" and ours
