"""A deny-list of system calls, as a classic BPF filter: what no program of a test needs and much that broke kernels.

Denied calls fail with EPERM; there is no handler and no log. A program of another architecture (32-bit calls, x32) is
killed. Calls newer than this list do not exist for it (ENOSYS), nor does clone3, whose flags a filter cannot read: the
C library falls back to clone. Sockets are of the family AF_UNIX, so that asyncio and multiprocessing work, and of no
other (EAFNOSUPPORT). Objects that hold memory which no process maps are denied too (memfd, System V and POSIX
queues and segments): looking at a family of processes would not find it.

Numbers are from the kernel's uapi headers (unistd.h, seccomp.h, filter.h, audit.h, sched.h, stat.h).
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from . import kernel

_ABSENT = -1
DENIED: dict[str, tuple[int, int]] = {
    # other processes' memory, descriptors and scheduling
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "open_tree_attr": (467, 467),
    "unshare": (272, 97),
    "setns": (308, 268),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # files by handle, watches over whole mounts, inode attributes
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "file_setattr": (469, 469),
    # large, rarely needed parts of the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "vmsplice": (278, 75),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # memory that no process maps, and what stays when its maker is gone
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # the machine itself: modules, clocks, quotas, swap, ports, logs
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, _ABSENT),
    "query_module": (178, _ABSENT),
    "get_kernel_syms": (177, _ABSENT),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "iopl": (172, _ABSENT),
    "ioperm": (173, _ABSENT),
    "modify_ldt": (154, _ABSENT),
    "personality": (135, 92),
    "syslog": (103, 116),
    "lookup_dcookie": (212, 18),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
    "_sysctl": (156, _ABSENT),
    "sysfs": (139, _ABSENT),
    "ustat": (136, _ABSENT),
    "uselib": (134, _ABSENT),
}
"""Denied whatever the arguments: name -> numbers on x86_64 and aarch64."""

_NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_DEVICE_BIT = 0o020000  # set in the modes of character and block devices, not of files, FIFOs and sockets
_AF_UNIX = 1
_TIOCSTI, _TIOCLINUX, _TIOCSETD = 0x5412, 0x541C, 0x5423
_NEWEST = 469
"""file_setattr: the last call known here."""

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32 = 0x40000000

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]
"""Of classic BPF: code, instructions to skip if true, if false, operand."""


def install() -> None:
    """Filters the calls of this process and all it starts, for good. Needs no_new_privs; OSError where refused."""
    if _PROGRAM is None:
        raise OSError(errno.ENOSYS, f"no system call filter for {platform.machine()}")
    kernel._check(
        kernel._libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(_PROGRAM), 0, 0), "seccomp"
    )


def rules(machine: str) -> list[Instruction]:
    """The filter for a machine's calls. KeyError where the machine is not known.

    A binary search over the numbers, since the kernel runs it once for every call there is when it is installed, to
    learn which are always allowed; those cost nothing later.
    """
    column, architecture = _ARCHITECTURES[machine]
    head: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_JUMP_EQUAL, 1, 0, architecture),
        _answer(_KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        head += [(_JUMP_AT_LEAST, 0, 1, _X32), _answer(_KILL)]
    answers = special(column)
    answers |= {numbers[column]: [_refuse(errno.EPERM)] for numbers in DENIED.values()}
    segments: list[tuple[int, list[Instruction]]] = []
    for number in range(_NEWEST + 1):
        action = answers.get(number, [_answer(_ALLOW)])
        if not segments or segments[-1][1] != action:
            segments.append((number, action))
    segments.append((_NEWEST + 1, [_refuse(errno.ENOSYS)]))
    return head + _search(segments)


def special(column: int) -> dict[int, list[Instruction]]:
    """Calls whose answer depends on their arguments: number -> instructions."""
    only_unix = _if_argument(0, _JUMP_EQUAL, _AF_UNIX, _answer(_ALLOW), _refuse(errno.EAFNOSUPPORT))
    own_only = [_answer(_ALLOW), _refuse(errno.EPERM)]
    found = {
        (56, 220)[column]: _if_argument(0, _JUMP_BITS, _NAMESPACE_FLAGS, _refuse(errno.EPERM), _answer(_ALLOW)),
        (435, 435)[column]: [_refuse(errno.ENOSYS)],  # clone3
        (41, 198)[column]: only_unix,  # socket
        (53, 199)[column]: only_unix,  # socketpair
        (302, 261)[column]: _if_argument(0, _JUMP_EQUAL, 0, *own_only),  # prlimit64 of pid 0: oneself
        (141, 140)[column]: [  # setpriority of PRIO_PROCESS 0: oneself
            (_LOAD, 0, 0, _ARGUMENTS_OFFSET),
            (_JUMP_EQUAL, 0, 3, 0),
            (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8),
            (_JUMP_EQUAL, 0, 1, 0),
            *own_only,
        ],
        (259, 33)[column]: _if_argument(2, _JUMP_BITS, _DEVICE_BIT, _refuse(errno.EPERM), _answer(_ALLOW)),  # mknodat
        (16, 29)[column]: [  # ioctl
            (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8),
            (_JUMP_EQUAL, 2, 0, _TIOCSTI),
            (_JUMP_EQUAL, 1, 0, _TIOCLINUX),
            (_JUMP_EQUAL, 0, 1, _TIOCSETD),
            _refuse(errno.EPERM),
            _answer(_ALLOW),
        ],
    }
    if column == 0:
        found[133] = _if_argument(1, _JUMP_BITS, _DEVICE_BIT, _refuse(errno.EPERM), _answer(_ALLOW))  # mknod
    return found


def _answer(action: int) -> Instruction:
    return (_RETURN, 0, 0, action)


def _refuse(error: int) -> Instruction:
    return _answer(_ERROR | error)


def _if_argument(index: int, test: int, operand: int, then: Instruction, otherwise: Instruction) -> list[Instruction]:
    """Tests the low half of an argument: all that the kernel reads of these, and first in memory (little-endian)."""
    return [(_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * index), (test, 0, 1, operand), then, otherwise]


def _search(segments: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """Finds the segment of the number: each begins at its own number and reaches to the next one's."""
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    low, high = _search(segments[:middle]), _search(segments[middle:])
    if len(low) > 255:
        raise ValueError("a jump over more than 255 instructions")
    return [(_JUMP_AT_LEAST, len(low), 0, segments[middle][0]), *low, *high]


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _built() -> _Program | None:
    """The filter of this machine, made once in the box and shared by all its forks; None where it is not known."""
    if not kernel.LINUX or platform.machine() not in _ARCHITECTURES:
        return None
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in rules(platform.machine()))
    return _Program(len(packed) // 8, packed)  # which keeps the bytes: the kernel reads them at every install


_PROGRAM = _built()
