"""Messages besides the answer, in the form that Open vSwitch's programs give them: time, number, module, level.

They go to the standard error from "warn" on, to a file if one is named, and what changes something to the system log.
"""

from __future__ import annotations

import sys
import time

from vswitch.cli.vsctl import CommandError

__all__ = ["Log"]

_LEVELS = ("off", "emer", "err", "warn", "info", "dbg")
_PLACES = ("syslog", "console", "file")
_MODULES = (
    *("command_line", "coverage", "daemon", "db_ctl_base", "fatal_signal", "jsonrpc", "lockfile", "ovsdb_cs"),
    *("ovsdb_idl", "poll_loop", "process", "reconnect", "socket_util", "stream", "stream_fd", "stream_ssl"),
    *("stream_tcp", "stream_unix", "timeval", "unixctl", "util", "vlog", "vsctl"),
)
"""Those of ovs-vsctl; a level for one of them holds for that one."""

_WARN, _INFO, _DBG = _LEVELS.index("warn"), _LEVELS.index("info"), _LEVELS.index("dbg")


class Log:
    """`file`: where messages go, too."""

    def __init__(self) -> None:
        self.file = ""
        self._levels = {"syslog": _INFO, "console": _WARN, "file": _INFO}
        self._of_modules: dict[tuple[str, str], int] = {}
        self._count = 1
        """How the program was called is the first message, whoever hears of it."""

    def configure(self, words: str | None) -> None:
        """As `-v` says. CommandError: it makes no sense."""
        if words is None:
            self._levels = dict.fromkeys(_PLACES, _DBG)
            return
        if words[:8].upper() == "PATTERN:" or words[:9].upper() == "FACILITY:":
            return  # the form is one
        module, place, level = "", "", _DBG
        for word in words.replace(",", " ").replace(":", " ").split():
            plain = word.lower().replace("-", "_")
            if plain in _PLACES:
                place = plain
            elif plain in _LEVELS:
                level = _LEVELS.index(plain)
            elif plain in _MODULES:
                module = plain
            elif plain != "any":
                raise CommandError(f'processing "{words}": no destination, level, or module "{word}"')
        for each in (place,) if place else _PLACES:
            if module:
                self._of_modules[module, each] = level
            else:
                self._levels[each] = level
                self._of_modules = {key: value for key, value in self._of_modules.items() if key[1] != each}

    @property
    def is_debugging(self) -> bool:
        """Whether anybody hears of details."""
        return self._level("jsonrpc", "console") >= _DBG or (bool(self.file) and self._level("jsonrpc", "file") >= _DBG)

    def called(self, line: str, *, changes: bool) -> None:
        """How the program was called: the system log is to know who has changed something."""
        level = _INFO if changes else _DBG
        self._count = 0
        self._write("vsctl", level, f"Called as {line}")
        if level <= self._level("vsctl", "syslog") and changes:
            import syslog

            syslog.openlog("ovs-vsctl", 0, syslog.LOG_DAEMON)
            syslog.syslog(syslog.LOG_INFO, f"ovs|{self._count:05d}|vsctl|INFO|Called as {line}")

    def warning(self, module: str, text: str) -> None:
        """What a user should look at."""
        self._write(module, _WARN, text)

    def debug(self, module: str, text: str) -> None:
        """What is done."""
        self._write(module, _DBG, text)

    def _level(self, module: str, place: str) -> int:
        return self._of_modules.get((module, place), self._levels[place])

    def _write(self, module: str, level: int, text: str) -> None:
        self._count += 1
        to_console, to_file = (level <= self._level(module, place) for place in ("console", "file"))
        if not to_console and not (to_file and self.file):
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = f"{now}|{self._count:05d}|{module}|{_LEVELS[level].upper()}|{text}\n"
        if to_console:
            sys.stderr.write(line)
        if to_file and self.file:
            with open(self.file, "a", encoding="utf-8") as out:  # noqa: PTH123 - pathlib loads slowly
                out.write(line)
