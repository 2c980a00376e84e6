"""Which messages of the log go where: a level for each module and destination, as `vlog/set` of Open vSwitch has.

A module is a room of vswitch, `other` what is none of them. Invariant: a list of specifications is taken whole, or
nothing of it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from vswitch.base.errors import ConfigError

__all__ = ["DESTINATIONS", "LEVELS", "MODULES", "PATTERNS", "Levels", "level_name"]

DESTINATIONS = ("console", "syslog", "file")
LEVELS = {"off": 60, "emer": 50, "err": 40, "warn": 30, "info": 20, "dbg": 10}
"""As Python's `logging` counts them."""

MODULES = ("api", "bridge", "daemon", "datapath", "other", "ovsdb", "transport", "upcalls", "vswitchd")
PATTERNS = {
    "syslog": ("<%B> ", "vswitch|%05N|%c|%p|%m"),
    "console": ("none", "%D{%Y-%m-%dT%H:%M:%SZ}|%05N|%c|%p|%m"),
    "file": ("none", "%D{%Y-%m-%dT%H:%M:%S.###Z}|%05N|%c|%p|%m"),
}
"""Prefix and form of a line, in Open vSwitch's words; they stay as they are."""


def level_name(number: int) -> str:
    """The name of the level that a message of this number has."""
    return next((name for name, least in LEVELS.items() if name != "off" and number >= least), "dbg").upper()


class Levels:
    """All are at `info` to begin with. `limited`: the modules whose messages have a bound in time."""

    def __init__(self) -> None:
        self._least = {module: dict.fromkeys(DESTINATIONS, LEVELS["info"]) for module in MODULES}
        self.limited = set(MODULES)

    def set(self, specifications: Sequence[str]) -> None:
        """`module:destination:level`, any of them left out, in any order; without a level it is `dbg`. ConfigError: one
        of them says something else."""
        read = [self._read(each) for each in specifications or ("any",)]
        for modules, destinations, level in read:
            for module in modules:
                self._least[module].update(dict.fromkeys(destinations, level))

    def _read(self, specification: str) -> tuple[Sequence[str], Sequence[str], int]:
        modules: Sequence[str] = MODULES
        destinations: Sequence[str] = DESTINATIONS
        level = LEVELS["dbg"]
        if specification.upper().startswith("PATTERN:"):
            raise ConfigError("the form of lines is fixed: PATTERN is not supported")
        for word in specification.replace(",", " ").replace(":", " ").split():
            name = word.lower()
            if name in DESTINATIONS:
                destinations = (name,)
            elif name in LEVELS:
                level = LEVELS[name]
            elif name in MODULES:
                modules = (name,)
            elif name != "any":
                raise ConfigError(f'no destination, level, or module "{word}"')
        return modules, destinations, level

    def limit(self, modules: Sequence[str], *, limited: bool) -> None:
        """Bound the messages of these modules in time, or do not; of all, if none is named."""
        for name in modules:
            if name not in (*MODULES, "any"):
                raise ConfigError("unknown module")
        named = set(MODULES) if not modules or "any" in modules else set(modules)
        self.limited = self.limited | named if limited else self.limited - named

    def passes(self, module: str, destination: str, number: int) -> bool:
        """Whether a message goes there."""
        return number >= self._least[module][destination]

    @property
    def least(self) -> int:
        """The level below which nothing goes anywhere."""
        return min(min(row.values()) for row in self._least.values())

    def as_dict(self) -> dict[str, dict[str, str]]:
        """Names of levels, by module and destination."""
        names = {number: name for name, number in LEVELS.items()}
        return {module: {where: names[least] for where, least in row.items()} for module, row in self._least.items()}

    def text(self) -> str:
        """As `vlog/list` shows them."""
        head = " " * 17 + "console    syslog    file\n" + " " * 17 + "-------    ------    ------\n"
        rows = ((module, *(row[where].upper() for where in DESTINATIONS)) for module, row in self.as_dict().items())
        return head + "".join(f"{name:<16}  {a:>4}       {b:>4}       {c:>4}\n" for name, a, b, c in rows)
