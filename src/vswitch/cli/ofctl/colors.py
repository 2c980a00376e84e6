"""Flows in colours, as ovs-ofctl has them; `OVS_COLORS` changes them, as in `ac=01;31:dr=34`."""

from __future__ import annotations

import os
from functools import cache

from vswitch.text.flow_colors import COLORS, paint_flow

__all__ = ["paint"]


@cache
def _colors() -> dict[str, str]:
    found = dict(COLORS)
    for part in os.environ.get("OVS_COLORS", "").split(":"):
        name, _, value = part.partition("=")
        if name in found:
            found[name] = value
    return found


def paint(text: str) -> str:
    """The lines of flows in colours; other lines as they are."""
    return "\n".join(paint_flow(line, _colors()) if " actions=" in line else line for line in text.split("\n"))
