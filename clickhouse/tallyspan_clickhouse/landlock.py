"""Landlock: what a process of Linux may still touch, narrowed by itself and for good.

The system calls and structures are those of `linux/landlock.h`; a kernel knows those of its ABI
and of the ABIs before it.
"""

import ctypes
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntFlag
from pathlib import Path

MIN_ABI = 2
"""ABI 1 (Linux 5.13 to 5.18) forbids every rename from one folder to another."""
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_FOR_ABI = 1
_RULE_PATH, _RULE_PORT = 1, 2
_PR_SET_NO_NEW_PRIVS = 38
_NETWORK_ABI, _SCOPE_ABI = 4, 6


class Files(IntFlag):
    """Rights on files and folders, in the order of the kernel's bits."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


class Ports(IntFlag):
    """Rights on TCP ports."""

    BIND = 1 << 0
    CONNECT = 1 << 1


class Scope(IntFlag):
    """What stays among the confined: abstract Unix sockets, and signals."""

    ABSTRACT_SOCKET = 1 << 0
    SIGNAL = 1 << 1


READ = Files.READ_FILE | Files.READ_DIR
KEEP = READ | (
    Files.WRITE_FILE | Files.TRUNCATE | Files.REFER | Files.REMOVE_DIR | Files.REMOVE_FILE
    | Files.MAKE_DIR | Files.MAKE_REG | Files.MAKE_SYM
)  # fmt: skip
"""All that a database does in a folder of its own."""
_OF_A_FILE = Files.READ_FILE | Files.WRITE_FILE | Files.TRUNCATE
_SINCE = {Files.REFER: 2, Files.TRUNCATE: 3, Files.IOCTL_DEV: 5}
"""The ABI that brought a right; the others came with the first."""


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _PortRule(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def abi() -> int:
    """Return the Landlock ABI of this kernel, 0 if it has none or does not let us use it."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _ASK_FOR_ABI)
    except OSError:
        return 0


def restrict(read: Iterable[Path], keep: Iterable[Path], bind: int) -> None:
    """Allow this process to read `read`, to do anything in `keep` and to listen on the port `bind`.

    Nothing else of files, no program is executed, and where the kernel can tell (ABI 4, ABI 6) no
    connection is made and no other process gets a signal. Paths that do not exist are left out.
    Threads that run already are not restricted. Raises OSError if the kernel refuses.
    """
    version = abi()
    files = Files(sum(right for right in Files if _SINCE.get(right, 1) <= version))
    ruleset = _Ruleset(files)
    if version >= _NETWORK_ABI:
        ruleset.handled_access_net = Ports.BIND | Ports.CONNECT
    if version >= _SCOPE_ABI:
        ruleset.scoped = Scope.ABSTRACT_SOCKET | Scope.SIGNAL
    with _closing(_call(_CREATE_RULESET, ctypes.byref(ruleset), _size(version), 0)) as handle:
        for right, paths in ((READ, read), (KEEP, keep)):
            for path in paths:
                _allow(handle, path, right & files)
        if version >= _NETWORK_ABI:
            rule = _PortRule(Ports.BIND, bind)
            _call(_ADD_RULE, handle, _RULE_PORT, ctypes.byref(rule), 0)
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        _call(_RESTRICT_SELF, handle, 0)


def _size(version: int) -> int:
    """Return the bytes of a ruleset that the kernel knows: one more would be refused."""
    fields = 1 if version < _NETWORK_ABI else 2 if version < _SCOPE_ABI else 3
    return fields * ctypes.sizeof(ctypes.c_uint64)


def _allow(handle: int, path: Path, right: Files) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # what cannot be opened now is of no use later
    with _closing(descriptor):
        allowed = right if path.is_dir() else right & _OF_A_FILE
        rule = _PathRule(allowed, descriptor)
        _call(_ADD_RULE, handle, _RULE_PATH, ctypes.byref(rule), 0)


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    words = (ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    result: int = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
