"""Connections that are made and ended, as many as it goes: `python -m bench.connections serve|connect IP PORT`.

A connection is SYN, accept, one byte from the server, the end from both sides. The server ends first, so that the ports
of the client are free at once. The client begins the next as soon as one is over, and has `at_a_time` under way. For
each line that it reads, {"seconds", "at_a_time"}, it prints {"made", "failed", "seconds"}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import sys
import time

__all__ = ["main"]

BACKLOG = 4096


def serve(address: tuple[str, int]) -> None:
    """Until it is ended."""
    with socket.create_server(address, backlog=BACKLOG) as server:
        print("ready", flush=True)
        while True:
            sock, _ = server.accept()
            with sock, contextlib.suppress(OSError):  # its client may be gone
                sock.send(b"x")


def connect(address: tuple[str, int], seconds: float, at_a_time: int) -> dict[str, float]:
    """Make connections for so long, `at_a_time` of them at a time."""
    made = failed = 0
    poll = select.epoll()
    under_way: dict[int, socket.socket] = {}
    begin = now = time.perf_counter()
    end = begin + seconds
    try:
        while now < end:
            while len(under_way) < at_a_time:
                sock = _begin(address)
                poll.register(sock.fileno(), select.EPOLLRDHUP)
                under_way[sock.fileno()] = sock
            for descriptor, _ in poll.poll(max(end - now, 0)):
                with under_way.pop(descriptor) as sock:
                    received = _received(sock)
                made += received
                failed += not received
            now = time.perf_counter()
    finally:
        poll.close()
        for sock in under_way.values():
            sock.close()
    return {"made": made, "failed": failed, "seconds": now - begin}


def _begin(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(address)
    return sock


def _received(sock: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return sock.recv(2) == b"x"
    return False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.connections", description="Makes TCP connections.")
    parser.add_argument("role", choices=("serve", "connect"))
    parser.add_argument("ip")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    address = options.ip, options.port
    if options.role == "serve":
        serve(address)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(connect(address, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
