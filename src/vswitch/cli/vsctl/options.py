"""The command line: options that concern the whole, then commands with options of their own, `--` between them.

It is read as getopt_long and ovs-vsctl read it: options end at the first word that is none, long ones may be short for
one alone, options of the first command may stand among those of the whole.
"""

from __future__ import annotations

import posix

from vswitch.cli.vsctl import CommandError, check
from vswitch.cli.vsctl.table import COMMANDS, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vswitch.cli.vsctl.log import Log

__all__ = ["COMPATIBLE", "GLOBAL", "SHORT", "Call", "Options", "parse_line"]

COMPATIBLE = "ovs-vsctl"
"""By this name it looks where Open vSwitch's files are, by any other where vswitch's are."""


GLOBAL: dict[str, bool | None] = {
    "db": True, "no-syslog": False, "no-wait": False, "dry-run": False, "oneline": False, "timeout": True,
    "retry": False, "help": False, "commands": False, "options": False, "leader-only": False,
    "no-leader-only": False, "shuffle-remotes": False, "no-shuffle-remotes": False, "version": False,
    "verbose": None, "log-file": None, "syslog-method": True, "syslog-target": True, "format": True, "data": True,
    "no-headings": False, "pretty": False, "bare": False, "max-column-width": True, "private-key": True,
    "certificate": True, "ca-cert": True, "ssl-protocols": True, "ssl-ciphers": True, "bootstrap-ca-cert": True,
    "peer-ca-cert": True,
}  # fmt: skip
"""Long options, and whether a value follows; None: it may, behind `=`."""

SHORT = {
    "t": "timeout", "h": "help", "V": "version", "v": "verbose", "f": "format", "d": "data", "p": "private-key",
    "c": "certificate", "C": "ca-cert",
}  # fmt: skip
_THEIR_FOLDERS = ("/var/run/openvswitch", "/var/log/openvswitch")
_OUR_FOLDERS = ("/run/vswitch", "/var/log/vswitch")
_FORMATS = ("table", "list", "html", "csv", "json")
_DATA = ("string", "bare", "json")
_MAX_TIMEOUT = (1 << 32) - 1


class Options:
    """What concerns the whole."""

    def __init__(self, program: str = COMPATIBLE) -> None:
        run, log = _THEIR_FOLDERS if program == COMPATIBLE else _OUR_FOLDERS
        environment = {name: posix.environ.get(name, b"").decode() for name in (b"OVS_RUNDIR", b"OVS_LOGDIR")}
        self.run_directory = environment[b"OVS_RUNDIR"] or run
        self.log_directory = environment[b"OVS_LOGDIR"] or log
        self.db = f"unix:{self.run_directory}/db.sock"
        self.is_logging = False
        """Whether somebody wants to hear of more than warnings."""
        self._log: Log | None = None
        self.ends = ""
        """What is to be printed instead: "help", "version", "commands" or "options"."""
        self.syslog = True
        self.wait = True
        self.dry_run = self.oneline = self.retry = False
        self.timeout_s = 0
        self.format, self.data = "list", "string"
        self.headings, self.pretty = True, False
        self.max_column_width = 0
        self.private_key = self.certificate = self.ca_cert = self.bootstrap_ca_cert = self.peer_ca_cert = ""
        self.ssl_ciphers = ""
        if (text := posix.environ.get(b"OVS_CTL_TIMEOUT")) is not None:
            self._set_timeout(text.decode(), "OVS_CTL_TIMEOUT")

    @property
    def log(self) -> Log:
        """Where messages go."""
        if self._log is None:
            from vswitch.cli.vsctl.log import Log

            self._log = Log()
        return self._log

    def take(self, name: str, value: str | None) -> None:
        """An option. CommandError: the value makes no sense."""
        setter = _SETTERS.get(name)
        if setter is not None:
            setter(self, value or "")
        elif name == "timeout":
            self._set_timeout(value or "", "-t or --timeout")
        elif name == "verbose":
            self.is_logging = True
            self.log.configure(value)
        elif name == "log-file":
            self.is_logging = True
            self.log.file = value or f"{self.log_directory}/ovs-vsctl.log"
        elif name in ("help", "version", "commands", "options"):
            self.ends = self.ends or name

    def _set_timeout(self, text: str, what: str) -> None:
        plain = text.strip(" ")
        plain = plain[1:] if plain[:1] == "+" else plain
        found = int(plain) if plain.isdigit() and plain.isascii() else 0
        check(0 < found <= _MAX_TIMEOUT, f"value {text} on {what} is invalid")
        self.timeout_s = found

    def _set_format(self, value: str) -> None:
        check(value in _FORMATS, f'unknown output format "{value}"')
        self.format = value

    def _set_data(self, value: str) -> None:
        check(value in _DATA, f'unknown data format "{value}"')
        self.data = value

    def _set_bare(self, _: str) -> None:
        self.format, self.data, self.headings = "list", "bare", False

    def _set_width(self, value: str) -> None:
        self.max_column_width = int(value) if value.isdigit() else 0

    def _set_no_syslog(self, _: str) -> None:
        self.syslog = False


def _flag(attribute: str, value: bool):  # type: ignore[no-untyped-def]
    return lambda options, _: setattr(options, attribute, value)


def _text(attribute: str):  # type: ignore[no-untyped-def]
    return lambda options, value: setattr(options, attribute, value)


