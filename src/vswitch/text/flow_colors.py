"""Colours of dumped flows on a terminal, as `ovs-ofctl --color` gives them: over the finished text, word by word.

The escape sequences are those of GREP_COLORS: begin with `ESC [ N m ESC [ K`, end with `ESC [ m ESC [ K`. N is called
by two letters, as in OVS_COLORS: ac is of "actions=", dr of "drop", le of learn, pm of a name, pr of a word and its
parentheses, sp of words of their own (`table=`, `output:`), vl of what has no value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from vswitch.text.flow_match import PROTOCOLS

__all__ = ["COLORS", "paint_flow"]

COLORS = {"ac": "1;31", "dr": "34", "le": "31", "pm": "36", "pr": "35", "sp": "33", "vl": "32"}
_ACTIONS, _DROP, _LEARN, _NAME, _CALL, _SPECIAL, _WORD = COLORS

_FLAGS = (
    "send_flow_rem", "delete_learned", "commit", "force", "random", "hash", "persistent", "pause", "ct_clear",
    "clear_actions", "pop_vlan", "strip_vlan", "pop_queue",
)  # fmt: skip
_TOKEN = re.compile(
    r"(?:(?<=[\s,(])|^)(?:"
    rf"(?P<special>exit|output(?=\()|(?:load|set_field|move|output|resubmit):|(?:table|priority)=)"
    rf"|(?P<word>(?:{'|'.join(_FLAGS)})(?![\w=:(]))"
    r"|(?P<call>(?P<called>[a-z][a-z0-9_]*)\(|dec_ttl(?![\w(]))"
    r"|(?P<name>(?:[a-z]|[NO]XM_)[A-Za-z0-9_]*(?:\[[0-9.]*\])?[=:]|NXM_[A-Z0-9_]+\[[0-9.]*\](?=[,)])|ingress|egress)"
    r")"
    r"|(?P<arrow>->)|(?P<open>\()|(?P<close>\))"
)
_HEAD = re.compile(
    r"(?:(?<=[\s,])|^)(?:(?P<special>(?:table|priority)=)|(?P<name>[a-z][a-z0-9_]*=)"
    rf"|(?P<word>(?:{'|'.join(sorted(PROTOCOLS, key=len, reverse=True))})(?=[,\s]|$)))"
)


def paint_flow(text: str, colors: Mapping[str, str] = COLORS) -> str:
    """A dumped flow with its words in colours."""

    def paint(kind: str, words: str) -> str:
        return f"\x1b[{colors[kind]}m\x1b[K{words}\x1b[m\x1b[K"

    head, found, actions = text.partition("actions=")
    painted = _HEAD.sub(lambda each: paint(_kind_in_head(each), each[0]), head)
    if not found:
        return painted
    if actions == "drop":
        return painted + paint(_ACTIONS, found) + paint(_DROP, actions)
    return painted + paint(_ACTIONS, found) + _paint_actions(actions, paint)


def _kind_in_head(found: re.Match[str]) -> str:
    return _SPECIAL if found["special"] else _NAME if found["name"] else _WORD


def _paint_actions(text: str, paint: Callable[[str, str], str]) -> str:
    """Parentheses have the colour of the word before them, to their end."""
    kinds: list[str] = []

    def painted(found: re.Match[str]) -> str:
        if found["open"]:
            kinds.append("")
            return "("
        if found["close"]:
            kind = kinds.pop() if kinds else ""
            return paint(kind, ")") if kind else ")"
        if found["called"]:
            kinds.append(_LEARN if found["called"] == "learn" else _CALL)
            return paint(kinds[-1], found[0])
        if found["name"] and kinds and not kinds[-1]:
            return found[0]
        if found["special"] or found["arrow"]:
            return paint(_SPECIAL, found[0])
        if found[0].endswith("]="):  # a field that learn matches
            return paint(_NAME, found[0][:-1]) + paint(_NAME, "=")
        return paint(_WORD if found["word"] else _CALL if found["call"] else _NAME, found[0])

    return _TOKEN.sub(painted, text)
