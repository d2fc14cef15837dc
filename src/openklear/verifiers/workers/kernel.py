"""Linux calls that the standard library lacks, through ctypes. Errors are OSError with the call's name.

Numbers are from the kernel's uapi headers (prctl.h, mount.h, capability.h, unistd.h).
"""

from __future__ import annotations

import ctypes
import os
import sys

LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWPID = 0x20000, 0x8000000, 0x20000000
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 40

SYSTEM_PATHS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
"""What a program finds of the host, besides its Python."""
DEVICE_LINKS = {
    "shm": "/tmp",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
"""What a program finds in /dev besides devices."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _prctl(option: int, value: int, what: str) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), what)


def become_subreaper(yes: bool = True) -> None:
    """Orphans of our descendants become our children, so that they can be killed and reaped; or no longer do."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(yes), "PR_SET_CHILD_SUBREAPER")


def no_new_privileges() -> None:
    """No exec raises privileges any more: setuid programs run without their bit. Inherited, never undone."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")


def hide_memory() -> None:
    """Processes without CAP_SYS_PTRACE can no longer trace us or open our /proc files (inherited by fork)."""
    _prctl(_PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE")


def die_with_parent(signal_number: int) -> None:
    """The kernel sends the signal when the *thread* that forked us ends: only for single-threaded parents."""
    _prctl(_PR_SET_PDEATHSIG, signal_number, "PR_SET_PDEATHSIG")


def own_session() -> None:
    """New ipc and mount namespaces for us, and a new pid namespace for our children. Needs CAP_SYS_ADMIN."""
    _check(_libc.unshare(_CLONE_NEWPID | _CLONE_NEWIPC | _CLONE_NEWNS), "unshare of pid, ipc and mount namespaces")


def own_mounts() -> None:
    """A mount namespace of our own, whose changes nobody else sees. Needs CAP_SYS_ADMIN."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare of the mount namespace")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)


def die_first() -> None:
    """Where memory runs out, the kernel takes us and our children before others. Before `hide_memory`."""
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")


def drop_bounding_set() -> None:
    """No exec gains a capability any more. Needs CAP_SETPCAP."""
    for capability in range(_LAST_CAPABILITY + 1):
        _prctl(_PR_CAPBSET_DROP, capability, "PR_CAPBSET_DROP")


_CAPABILITY_HEADER = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()


def drop_capabilities() -> None:
    """Gives up every capability of this process."""
    _check(_libc.capset(ctypes.byref(_CAPABILITY_HEADER), ctypes.byref(_NO_CAPABILITIES)), "capset")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {source} on {target}")


def mount_scratch(target: str, mebibytes: int) -> None:
    """A fresh, empty, size-limited directory in memory."""
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={mebibytes}m,nr_inodes=4096,mode=1777")


def mount_empty(target: str) -> None:
    """Covers a directory by an empty one that everybody may pass."""
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")


def bind(source: str, target: str) -> None:
    """Shows a directory at another place."""
    _mount(source, target, None, _MS_BIND | _MS_REC)


def mount_proc() -> None:
    """Shows /proc of our own pid namespace."""
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
