"""The log of a process: to the standard error, to a file, to a syslog; and the commands by which it is asked.

Messages of one place in the code come at most BURST at once and one a second after that. What is not said is counted,
and how much it was is said with the next message of that place. Invariant: a disk that is full stops no switch.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import time
from collections.abc import Sequence
from pathlib import Path

from vswitch.base.errors import ConfigError
from vswitch.control.commands import Answer, CommandError, Commands
from vswitch.control.vlog import MODULES, PATTERNS, Levels, level_name

__all__ = ["Logs"]

BURST = 60
MAX_PLACES = 1024
"""Places in the code with a bound of their own; those that spoke first are forgotten first."""


class _Formatter(logging.Formatter):
    """`2024-05-17T10:11:12.345Z|00017|bridge|INFO|text`. `fraction`: whether with milliseconds."""

    def __init__(self, *, clock: bool, fraction: bool = False) -> None:
        super().__init__("%(message)s")
        self._clock, self._fraction = clock, fraction

    def format(self, record: logging.LogRecord) -> str:
        parts = [
            getattr(record, "number", "00000"),
            _module(record),
            level_name(record.levelno),
            super().format(record),
        ]
        if not self._clock:
            return "|".join(["vswitch", *parts])
        millis = f".{int(record.msecs):03}" if self._fraction else ""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return "|".join([f"{when}{millis}Z", *parts])


def _module(record: logging.LogRecord) -> str:
    """The room that speaks."""
    parts = Path(record.pathname).parts
    if record.name != "vswitch" or "vswitch" not in parts:
        return "other"
    room = parts[len(parts) - parts[::-1].index("vswitch") :][0]
    return room if room in MODULES else "other"


class Logs:
    """`suppressed`: messages that were not said, as there were too many like them."""

    def __init__(self) -> None:
        self.levels = Levels()
        self.suppressed = 0
        self._file: logging.handlers.WatchedFileHandler | None = None
        self._path: Path | None = None
        self._number = 0
        self._places: dict[tuple[str, int], tuple[float, float, int]] = {}  # tokens, when, not said
        self._root = logging.getLogger()

    def install(self, *, file: str | None, syslog: str | None, specifications: Sequence[str]) -> None:
        """Begin. ConfigError: a level, a file or a syslog is none."""
        self.levels.set(specifications or ("any:info",))
        self._add(logging.StreamHandler(), "console", _Formatter(clock=True))
        if syslog:
            self._add(_syslog(syslog), "syslog", _Formatter(clock=False))
        if file:
            self._path = Path(file).absolute()  # a daemon that goes to the background leaves the folder
            self._open_file(self._path)
        self._apply()

    def _add(self, handler: logging.Handler, destination: str, formatter: logging.Formatter) -> None:
        handler.setFormatter(formatter)
        handler.addFilter(lambda record: self._said(record) and self._passes(record, destination))
        self._root.addHandler(handler)

    def _passes(self, record: logging.LogRecord, destination: str) -> bool:
        return self.levels.passes(_module(record), destination, record.levelno)

    def _apply(self) -> None:
        self._root.setLevel(self.levels.least)

    def _open_file(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640))
            self._file = logging.handlers.WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace")
        except OSError as problem:
            raise ConfigError(f"the log {path} cannot be written: {problem.strerror}") from None
        self._add(self._file, "file", _Formatter(clock=True, fraction=True))

    # ---- the bound

    def _said(self, record: logging.LogRecord) -> bool:
        """Whether it is said; decided once for all destinations."""
        known = getattr(record, "said", None)
        if known is None:
            known = record.said = self._has_room(record)
            if known:
                self._number += 1
                record.number = f"{self._number:05}"
        return bool(known)

    def _has_room(self, record: logging.LogRecord) -> bool:
        if _module(record) not in self.levels.limited:
            return True
        place = (record.pathname, record.lineno)
        tokens, when, unsaid = self._places.pop(place, (float(BURST), record.created, 0))
        tokens = min(tokens + max(record.created - when, 0.0), float(BURST))
        if len(self._places) >= MAX_PLACES:
            del self._places[next(iter(self._places))]
        if tokens < 1:
            self.suppressed += 1
            self._places[place] = (tokens, record.created, unsaid + 1)
            return False
        self._places[place] = (tokens - 1, record.created, 0)
        if unsaid:
            record.msg, record.args = f"{record.getMessage()} ({unsaid} more like this were not said)", ()
        return True

    # ---- commands

    def add_to(self, commands: Commands) -> None:
        """`vlog/...`, as ovs-vswitchd has them."""
        commands.add("vlog/set", "{spec | PATTERN:destination:pattern}", 1, 64, self._set)
        commands.add("vlog/list", "", 0, 0, lambda _: Answer(self.levels.text(), self.levels.as_dict))
        commands.add("vlog/list-pattern", "", 0, 0, lambda _: self._patterns())
        commands.add("vlog/reopen", "", 0, 0, lambda _: self._reopen())
        commands.add("vlog/close", "", 0, 0, lambda _: self._close())
        commands.add("vlog/enable-rate-limit", "[module]...", 0, 64, lambda words: self._limit(words, limited=True))
        commands.add("vlog/disable-rate-limit", "[module]...", 0, 64, lambda words: self._limit(words, limited=False))

    def _set(self, words: Sequence[str]) -> Answer:
        self.levels.set(words)
        self._apply()
        return Answer()

    def _patterns(self) -> Answer:
        rows = "".join(f"{name.upper():<7}  {head:<32}  {form}\n" for name, (head, form) in PATTERNS.items())
        head = f"{'':9}{'prefix':<32}  format\n{'':9}{'------':<32}  ------\n"
        return Answer(head + rows, lambda: {name: list(row) for name, row in PATTERNS.items()})

    def _limit(self, words: Sequence[str], *, limited: bool) -> Answer:
        self.levels.limit(words, limited=limited)
        return Answer()

    def _reopen(self) -> Answer:
        if self._path is None:
            raise CommandError("Logging to file not configured")
        self._close()
        self._open_file(self._path)
        return Answer()

    def _close(self) -> Answer:
        if self._file is not None:
            self._root.removeHandler(self._file)
            self._file.close()
            self._file = None
        return Answer()


def _syslog(target: str) -> logging.Handler:
    """A socket's path, or HOST:PORT by UDP."""
    host, _, port = target.rpartition(":")
    try:
        if target.startswith("/"):
            return logging.handlers.SysLogHandler(target, facility="daemon")
        return logging.handlers.SysLogHandler((host, int(port)), facility="daemon")
    except (OSError, ValueError) as problem:
        raise ConfigError(f"syslog {target}: {problem} (it is the path of a socket, or HOST:PORT)") from None
