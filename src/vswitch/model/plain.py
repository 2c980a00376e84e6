"""Actions as plain values and back: what JSON can carry, and what the datapath keeps beside a compiled list.

An action is a list: its class's name, then its members in order; nested action lists are lists of such, bytes are
hexadecimal text. Invariant: `actions_from_plain(actions_to_plain(a)) == a`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.model import actions as model
from vswitch.model.actions import Action, check_actions

__all__ = ["actions_from_plain", "actions_to_plain"]

_CLASSES: dict[str, type[Any]] = {
    name: getattr(model, name) for name in model.__all__ if isinstance(getattr(model, name), type)
}


def actions_to_plain(actions: tuple[Action, ...]) -> list[Any]:
    """`[["Output", 2], ["Clone", [["Output", 3]]]]`"""
    return [[type(each).__name__, *(_member(getattr(each, f.name)) for f in fields(each))] for each in actions]


def _member(value: Any) -> Any:
    if isinstance(value, tuple):
        return actions_to_plain(value)
    return value.hex() if isinstance(value, bytes) else value


def actions_from_plain(plain: list[Any]) -> tuple[Action, ...]:
    """What `actions_to_plain` gave. ConfigError for anything else."""
    if not isinstance(plain, list):
        raise ConfigError(f"{plain!r} is not a list of actions")
    found = []
    for entry in plain:
        if not isinstance(entry, list) or not entry or entry[0] not in _CLASSES:
            raise ConfigError(f"{entry!r} is not an action")
        cls = _CLASSES[entry[0]]
        if cls is model.Userspace:
            found.append(cls(bytes.fromhex(entry[1])))
        else:
            found.append(cls(*(actions_from_plain(m) if isinstance(m, list) else m for m in entry[1:])))
    return check_actions(found)
