"""`ovs-vswitchd` and `ovsdb-server` by their own command lines: what `vswitch install-compat` installs as these.

The options that scripts, init systems and containers give them become those of `vswitch vswitchd` and `vswitch ovsdb
server`. Invariant: what is not understood is refused; what is taken and means nothing here is said, once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vswitch.cli.arguments import UsageError

__all__ = ["main", "translated"]

_SAME = {"--detach": False, "--log-file": True, "--private-key": True, "--certificate": True, "--ca-cert": True}
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


def translated(name: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
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
        line, said = translated(name, words)
    except UsageError as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        return 2
    for each in said:
        print(f"{name}: {each}", file=sys.stderr)
    if name == "ovsdb-server":
        line.append(f"--rundir={places.run}")
        if all(word.startswith("-") for word in line[2:]):
            line.append(places.database)
    elif not any(word.startswith("--db=") for word in line):
        line.append(f"--db=unix:{places.socket}")
    return run(line) or 0


if __name__ == "__main__":
    sys.exit(main())
