"""Landlock: a process gives up, for itself and all it starts, what lies outside the paths it names.

Holds also where no mount namespace is to be had. Struct and bit numbers are from the kernel's landlock.h, up to ABI 7.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

from . import kernel

_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_CREATE_VERSION, _RULE_PATH_BENEATH, _LOG_SAME_EXEC_OFF = 1, 1, 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_ALL_FIRST = (1 << 13) - 1
_NEEDS_ABI = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE))
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_TCP_BIND_AND_CONNECT, _SCOPE_SOCKETS_AND_SIGNALS = 3, 3

_READ = _EXECUTE | _READ_FILE | _READ_DIR
_NEVER = _EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEVICE
"""Not even below writable paths: running what was written there, devices."""


def abi() -> int:
    """The version of Landlock that the kernel has; 0 where it has none."""
    if not kernel.LINUX:
        return 0
    found = kernel._libc.syscall(
        ctypes.c_long(_SYS_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_CREATE_VERSION)
    )
    return max(0, int(found))


def restrict(read_only: list[str], writable: list[str]) -> int:
    """Leaves this process `read_only` (to read and run) and `writable`; returns the ABI used, 0 where there is none.

    Paths that do not exist are passed over. From ABI 4 on there is no TCP, from ABI 6 on no abstract socket and no
    signal reaches out of the family (signals from outside still reach in). Needs no_new_privs; OSError where refused.
    """
    version = abi()
    if version == 0:
        return 0
    handled = _ALL_FIRST | sum(bit for needed, bit in _NEEDS_ABI if version >= needed)
    attributes = [handled]
    if version >= 4:
        attributes.append(_TCP_BIND_AND_CONNECT)
    if version >= 6:
        attributes.append(_SCOPE_SOCKETS_AND_SIGNALS)
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    ruleset = _call(_SYS_CREATE_RULESET, packed, len(packed), 0, what="landlock_create_ruleset")
    try:
        for path in read_only:
            _allow(ruleset, path, handled & _READ)
        for path in writable:
            _allow(ruleset, path, handled & ~_NEVER)
        _call(_SYS_RESTRICT_SELF, ruleset, _LOG_SAME_EXEC_OFF if version >= 7 else 0, what="landlock_restrict_self")
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _ON_FILES
        rule = struct.pack("=Qi", access, descriptor)
        _call(_SYS_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0, what=f"landlock_add_rule {path}")
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: int | bytes, what: str) -> int:
    passed = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    result = int(kernel._libc.syscall(ctypes.c_long(number), *passed))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
