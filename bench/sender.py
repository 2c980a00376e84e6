"""The packet generator: `python -m bench.sender DEVICE ...`, a process in the namespace of the sending host.

It hands prepared frames to the kernel by sendmmsg() on an AF_PACKET socket, 256 at a time, so that Python costs a few
nanoseconds a packet. Pinned to one CPU, sender, switch and receiver run there one after another: a packet is delivered
before the next is sent, and packets/s is one over the cost of all three.

It says "ready" when the frames are prepared. For each line that it reads, {"seconds", "rate", "limit"}, it sends and
then prints {"sent", "seconds"}; at the end of its input it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import socket
import struct
import sys
import time
from array import array
from collections.abc import Iterator

from bench.frames import FRAME_BYTES, frames, syn_frames

__all__ = ["main"]

BATCH = 256
STRIDE = 64
"""From one frame to the next, bytes: a cache line each."""

_MMSGHDR = struct.Struct("=QI4xQQQQi4xI4x")  # name, namelen, iov, iovlen, control, controllen, flags; msg_len
_libc = ctypes.CDLL(None, use_errno=True)
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class Messages:
    """Frames as sendmmsg() takes them; a few are repeated until they fill a batch."""

    def __init__(self, content: bytes) -> None:
        distinct = len(content) // STRIDE
        self.count = distinct * -(-BATCH // distinct)
        self._content = bytearray(content)
        self._vectors = bytearray(16 * self.count)
        self._headers = bytearray(_MMSGHDR.pack(0, 0, 0, 1, 0, 0, 0, 0)) * self.count
        base, vectors = _address(self._content), _address(self._vectors)
        cast = memoryview(self._vectors).cast("Q")
        where = array("Q", range(base, base + distinct * STRIDE, STRIDE)) * (self.count // distinct)
        cast[::2] = memoryview(where)
        cast[1::2] = memoryview(array("Q", [FRAME_BYTES]) * self.count)
        memoryview(self._headers).cast("Q")[2 :: _MMSGHDR.size // 8] = memoryview(
            array("Q", range(vectors, vectors + 16 * self.count, 16))
        )
        self.address = _address(self._headers)


def _address(memory: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def send(descriptor: int, messages: Messages, *, seconds: float, rate: int, limit: int) -> tuple[int, float]:
    """Send round and round, until `limit` packets (0: any number) or the time; at most `rate` packets/s (0: as fast as
    it goes). How many the kernel took, and the seconds that it took."""
    batch = min(BATCH, max(rate // 2000, 1)) if rate else BATCH
    place = taken = 0
    begin = now = time.perf_counter()
    while now - begin < seconds and (not limit or taken < limit):
        count = min(batch, messages.count - place, limit - taken if limit else batch)
        sent = _sendmmsg(descriptor, messages.address + place * _MMSGHDR.size, count, 0)
        if sent > 0:
            taken += sent
            place = (place + sent) % messages.count
        now = time.perf_counter()
        if rate and (early := begin + taken / rate - now) > 0:
            time.sleep(early)
            now = time.perf_counter()
    return taken, now - begin


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Nothing else runs on this CPU for the moment, unless the kernel thinks that it is too long."""
    with contextlib.suppress(PermissionError):  # in some control groups; then it is measured with what else there is
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sender", description="Sends frames of 60 bytes.")
    parser.add_argument("device")
    parser.add_argument("--eth-src", type=_mac, required=True, metavar="MAC")
    parser.add_argument("--eth-dst", type=_mac, required=True, metavar="MAC")
    parser.add_argument("--flows", type=int, default=1, help="how many different flows, one packet each in turn")
    parser.add_argument("--scan", action="store_true", help="the SYN of TCP connections, not UDP")
    parser.add_argument("--cpu", type=int, default=-1, help="pin to this CPU")
    options = parser.parse_args()
    if options.cpu >= 0:
        os.sched_setaffinity(0, {options.cpu})
    each = (syn_frames if options.scan else frames)(0, options.flows, options.eth_src, options.eth_dst)
    messages = Messages(b"".join([frame.ljust(STRIDE, b"\0") for frame in each]))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        sock.bind((options.device, 0))
        print("ready", flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            with undisturbed() if options.cpu >= 0 and not order["rate"] else contextlib.nullcontext():
                sent, seconds = send(sock.fileno(), messages, **order)
            print(json.dumps({"sent": sent, "seconds": seconds}), flush=True)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


if __name__ == "__main__":
    main()
