"""Start one program inside a tier: called in a freshly forked, single-threaded child; never returns.

bwrap:    bubblewrap with a root of its own (only what the interpreter reads, a sized tmpfs), new user,
          process, mount, network and IPC namespaces, no nested ones, our system-call filter.
landlock: no namespaces; Landlock, the filter, and signals to oneself only.
Both: limits of the kernel, cleared environment, an unprivileged user even when we are root.
"""

import contextlib
import ctypes
import os
import resource
import shutil
from dataclasses import dataclass

from aha.sandbox import landlock, seccomp
from aha.sandbox.interpreter import Interpreter
from aha.sandbox.types import Limits, Tier

USER = 61_000
"""First user id of programs when we are root; each slot has its own."""
MARK = 3
"""The descriptor on which the runner says that the program starts."""
PACKAGES = "/packages"
"""Where programs import from beside the standard library (bwrap)."""
SPARE_MB = 124
"""Address space beyond the memory that was asked: the interpreter itself, and holes."""
_NO_NEW_PRIVILEGES, _DEATH_SIGNAL, _SET_FILTER = 38, 1, 22
_libc = ctypes.CDLL(None, use_errno=True)

RUNNER = f"""
import builtins, os, sys
from _sitebuiltins import Quitter
builtins.exit, builtins.quit = Quitter("exit", ""), Quitter("quit", "")
packages, *sys.argv = sys.argv[1:]
if packages: sys.path.append(packages)
with open(sys.argv[0], "rb") as file: text = file.read()
try: code = compile(text, "main.py", "exec")
except (SyntaxError, ValueError):
    os.write({MARK}, b"c")
    raise
del text, file, Quitter, packages
os.write({MARK}, b"s")
os.close({MARK})
sys.path.insert(0, "")
space = {{"__name__": "__main__", "__builtins__": builtins, "__file__": "main.py"}}
exec(code, space)
"""


@dataclass(frozen=True, slots=True)
class Box:
    """Where and what to run."""

    tier: Tier
    python: Interpreter
    folder: str
    """A folder of its own that exists; holds main.py."""
    arguments: tuple[str, ...]
    limits: Limits
    slot: int


def enter(box: Box, program: int, info: int) -> None:
    """Become the program.

    Descriptors 0-2 are its streams, MARK the runner's; all others are closed at exec.

    Args:
        program: a descriptor of its text (bwrap reads it from there).
        info: where bwrap says which process is the first of its namespace.
    """
    try:
        os.setsid()
        os.chdir("/")
        _libc.prctl(_DEATH_SIGNAL, 9, 0, 0, 0)
        _limit(box.limits)
        _drop_rights(box)
        _checked(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        if box.tier == "bwrap":
            _bubblewrap(box, program, info)
        else:
            _bare(box)
    except BaseException as error:  # nothing of the parent may run in this process
        os.write(2, f"sandbox: {type(error).__name__}: {error}".encode())
    finally:
        os._exit(125)


def bubblewrap() -> str | None:
    return shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")


def _limit(limits: Limits) -> None:
    megabyte = 1 << 20
    wanted = {
        resource.RLIMIT_AS: (limits.memory_mb + SPARE_MB) * megabyte,
        resource.RLIMIT_STACK: 64 * megabyte,
        resource.RLIMIT_FSIZE: limits.file_mb * megabyte,
        resource.RLIMIT_CPU: int(limits.seconds) + 1,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if hasattr(resource, "RLIMIT_MSGQUEUE"):
        wanted[resource.RLIMIT_MSGQUEUE] = 0
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _drop_rights(box: Box) -> None:
    if os.geteuid() == 0:
        user = USER + box.slot
        if box.tier != "bwrap":
            os.chown(box.folder, user, user)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    if (
        box.limits.processes
    ):  # the kernel counts all threads of the user, dead ones not yet reaped too
        count = _threads_of(os.geteuid()) + box.limits.processes + 1 + 3 * (box.tier == "bwrap")
        resource.setrlimit(resource.RLIMIT_NPROC, (count, count))


def _threads_of(user: int) -> int:
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(entry.path).st_uid == user:
                    count += max(1, len(os.listdir(f"{entry.path}/task")))
    return count


def _command(box: Box, main: str, packages: str) -> list[str]:
    return [
        box.python.executable,
        "-s",
        "-P",
        "-S",
        "-B",
        "-X",
        "utf8",
        "-c",
        RUNNER,
        packages,
        main,
        *box.arguments,
    ]


def _bare(box: Box) -> None:
    os.chdir(box.folder)
    if box.tier == "landlock":
        landlock.restrict(
            [*box.python.readable, box.python.packages, "/dev/urandom"],
            [box.folder, "/dev/null", "/dev/zero"],
        )
        _install(seccomp.program(forks=box.limits.processes > 0, own_pid=os.getpid()))
    os.execve(box.python.executable, _command(box, "main.py", box.python.packages), ENVIRONMENT)


ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONHASHSEED": "0"}


def _bubblewrap(box: Box, program: int, info: int) -> None:
    found = bubblewrap()
    if found is None:
        raise OSError("bwrap is gone")
    os.set_inheritable(program, True)
    os.set_inheritable(info, True)
    filter_ = os.memfd_create("filter", 0)
    os.write(filter_, seccomp.program(forks=box.limits.processes > 0))
    os.lseek(filter_, 0, os.SEEK_SET)
    command = [found, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    command += ["--unshare-uts", "--unshare-cgroup-try", "--disable-userns", "--die-with-parent"]
    command += ["--new-session", "--cap-drop", "ALL", "--hostname", "box", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    for path in box.python.readable:
        command += ["--ro-bind", path, path]
    command += ["--ro-bind", box.python.packages, PACKAGES]
    command += ["--proc", "/proc", "--dev-bind", "/dev/null", "/dev/null"]
    command += [
        "--dev-bind",
        "/dev/zero",
        "/dev/zero",
        "--dev-bind",
        "/dev/urandom",
        "/dev/urandom",
    ]
    command += ["--size", str(box.limits.disk_mb << 20), "--tmpfs", "/tmp"]
    command += ["--perms", "0444", "--ro-bind-data", str(program), "/tmp/main.py"]
    command += ["--chdir", "/tmp", "--remount-ro", "/", "--seccomp", str(filter_)]
    command += ["--info-fd", str(info), "--"]
    os.execve(found, [*command, *_command(box, "main.py", PACKAGES)], {})


def _install(text: bytes) -> None:
    """Put the filter on this thread. Needs no_new_privs."""
    buffer = ctypes.create_string_buffer(text, len(text))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    whole = Program(len(text) // 8, ctypes.addressof(buffer))
    _checked(_libc.prctl(_SET_FILTER, 2, ctypes.byref(whole), 0, 0))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
