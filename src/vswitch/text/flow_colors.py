"""Colours of dumped flows on a terminal, as `ovs-ofctl --color` gives them: over the finished text, word by word.

The escape sequences are those of GREP_COLORS: begin with `ESC [ N m ESC [ K`, end with `ESC [ m ESC [ K`.
"""

from __future__ import annotations

import re

from vswitch.text.flow_match import PROTOCOLS

__all__ = ["paint_flow"]

_ACTIONS, _DROP, _LEARN, _WORD, _SPECIAL, _CALL, _NAME = "1;31", "34", "31", "32", "33", "35", "36"

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


def _paint(color: str, text: str) -> str:
    return f"\x1b[{color}m\x1b[K{text}\x1b[m\x1b[K"


def paint_flow(text: str) -> str:
    """A dumped flow with its words in colours."""
    head, found, actions = text.partition("actions=")
    painted = _HEAD.sub(_paint_head, head)
    if not found:
        return painted
    return (
        painted + _paint(_ACTIONS, found) + (_paint(_DROP, actions) if actions == "drop" else _paint_actions(actions))
    )


def _paint_head(found: re.Match[str]) -> str:
    color = _SPECIAL if found["special"] else _NAME if found["name"] else _WORD
    return _paint(color, found[0])


def _paint_actions(text: str) -> str:
    """Parentheses have the colour of the word before them, to their end."""
    colors: list[str] = []

    def paint(found: re.Match[str]) -> str:
        if found["open"]:
            colors.append("")
            return "("
        if found["close"]:
            color = colors.pop() if colors else ""
            return _paint(color, ")") if color else ")"
        if found["called"]:
            colors.append(_LEARN if found["called"] == "learn" else _CALL)
            return _paint(colors[-1], found[0])
        if found["name"] and colors and not colors[-1]:
            return found[0]
        if found["special"] or found["arrow"]:
            return _paint(_SPECIAL, found[0])
        return _paint(_WORD if found["word"] else _CALL if found["call"] else _NAME, found[0])

    return _TOKEN.sub(paint, text)
