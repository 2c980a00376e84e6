"""Megaflows as the lines that `ovs-dpctl dump-flows` shows, and rules as one writes them.

    rule = ("priority(" N ")" | "idle_timeout(" S ")" | "hard_timeout(" S ")" | match group), ... actions

`in_port(1),eth_type(0x0800), packets:3, bytes:222, used:0.412s, flags:SP., actions:2`: a line that was
written is read as the rule it shows; statistics and `ufid:` are stepped over. Timeouts are in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from vswitch.fields import FIELDS
from vswitch.model.match import Match
from vswitch.model.megaflow import Megaflow, Rule
from vswitch.text.actions import PREFIX, format_actions, parse_actions, read_actions
from vswitch.text.match import MatchReader, format_match
from vswitch.text.scan import Scanner
from vswitch.text.values import Names, Numbers, format_mask, format_value

__all__ = ["format_megaflow", "megaflow_to_json", "parse_rule"]

_TCP_FLAGS = FIELDS["tcp_flags"]
_FLAG_LETTERS = dict(zip(("syn", "fin", "psh", "rst", "urg", "ack", "ece", "cwr", "ns"), "SFPRU.ECN", strict=True))
"""In the order in which Open vSwitch writes them."""
_STATISTICS = ("packets", "bytes", "used", "age", "flags", "ufid", "dp", "offloaded")
_STATISTIC = re.compile(rf"(?:{'|'.join(_STATISTICS)}):[^\s,]*")
_SECONDS = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,20})?")


def format_megaflow(megaflow: Megaflow, names: Names = None, more: bool = False) -> str:
    """One line of a dump, without a line end; times in seconds. in_port and outputs by their names in `names` if they
    have one. `more`: a priority of 0 and the age too."""
    stats = megaflow.stats
    head = [f"priority({megaflow.priority})"] if megaflow.priority or more else []
    for name, timeout in (("idle_timeout", megaflow.idle_timeout_s), ("hard_timeout", megaflow.hard_timeout_s)):
        if timeout is not None:
            head.append(f"{name}({_seconds(timeout)})")
    parts = [
        ",".join((*head, format_match(megaflow.match, names))),
        f"packets:{stats.packets}",
        f"bytes:{stats.bytes}",
        "used:never" if stats.used_s is None else f"used:{stats.used_s:.3f}s",
        *([f"age:{stats.age_s:.3f}s"] if more else []),
        *([f"flags:{_letters(stats.tcp_flags)}"] if stats.tcp_flags else []),
        f"actions:{format_actions(megaflow.actions, names)}",
    ]
    return ", ".join(parts)


def parse_rule(text: str, actions: str | None = None, ports: Numbers = None) -> Rule:
    """The rule that `text` writes, with the actions at its end or in `actions`; in_port and outputs may be names of
    `ports`. Statistics, as a dump has them, are read over. TextError shows where it goes wrong."""
    scanner = Scanner(text)
    reader = MatchReader(scanner, ports)
    head: dict[str, Any] = {}
    begun = ""
    if scanner.peek():
        for position in scanner.items():
            begun = scanner.take_pattern(PREFIX)
            if begun:
                break
            if not scanner.take_pattern(_STATISTIC):
                _read_item(scanner, reader, head, position)
    begun = begun or scanner.take_pattern(PREFIX)
    if begun and actions is not None:
        raise scanner.fail("actions are given twice", scanner.here() - len(begun))
    found = read_actions(scanner, ports) if begun else ()
    scanner.end()
    if not begun:
        if actions is None:
            raise scanner.fail("expected 'actions:'")
        found = parse_actions(actions, ports)
    return Rule(reader.match(), found, **head)


def megaflow_to_json(megaflow: Megaflow, names: Names = None) -> dict[str, Any]:
    """A megaflow for `json.dumps`: texts as in a dump, numbers as numbers, times in seconds, None for never.

    `match` has value and mask of each field, `tcp_flags` the names of those seen; bits of no field are in
    `match_text` only.
    """
    stats = megaflow.stats
    return {
        "match": {name: _to_texts(name, *pair, names) for name, pair in megaflow.match.fields().items()},
        "match_text": format_match(megaflow.match, names),
        "actions_text": format_actions(megaflow.actions, names),
        "priority": megaflow.priority,
        "idle_timeout_s": megaflow.idle_timeout_s,
        "hard_timeout_s": megaflow.hard_timeout_s,
        "packets": stats.packets,
        "bytes": stats.bytes,
        "used_s": stats.used_s,
        "age_s": stats.age_s,
        "tcp_flags": _TCP_FLAGS.format(stats.tcp_flags).split("|") if stats.tcp_flags else [],
    }


def _read_number(scanner: Scanner) -> int:
    return scanner.number("a number")


def _read_seconds(scanner: Scanner) -> float:
    position = scanner.here()
    text = scanner.atom("seconds")
    if not _SECONDS.fullmatch(text):
        raise scanner.fail(f"expected seconds, not {text!r}", position)
    return float(text)


_HEAD: dict[str, tuple[str, Callable[[Scanner], float]]] = {
    "priority": ("priority", _read_number),
    "idle_timeout": ("idle_timeout_s", _read_seconds),
    "hard_timeout": ("hard_timeout_s", _read_seconds),
}
"""What stands beside the match: name in the text -> (attribute of a rule, how its value is read)."""


def _read_item(scanner: Scanner, reader: MatchReader, head: dict[str, Any], position: int) -> None:
    word = scanner.word("a match group or 'actions:'")
    if word not in _HEAD:
        reader.read(word, position)
        return
    attribute, read = _HEAD[word]
    if attribute in head:
        raise scanner.fail(f"{word} is given twice", position)
    head[attribute] = scanner.single(lambda: read(scanner), f"a value of {word}")
    with scanner.blame(position):
        Rule(Match(), **{attribute: head[attribute]})  # the rule itself knows the bounds


def _to_texts(name: str, value: int, mask: int, names: Names) -> dict[str, str]:
    view = FIELDS[name]
    exact = names if mask == view.max else None
    return {"value": format_value(view, value, view.max, exact), "mask": format_mask(view, mask)}


def _seconds(seconds: float) -> str:
    return repr(float(seconds)).removesuffix(".0")


def _letters(tcp_flags: int) -> str:
    named = _TCP_FLAGS.kind.flag_names
    letters = "".join(letter for name, letter in _FLAG_LETTERS.items() if tcp_flags >> named.index(name) & 1)
    return letters + "".join(f"[{1 << bit:x}]" for bit in range(len(named), _TCP_FLAGS.bits) if tcp_flags >> bit & 1)
