"""What the commands share: finding the datapath that one is about, reading flows, names of ports, JSON.

Looking at a datapath needs no control, and goes on beside the process that has it.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from vswitch import ConfigError, Datapath, Rule, parse_rule

__all__ = ["controlling", "names_for", "number", "print_json", "read_flow", "reading"]


def reading(name: str | None) -> Datapath:
    """The datapath called so, or the only one, to look at."""
    return Datapath.open(_the_one(name), control=False)


def controlling(name: str | None) -> Datapath:
    """The datapath called so, or the only one, to be changed. BusyError if another process controls it."""
    return Datapath.open(_the_one(name))


def _the_one(name: str | None) -> str:
    if name is not None:
        return name
    names = Datapath.list()
    if len(names) == 1:
        return names[0]
    if not names:
        raise ConfigError("there is no datapath")
    raise ConfigError(f"there are {len(names)} datapaths: say which of {', '.join(names)}")


def names_for(datapath: Datapath, arguments: Namespace) -> dict[int, str] | None:
    """The ports' names, if the output is to have them."""
    wanted = arguments.names
    if wanted is None:
        wanted = arguments.more or sys.stdout.isatty()
    return datapath.ports.names() if wanted else None


def read_flow(text: str, ports: dict[str, int]) -> Rule:
    """What a command means by FLOW: a match and a priority; a line of a dump is one as well."""
    has_actions = "actions:" in text or "actions=" in text
    return parse_rule(text, None if has_actions else "", ports)


def number(value: float) -> str:
    """Without a fraction if there is none."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def print_json(value: Any) -> None:
    """For programs; for people it is indented."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None))
