"""`ovs-vswitchd`, `ovsdb-server` and `ovs-ctl` by their own command lines, as `vswitch install-compat` installs them.

What scripts, init systems and containers give them becomes options of `vswitch vswitchd`, `vswitch ovsdb server` and
`vswitch start` and its like. Invariant: what is not understood is refused; what means nothing here is taken, and said.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vswitch.cli.arguments import UsageError

__all__ = ["main", "translated", "translated_life"]

_SAME = {"--detach": False, "--private-key": True, "--certificate": True, "--ca-cert": True}
"""Options that are the same here, and whether they have a value."""

_TAKEN = ("--no-chdir", "--mlockall", "--overwrite-pidfile", "--no-self-confinement", "--monitor", "--pidfile")
_TAKEN_WITH_VALUE = ("--user", "--unixctl", "--syslog-method", "--bootstrap-ca-cert", "--peer-ca-cert")
_MEANINGLESS = {
    "--monitor": "who starts the daemon, such as systemd, has to start it again",
    "--user": "it stays root, which eBPF programs need",
    "--unixctl": "the control socket is in the run directory",
    "--bootstrap-ca-cert": "certificates are files that are there before",
    "--peer-ca-cert": "no certificates are sent to peers",
}


_LIFE = ("start", "stop", "restart", "status", "force-reload-kmod")
_OF_STARTING = ("--system-id", "--db-file", "--verbose")
_TAKEN_BY_CTL = (
    "--no-mlockall", "--no-monitor", "--no-full-hostname", "--no-record-hostname", "--ovs-user", "--daemon-cwd",
    "--ovsdb-server-priority", "--ovs-vswitchd-priority", "--ovs-vswitchd-options", "--ovsdb-server-options",
    "--db-schema", "--system-type", "--system-version", "--hostname", "--extra-dbs",
)  # fmt: skip


def translated_life(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """That of `ovs-ctl`, whose options may stand before the command. UsageError: a word that is not understood."""
    commands = [word for word in words if not word.startswith("-")]
    if len(commands) != 1 or commands[0] not in _LIFE:
        raise UsageError(f"ovs-ctl: {' '.join(commands) or 'nothing'} is none of the commands {', '.join(_LIFE)}")
    line, said = [commands[0]], []
    for word in words:
        option = word.partition("=")[0]
        if option in _OF_STARTING:
            if commands[0] not in ("stop", "status"):  # they have nothing to start
                line.append(word)
        elif option in _TAKEN_BY_CTL:
            said.append(f"{option} means nothing here")
        elif word.startswith("-"):
            raise UsageError(f"ovs-ctl: option {word} is not understood")
    return line, said


def translated(name: str, words: Sequence[str], log_folder: str) -> tuple[list[str], list[str]]:
    """The command line for vswitch, and what is to be said of it. UsageError: a word that is not understood."""
    is_server = name == "ovsdb-server"
    line, said, places = (["ovsdb", "server"] if is_server else ["vswitchd"]), [], []
    left = list(words)
    while left:
        word = left.pop(0)
        option, equals, value = word.partition("=")
        if option in ("-v", "--verbose") or (word.startswith("-v") and not word.startswith("--")):
            level = value if option == "--verbose" else word[2:]
            line.append(f"--verbose={level or 'dbg'}")
        elif option == "--remote" and is_server:
            line.append(f"--remote={value if equals else _value(option, left)}")
        elif value.startswith("db:"):
            said.append(f"{word}: keys and certificates that a database names are not looked at")
        elif option == "--log-file":  # its value, if it has one, stands behind "=": the next word may be a database
            line.append(f"--log-file={value or f'{log_folder}/{name}.log'}")
        elif option in _SAME:
            line += [f"{option}={value if equals else _value(option, left)}"] if _SAME[option] else [option]
        elif option in _TAKEN or option in _TAKEN_WITH_VALUE:
            if option in _TAKEN_WITH_VALUE and not equals:
                value = _value(option, left)
            said += _remarks(option, value, name)
        elif word.startswith("-"):
            raise UsageError(f"{name}: option {word} is not understood")
        else:
            places.append(word)
    if is_server:
        return [*line, *places], said
    if len(places) > 1:
        raise UsageError(f"{name}: {len(places)} databases are given, {', '.join(places)}; it follows one")
    return [*line, *(f"--db={place}" for place in places)], said


def _remarks(option: str, value: str, name: str) -> list[str]:
    if option == "--pidfile" and value:
        return [f"{option}={value}: the pid file is in the run directory, {name}.pid"]
    return [f"{option} means nothing here: {_MEANINGLESS[option]}"] if option in _MEANINGLESS else []


def _value(option: str, left: list[str]) -> str:
    if not left:
        raise UsageError(f"option {option} needs a value")
    return left.pop(0)


def main() -> int:
    """`python -m vswitch.cli.borrowed NAME WORD...`; without a database, `ovs-vswitchd` follows that of the server in
    its run directory, and `ovsdb-server` serves conf.db."""
    import os

    from vswitch.base.places import Places
    from vswitch.cli.main import main as run

    name, *words = sys.argv[1:]
    places = Places.of(os.environ)
    try:
        line, said = translated_life(words) if name == "ovs-ctl" else translated(name, words, places.log_folder)
    except UsageError as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        return 2
    for each in said:
        print(f"{name}: {each}", file=sys.stderr)
    if name == "ovsdb-server":
        line.append(f"--rundir={places.run}")
        if all(word.startswith("-") for word in line[2:]):
            line.append(places.database)
    elif name == "ovs-vswitchd" and not any(word.startswith("--db=") for word in line):
        line.append(f"--db=unix:{places.socket}")
    return run(line) or 0


if __name__ == "__main__":
    sys.exit(main())
