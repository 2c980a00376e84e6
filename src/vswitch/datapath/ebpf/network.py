"""Network namespaces: which one a thread is in, and whether one is still there.

A datapath's devices are in one namespace, but its pins in bpffs are the machine's: whoever finds them may be anywhere.
The kernel numbers namespaces by a cookie, which unlike the inode number of /proc/PID/ns/net is never given twice
between two boots.

Invariant: nothing here moves the calling thread.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["network_cookie", "network_exists"]

_SO_NETNS_COOKIE = 71
_CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def network_cookie() -> int:
    """The number of the calling thread's network namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")


def network_exists(cookie: int) -> bool:
    """Whether a thread is in the namespace of that number, or it is mounted somewhere (as `ip netns` does). One that
    only a descriptor or a socket of some process holds is not seen. Needs root; takes some milliseconds."""
    if cookie == network_cookie():
        return True
    found = threading.Event()

    def visit() -> None:
        for path in _networks():
            with suppress(OSError), path.open() as there:
                if _libc.setns(there.fileno(), _CLONE_NEWNET) == 0 and network_cookie() == cookie:
                    found.set()
                    return

    visitor = threading.Thread(target=visit)  # it moves about, and ends where it is
    visitor.start()
    visitor.join()
    return found.is_set()


def _networks() -> Iterator[Path]:
    """A path to each namespace."""
    seen = set()
    for path in (*Path("/proc").glob("[0-9]*/task/[0-9]*/ns/net"), *_mounted()):
        with suppress(OSError):  # the process has ended
            inode = path.stat().st_ino
            if inode not in seen:
                seen.add(inode)
                yield path


def _mounted() -> Iterator[Path]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[3].startswith("net:["):
            yield Path(os.fsencode(fields[4]).decode("unicode_escape"))  # blanks are written \040
