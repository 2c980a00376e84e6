"""NAME.pid in the run directory: by which NAME.PID.ctl, the control socket of a bridge, is found.

The process holds a lock on it for as long as it runs, by which tools of Open vSwitch know that it does. So whoever has
the lock knows that sockets of this name are those of processes that were killed, and removes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from vswitch.base.errors import BusyError, ConfigError, PrivilegeError

__all__ = ["pid_file"]


@contextlib.contextmanager
def pid_file(folder: Path, name: str) -> Iterator[Path]:
    """The file is there for the length of the block; gives the path that the control socket is to have. BusyError:
    another process has that name; PrivilegeError, ConfigError: the folder is no place to write to."""
    path = folder / f"{name}.pid"
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError as problem:
        raise PrivilegeError(f"cannot write {path}: root is needed for that") from problem
    except OSError as problem:
        raise ConfigError(f"cannot write {path}: {problem.strerror}") from problem
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(f"{path} is held by another process: {name} is at work already") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        dead = re.compile(rf"{re.escape(name)}\.\d+\.ctl")
        for each in folder.iterdir():
            if dead.fullmatch(each.name):
                each.unlink(missing_ok=True)
        try:
            yield folder / f"{name}.{os.getpid()}.ctl"
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
