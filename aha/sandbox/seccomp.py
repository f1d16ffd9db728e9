"""The system-call filter of untrusted programs, as BPF instructions.

A list of what is refused (EPERM), not of what is allowed: interpreters of other versions must start.
Refused are new processes (threads are allowed), every socket, other processes' memory and signals,
namespaces, mounts, memory that has no size limit, and interfaces of the kernel that no answer needs.
"""

import platform
import struct
from dataclasses import dataclass

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data; arguments are 8 bytes each, low half first."""
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050000 | 1, 0x00050000 | 38
_THREAD = 0x00010000
"""CLONE_THREAD."""
_X32 = 0x40000000


@dataclass(frozen=True, slots=True)
class Machine:
    audit: int
    """AUDIT_ARCH_*."""
    number: dict[str, int]


_X86_64 = {
    "ptrace": 101,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "process_madvise": 440,
    "process_mrelease": 448,
    "kcmp": 312,
    "pidfd_open": 434,
    "pidfd_getfd": 438,
    "pidfd_send_signal": 424,
    "socket": 41,
    "connect": 42,
    "accept": 43,
    "sendto": 44,
    "recvfrom": 45,
    "sendmsg": 46,
    "recvmsg": 47,
    "bind": 49,
    "listen": 50,
    "socketpair": 53,
    "accept4": 288,
    "recvmmsg": 299,
    "sendmmsg": 307,
    "memfd_create": 319,
    "memfd_secret": 447,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "bpf": 321,
    "perf_event_open": 298,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "shmget": 29,
    "shmat": 30,
    "shmctl": 31,
    "shmdt": 67,
    "semget": 64,
    "semop": 65,
    "semctl": 66,
    "semtimedop": 220,
    "msgget": 68,
    "msgsnd": 69,
    "msgrcv": 70,
    "msgctl": 71,
    "mq_open": 240,
    "mq_unlink": 241,
    "mount": 165,
    "umount2": 166,
    "pivot_root": 155,
    "chroot": 161,
    "unshare": 272,
    "setns": 308,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "open_tree_attr": 467,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "mknod": 133,
    "mknodat": 259,
    "quotactl": 179,
    "quotactl_fd": 443,
    "fanotify_init": 300,
    "personality": 135,
    "modify_ldt": 154,
    "iopl": 172,
    "ioperm": 173,
    "init_module": 175,
    "finit_module": 313,
    "delete_module": 176,
    "kexec_load": 246,
    "kexec_file_load": 320,
    "reboot": 169,
    "swapon": 167,
    "swapoff": 168,
    "sethostname": 170,
    "setdomainname": 171,
    "settimeofday": 164,
    "clock_settime": 227,
    "adjtimex": 159,
    "clock_adjtime": 305,
    "acct": 163,
    "syslog": 103,
    "vhangup": 153,
    "move_pages": 279,
    "migrate_pages": 256,
    "set_mempolicy_home_node": 450,
    "landlock_create_ruleset": 444,
    "seccomp": 317,
}
_AARCH64 = {
    "ptrace": 117,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "process_madvise": 440,
    "process_mrelease": 448,
    "kcmp": 272,
    "pidfd_open": 434,
    "pidfd_getfd": 438,
    "pidfd_send_signal": 424,
    "socket": 198,
    "socketpair": 199,
    "bind": 200,
    "listen": 201,
    "accept": 202,
    "connect": 203,
    "sendto": 206,
    "recvfrom": 207,
    "sendmsg": 211,
    "recvmsg": 212,
    "accept4": 242,
    "recvmmsg": 243,
    "sendmmsg": 269,
    "memfd_create": 279,
    "memfd_secret": 447,
    "userfaultfd": 282,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "bpf": 280,
    "perf_event_open": 241,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "mq_open": 180,
    "mq_unlink": 181,
    "msgget": 186,
    "msgctl": 187,
    "msgrcv": 188,
    "msgsnd": 189,
    "semget": 190,
    "semctl": 191,
    "semtimedop": 192,
    "semop": 193,
    "shmget": 194,
    "shmctl": 195,
    "shmat": 196,
    "shmdt": 197,
    "mount": 40,
    "umount2": 39,
    "pivot_root": 41,
    "chroot": 51,
    "unshare": 97,
    "setns": 268,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "open_tree_attr": 467,
    "name_to_handle_at": 264,
    "open_by_handle_at": 265,
    "mknodat": 33,
    "quotactl": 60,
    "quotactl_fd": 443,
    "fanotify_init": 262,
    "personality": 92,
    "init_module": 105,
    "finit_module": 273,
    "delete_module": 106,
    "kexec_load": 104,
    "kexec_file_load": 294,
    "reboot": 142,
    "swapon": 224,
    "swapoff": 225,
    "sethostname": 161,
    "setdomainname": 162,
    "settimeofday": 170,
    "clock_settime": 112,
    "adjtimex": 171,
    "clock_adjtime": 266,
    "acct": 89,
    "syslog": 116,
    "vhangup": 58,
    "move_pages": 239,
    "migrate_pages": 238,
    "set_mempolicy_home_node": 450,
    "landlock_create_ruleset": 444,
    "seccomp": 277,
}
MACHINES = {"x86_64": Machine(0xC000003E, _X86_64), "aarch64": Machine(0xC00000B7, _AARCH64)}
_FORKING = {"x86_64": {"fork": 57, "vfork": 58, "clone": 56}, "aarch64": {"clone": 220}}
_CLONE3 = 435
_SIGNALS = {
    "x86_64": {
        "kill": 62,
        "tgkill": 234,
        "tkill": 200,
        "rt_sigqueueinfo": 129,
        "rt_tgsigqueueinfo": 297,
    },
    "aarch64": {
        "kill": 129,
        "tgkill": 131,
        "tkill": 130,
        "rt_sigqueueinfo": 138,
        "rt_tgsigqueueinfo": 240,
    },
}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}


def supported() -> bool:
    """Is there a filter for this processor?"""
    return platform.system() == "Linux" and platform.machine() in MACHINES


def program(*, forks: bool = False, own_pid: int = 0) -> bytes:
    """The filter, an array of struct sock_filter.

    Args:
        forks: new processes are allowed.
        own_pid: signals and limits for this process alone, by its own number; 0 leaves them to a
            process namespace.

    Raises:
        OSError: no filter for this processor.
    """
    name = platform.machine()
    if name not in MACHINES:
        raise OSError(f"no system-call filter for {name}")
    machine = MACHINES[name]
    code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, machine.audit), (_RETURN, 0, 0, _KILL)]
    code.append((_LOAD, 0, 0, _NUMBER))
    if name == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    code += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ENOSYS)]  # its flags cannot be read
    for number in sorted(machine.number.values()):
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    if not forks:
        for call, number in _FORKING[name].items():
            if call == "clone":
                code += [
                    (_EQUAL, 0, 4, number),
                    (_LOAD, 0, 0, _ARGUMENTS),
                    (_ANY_BIT, 0, 1, _THREAD),
                    (_RETURN, 0, 0, _ALLOW),
                    (_RETURN, 0, 0, _EPERM),
                ]
            else:
                code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    if own_pid:
        for call, number in _SIGNALS[name].items():
            if call == "tkill":  # its number may be a thread's, which is not known
                code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
            else:
                code += _only(number, (own_pid,))
        code += _only(_PRLIMIT[name], (0, own_pid))
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *line) for line in code)


def _only(number: int, first: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Allow a call whose first argument (its low half) is one of these."""
    checks = []
    for place, value in enumerate(first):
        left = len(first) - place - 1
        checks.append((_EQUAL, left + 1, 0, value))
    return [
        (_EQUAL, 0, len(first) + 3, number),
        (_LOAD, 0, 0, _ARGUMENTS),
        *checks,
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
