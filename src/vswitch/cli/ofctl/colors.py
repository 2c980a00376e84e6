"""Flows in colours, as ovs-ofctl has them: names of fields, actions, what stands alone.

`OVS_COLORS` changes them, as in `ac=01;31:dr=34`: ac "actions=", dr "drop", le "learn", pm the name of a field, pr a
word and its parentheses, sp words of their own (`table=`, `output:`), vl a field without a value.
"""

from __future__ import annotations

import os
import re
from functools import cache

__all__ = ["paint"]

_DEFAULTS = {"ac": "01;31", "dr": "34", "le": "31", "pm": "36", "pr": "35", "sp": "33", "vl": "32"}
_SPECIAL = ("table=", "priority=", "load:", "output:", "move:", "group:", "set_field:", "resubmit:")
_ALONE = {
    "exit": "sp",
    "drop": "dr",
    "dec_ttl": "pr",
    "commit": "vl",
    "force": "vl",
    "ct_clear": "vl",
    "strip_vlan": "vl",
    "pop_vlan": "vl",
}
_PLAIN = ("CONTROLLER:",)

_HEAD = re.compile(r"([^\s,=]+=)([^\s,]*)|([^\s,=]+)")
_TAIL = re.compile(
    r"(?<![^,(])(?:([\w-]+\()|(\w+:)|([\w\[\].]+)=|(exit|drop|dec_ttl|commit|force|ct_clear|strip_vlan|pop_vlan)(?![\w(:=]))|(\))|(->)"
)
"""At the beginning of an item: `word(`, `word:`, `word=`, a word of its own; anywhere: `)`, `->`."""


@cache
def _sgr() -> dict[str, str]:
    found = dict(_DEFAULTS)
    for part in os.environ.get("OVS_COLORS", "").split(":"):
        name, _, value = part.partition("=")
        if name in found:
            found[name] = value
    return {name: f"\x1b[{value.removeprefix('0')}m\x1b[K" for name, value in found.items()}


_END = "\x1b[m\x1b[K"


def _in(name: str, text: str) -> str:
    return f"{_sgr()[name]}{text}{_END}"


def paint(text: str) -> str:
    """The lines of flows in colours; other lines as they are."""
    return "\n".join(_line(line) if " actions=" in line else line for line in text.split("\n"))


def _line(line: str) -> str:
    head, _, actions = line.rpartition(" actions=") if line.count(" actions=") == 1 else line.partition(" actions=")
    return f"{_HEAD.sub(_head, head)} {_in('ac', 'actions=')}{_actions(actions)}"


def _head(found: re.Match[str]) -> str:
    name, value, alone = found.groups()
    if alone:
        return _in("vl", alone)
    return f"{_in('sp' if name in _SPECIAL else 'pm', name)}{value}"


def _actions(text: str) -> str:
    closing: list[str] = []

    def colour(found: re.Match[str]) -> str:
        opening, named, set_to, alone, close, arrow = found.groups()
        if opening:
            kind = "le" if opening == "learn(" else "pr"
            closing.append(kind)
            return _in(kind, opening)
        if named:
            return named if named in _PLAIN else _in("sp" if named in _SPECIAL else "pm", named)
        if set_to:
            whole = f"{set_to}="
            if set_to.endswith("]"):  # a field that learn() matches
                return _in("pm", set_to) + _in("pm", "=")
            return _in("sp" if whole in _SPECIAL else "pm", whole)
        if alone:
            return _in(_ALONE[alone], alone)
        if close:
            return _in(closing.pop(), close) if closing else close
        return _in("sp", arrow)

    return _TAIL.sub(colour, text)
