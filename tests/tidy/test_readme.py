"""The bounds that README.md tells are those that hold."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from tests.tidy.source import ROOT
from vswitch import ConfigError, Options
from vswitch.base import limits

README = (ROOT / "README.md").read_text(encoding="utf-8")
UNITS = {"": 0, "KB": 10, "M": 20, "MB": 20, "GB": 30}

FIXED = {
    "port numbers": f"0..{limits.MAX_PORT}",
    "actions of one megaflow, nested ones included": f"{limits.MAX_ACTIONS}, nested {limits.MAX_ACTION_DEPTH} deep",
    "recirculations of one packet": str(limits.MAX_RECIRCULATIONS),
    "user data of an upcall": f"{limits.MAX_USERDATA_BYTES} bytes",
    "priorities": f"0..{limits.MAX_PRIORITY}",
    "timeouts": f"1 ms to {limits.MAX_TIMEOUT_S // 86400} days",
    "IPv6 extension headers followed": f"{limits.MAX_EXTENSION_HEADERS}, within {limits.PARSE_BYTES} bytes",
    "MPLS labels seen": str(limits.MAX_MPLS_LABELS),
    "options of a neighbour discovery message looked at": str(limits.MAX_ND_OPTIONS),
    "characters of a flow text": f"{limits.MAX_TEXT_CHARACTERS:,}",
}


def number(text: str) -> int:
    """`512 KB`, `65,536`"""
    digits, _, unit = text.partition(" ")
    return int(digits.replace(",", "")) << UNITS[unit]


@pytest.mark.parametrize("what", FIXED)
def test_fixed_bound(what: str) -> None:
    assert f"| {what} | {FIXED[what]} |\n" in README


@pytest.mark.parametrize("size", [field.name for field in fields(Options)])
def test_size_of_a_datapath(size: str) -> None:
    row = re.search(rf"^\| `{size}` [^|]+\| ([^|]+) \| ([^|]+) \|", README, re.MULTILINE)
    assert row
    default, most = map(number, row.groups())
    assert default == getattr(Options(), size)
    Options(**{size: most})
    with pytest.raises(ConfigError):
        Options(**{size: 2 * most if size == "ring_bytes" else most + 1})