_SETTERS = {
    "db": _text("db"), "no-syslog": Options._set_no_syslog, "no-wait": _flag("wait", False),
    "dry-run": _flag("dry_run", True), "oneline": _flag("oneline", True), "retry": _flag("retry", True),
    "format": Options._set_format, "data": Options._set_data, "no-headings": _flag("headings", False),
    "pretty": _flag("pretty", True), "bare": Options._set_bare, "max-column-width": Options._set_width,
    "private-key": _text("private_key"), "certificate": _text("certificate"), "ca-cert": _text("ca_cert"),
    "ssl-ciphers": _text("ssl_ciphers"), "bootstrap-ca-cert": _text("bootstrap_ca_cert"),
    "peer-ca-cert": _text("peer_ca_cert"),
}  # fmt: skip


class Call:
    """A command as it is called. `options`: by name, with their values."""

    __slots__ = ("command", "options", "words")

    def __init__(self, command: Command, options: dict[str, str | None], words: list[str]) -> None:
        self.command = command
        self.options = options
        self.words = words

    @property
    def text(self) -> str:
        """As it could have been written, for errors."""
        given = [name.rstrip("=") for name in self.command.options if name.rstrip("=") in self.options]
        return " ".join([*given, self.command.name, *self.words])


def parse_line(line: Sequence[str], program: str = COMPATIBLE) -> tuple[Options, list[Call]]:
    """Read it. CommandError: it makes no sense."""
    options, local, rest = _parse_options(line, program)
    if options.ends:
        return options, []
    calls: list[Call] = []
    start = 0
    for at in range(len(rest) + 1):
        if at == len(rest) or rest[at] == "--":
            if at > start:
                calls.append(_parse_call(rest[start:at], {} if calls else local))
            elif at == len(rest) and not calls:
                raise CommandError("missing command name (use --help for help)")
            start = at + 1
    return options, calls


def _parse_options(line: Sequence[str], program: str) -> tuple[Options, dict[str, str | None], list[str]]:
    options = Options(program)
    local: dict[str, str | None] = {}
    at = 0
    while at < len(line):
        word = line[at]
        if word == "--":
            at += 1
            break
        if word[:2] == "--":
            at = _long(options, local, line, at)
        elif word[:1] == "-" and len(word) > 1:
            at = _short(options, line, at)
        else:
            break
        if options.ends:
            break
    return options, local, list(line[at:])


_known: dict[str, bool | None] = {}


def _known_options() -> dict[str, bool | None]:
    """Those of the whole, and then those of commands."""
    if not _known:
        _known.update(GLOBAL)
        for name in sorted({each for command in COMMANDS.values() for each in command.options}):
            _known[name.rstrip("=")[2:]] = name.endswith("=")
    return _known


def _long(options: Options, local: dict[str, str | None], line: Sequence[str], at: int) -> int:
    word, equals, value = line[at][2:].partition("=")
    known = _known_options() if word not in GLOBAL else GLOBAL
    if word in known:
        name = word
    else:
        close = [each for each in known if each.startswith(word)]
        check(close, f"unrecognized option '--{word}'")
        if len(close) > 1:
            names = " ".join(f"'--{each}'" for each in close)
            raise CommandError(f"option '{line[at]}' is ambiguous; possibilities: {names}")
        name = close[0]
    takes = known[name]
    if takes is False and equals:
        raise CommandError(f"option '--{name}' doesn't allow an argument")
    given: str | None = value if equals else None
    at += 1
    if takes and not equals:
        check(at < len(line), f"option '--{name}' requires an argument")
        given = line[at]
        at += 1
    if name in GLOBAL:
        options.take(name, given)
    else:
        local.setdefault(f"--{name}", given)
    return at


def _short(options: Options, line: Sequence[str], at: int) -> int:
    letters = line[at][1:]
    at += 1
    while letters:
        letter, letters = letters[0], letters[1:]
        check(letter in SHORT, f"invalid option -- '{letter}'")
        name = SHORT[letter]
        takes = GLOBAL[name]
        if takes is None:
            options.take(name, letters or None)
            break
        if takes:
            if not letters:
                check(at < len(line), f"option requires an argument -- '{letter}'")
                letters = line[at]
                at += 1
            options.take(name, letters)
            break
        options.take(name, None)
    return at


def _parse_call(words: list[str], local: dict[str, str | None]) -> Call:
    options = dict(local)
    at = 0
    while at < len(words) and words[at][:1] == "-":
        name, equals, value = words[at].partition("=")
        check(name not in options, f"'{name}' option specified multiple times")
        options[name] = value if equals else None
        at += 1
    check(at < len(words), "missing command name (use --help for help)")
    command = COMMANDS.get(words[at])
    if command is None:
        raise CommandError(f"unknown command '{words[at]}'; use --help for help")
    for name, given in options.items():
        if f"{name}=" in command.options:
            check(given is not None, f"missing argument to '{name}' option on '{command.name}' command")
        elif name in command.options:
            check(given is None, f"'{name}' option on '{command.name}' does not accept an argument")
        else:
            raise CommandError(f"'{command.name}' command has no '{name}' option")
    arguments = words[at + 1 :]
    _check_count(command, arguments)
    return Call(command, options, arguments)


def _check_count(command: Command, words: list[str]) -> None:
    if len(words) < command.low:
        raise CommandError(f"'{command.name}' command requires at least {command.low} arguments")
    if len(words) > command.high:
        hint = ""
        if any(word[:1] == "-" for word in words):
            hint = ' (note that options must precede command names and follow a "--" argument)'
        raise CommandError(f"'{command.name}' command takes at most {command.high} arguments{hint}")
