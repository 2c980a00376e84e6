"""What the real ovs-ofctl says: a switch of a few lines on a unix socket, which answers enough for it to go on."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

from vswitch.openflow.wire import HEADER, HEADER_BYTES, NICIRA, ONF

__all__ = ["captured", "printed"]

_TIMEOUT_S = 20
_WAKE_S = 0.05
_FEATURES = struct.pack("!QIB3xII", 1, 0, 254, 0x4F, 0)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return data


_PORT = b"\2\0\0\0\0\1", b"p1"
_PORTS = {
    1: struct.pack("!H6s16s24x", 1, *_PORT),
    **{version: struct.pack("!I4x6s2x16s32x", 1, *_PORT) for version in (2, 3, 4)},
    **{version: struct.pack("!IH2x6s2x16s8x", 1, 40, *_PORT) for version in (5, 6)},
}
_PORT_DESCRIPTIONS = 13


def _answer(version: int, message: bytes) -> tuple[int, bytes] | None:
    """Type and body of a reply that lets ovs-ofctl go on; None: it waits for none."""
    kind, body = message[1], message[HEADER_BYTES:]
    barrier, multipart = (18, 16) if version == 1 else (20, 18)
    simple = {
        2: (3, body),
        5: (6, _FEATURES + (_PORTS[version] if version <= 3 else b"")),
        7: (8, struct.pack("!HH", 0, 128)),
        barrier: (barrier + 1, b""),
    }
    if kind in simple:
        return simple[kind]
    if kind == multipart:
        number = struct.unpack_from("!H", body)[0]
        head = struct.pack("!HH", number, 0) + (bytes(4) if version > 1 else b"")
        return multipart + 1, head + (_PORTS[version] if number == _PORT_DESCRIPTIONS else b"")
    if kind == 33 and version >= 5:
        bundle, control, flags = struct.unpack_from("!IHH", body)
        return 33, struct.pack("!IHH", bundle, control + 1, flags)
    return _vendor_answer(body) if kind == 4 else None


def _vendor_answer(body: bytes) -> tuple[int, bytes] | None:
    which = struct.unpack_from("!II", body)
    if which == (ONF, 2300):
        bundle, control, flags = struct.unpack_from("!IHH", body, 8)
        return 4, struct.pack("!IIIHH", *which, bundle, control + 1, flags)
    replies = {
        (NICIRA, 25): struct.pack("!IIIH10x", NICIRA, 26, 256, 64),
        (NICIRA, 10): struct.pack("!III", NICIRA, 11, 1),
    }
    return (4, replies[which]) if which in replies else None


def _serve(listener: socket.socket, done: threading.Event, version: int, messages: list[bytes]) -> None:
    """One connection after the other, until it is done."""
    while not done.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        _talk(connection, version, messages)


def _talk(connection: socket.socket, version: int, messages: list[bytes]) -> None:
    with connection:
        connection.settimeout(_TIMEOUT_S)
        connection.sendall(HEADER.pack(version, 0, HEADER_BYTES, 1))
        while True:
            head = _receive(connection, HEADER_BYTES)
            if not head:
                return
            message = head + _receive(connection, HEADER.unpack(head)[2] - HEADER_BYTES)
            if message[1] != 0:
                messages.append(message)
                answer = _answer(version, message)
                if answer is not None:
                    kind, body = answer
                    xid = HEADER.unpack_from(message)[3]
                    connection.sendall(HEADER.pack(version, kind, HEADER_BYTES + len(body), xid) + body)


def captured(
    version: int, command: str, *arguments: str, stdin: str = "", options: tuple[str, ...] = ()
) -> list[bytes]:
    """The messages that `ovs-ofctl -O VERSION command SWITCH arguments...` sends, hello left out."""
    messages: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="of") as folder:
        path = str(Path(folder) / "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(4)
            listener.settimeout(_WAKE_S)
            ended = threading.Event()
            thread = threading.Thread(target=_serve, args=(listener, ended, version, messages), daemon=True)
            thread.start()
            names = () if "--names" in options else ("--no-names",)  # else it asks for those of tables and ports first
            program = [
                "ovs-ofctl",
                "-O",
                f"OpenFlow1{version - 1}",
                *names,
                *options,
                command,
                f"unix:{path}",
                *arguments,
            ]
            done = subprocess.run(
                program,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                env={**os.environ, "LC_ALL": "C"},
            )
            ended.set()
            thread.join(_TIMEOUT_S)
    assert done.returncode == 0, f"{program}: {done.stderr}"
    return messages


def printed(message: bytes) -> str:
    """What `ovs-ofctl ofp-print` says of a message."""
    program = ["ovs-ofctl", "ofp-print", message.hex()]
    done = subprocess.run(program, capture_output=True, text=True, timeout=_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
