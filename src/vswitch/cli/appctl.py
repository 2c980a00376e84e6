"""`vswitch appctl`: commands to a bridge that is at work, or to a daemon of Open vSwitch.

They go as JSON-RPC over a Unix socket (`vswitch.control.jsonrpc`), which lies in the run directory as NAME.PID.ctl,
with NAME.pid beside it. All words behind the command are the command's, whatever they look like.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vswitch.base.errors import MachineError, NotFoundError
from vswitch.cli.arguments import Parser, Program
from vswitch.cli.ofctl.target import run_directories
from vswitch.cli.table import VSWITCH
from vswitch.control.commands import CommandError
from vswitch.control.jsonrpc import MessageError, Splitter, request

__all__ = ["main", "running"]

MAX_ANSWER_BYTES = 1 << 30
"""A million megaflows are some 300 MB."""

READ_BYTES = 1 << 16
SET_OPTIONS = "set-options"


def main(line: Sequence[str]) -> int:
    """Send one command and print what is answered."""
    program = VSWITCH.by_name["appctl"]
    assert isinstance(program, Program)
    parser = Parser("vswitch appctl", f"{program.summary.capitalize()}.\n\n{_MORE}", program.example)
    parser.usage = "vswitch appctl [option...] COMMAND [ARG...]"
    parser.add(program.arguments)
    given = parser.parse_args(line)
    words = given.words
    path = _find(given.target) if given.target else _find_by_words(words)
    with _Connection(path, given.timeout) as connection:
        if given.format == "json":
            connection.call(SET_OPTIONS, ["--format", "json"])
        result = connection.call(given.command, words)
    if isinstance(result, str):
        sys.stdout.write(result if result.endswith("\n") or not result else f"{result}\n")
    else:
        print(json.dumps(result, indent=2 if given.pretty else None, ensure_ascii=False))
    return 0


_MORE = """\
`vswitch appctl list-commands` lists what can be asked. Without a target it is the bridge that is at work here, or if
there are several that which the words name."""


class _Connection:
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s or None)
        self._splitter = Splitter(MAX_ANSWER_BYTES)
        try:
            self._socket.connect(str(path))
        except OSError as problem:
            self._socket.close()
            raise MachineError(f"{path}: cannot connect ({problem.strerror or problem})") from None

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, command: str, words: Sequence[str]) -> Any:
        """The result. CommandError: the command is refused; MachineError: there is no answer."""
        try:
            self._socket.sendall(request(command, tuple(words)))
            while data := self._socket.recv(READ_BYTES):
                for message in self._splitter.receive(data):
                    return self._result(message)
        except TimeoutError:
            raise MachineError(f"{self._path}: no answer in time") from None
        except (OSError, MessageError) as problem:
            raise MachineError(f"{self._path}: {problem}") from None
        raise MachineError(f"{self._path}: the connection ended without an answer")

    def _result(self, message: Any) -> Any:
        error = message.get("error")
        if error is not None:
            raise CommandError(str(error).rstrip("\n"))
        return message.get("result")


# ---- where


def running() -> dict[str, Path]:
    """The processes on this machine that have a control socket in a run directory, by name; vswitch's come first."""
    found: dict[str, Path] = {}
    for folder in run_directories():
        for name, path in _of_folder(folder):
            found.setdefault(name, path)
    return found


def _of_folder(folder: Path) -> Iterator[tuple[str, Path]]:
    for pid_file in sorted(folder.glob("*.pid")):
        try:
            pid = int(pid_file.read_text())
        except (OSError, ValueError):
            continue
        path = folder / f"{pid_file.stem}.{pid}.ctl"
        if path.exists() and Path(f"/proc/{pid}").exists():
            yield pid_file.stem, path


def _find(target: str) -> Path:
    """The socket that a target is: a path, or the name of a process."""
    if "/" in target:
        return Path(target)
    path = running().get(target)
    if path is None:
        folders = " and ".join(str(folder) for folder in run_directories())
        raise NotFoundError(f"{target}: there is no process of this name with a control socket in {folders}")
    return path


def _find_by_words(words: Iterable[str]) -> Path:
    ours = dict(_of_folder(run_directories()[0]))
    named = [name for name in words if name in ours]
    if not ours:
        raise NotFoundError(f"no bridge is at work in {run_directories()[0]}; --target names another process")
    if len(ours) > 1 and not named:
        raise NotFoundError(f"several bridges are at work ({', '.join(ours)}); --target says which is meant")
    return ours[named[0]] if named else next(iter(ours.values()))
