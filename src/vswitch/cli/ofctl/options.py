"""What the options of `vswitch ofctl` mean: versions, formats of flows, names.

A format of flows says how matches and actions are sent: OpenFlow 1.0's own way with or without the extension that names
tables, Nicira's (NXM) likewise, and OXM in OpenFlow 1.2 and later. `-O` and `-F` each allow some; what is used is the
simplest of both that can say what is to be said.
"""

from __future__ import annotations

import re
from argparse import Namespace

from vswitch.base.errors import ConfigError

__all__ = ["FORMATS", "PACKET_IN_FORMATS", "formats_of", "limit_time", "versions_of"]

FORMATS = {
    "OpenFlow10-table_id": 1, "OpenFlow10+table_id": 1, "NXM-table_id": 1, "NXM+table_id": 1, "OpenFlow11": 2,
    "OXM-OpenFlow12": 3, "OXM-OpenFlow13": 4, "OXM-OpenFlow14": 5, "OXM-OpenFlow15": 6,
}  # fmt: skip
"""Formats of flows, and the version that each belongs to."""
_FORMAT_GROUPS = {
    "any": tuple(FORMATS),
    "openflow10": ("OpenFlow10-table_id", "OpenFlow10+table_id"),
    "nxm": ("NXM-table_id", "NXM+table_id"),
    "oxm": ("OXM-OpenFlow12", "OXM-OpenFlow13", "OXM-OpenFlow14", "OXM-OpenFlow15"),
}

PACKET_IN_FORMATS = {
    "standard": 0, "openflow10": 0, "nxt_packet_in": 1, "nxm": 1, "nxt_packet_in2": 2,
}  # fmt: skip


def versions_of(arguments: Namespace, least: int = 1) -> frozenset[int]:
    """The versions that may be spoken (4 is 1.3). Bundles need 1.3 at least, and bring 1.4 along if none is allowed."""
    from vswitch.text.openflow_names import VERSIONS  # the help and the completion do without

    numbers = {name.lower(): number for number, name in VERSIONS.items()}
    numbers |= {name.lower().replace("openflow1", "openflow1."): number for number, name in VERSIONS.items()}
    found = set()
    for word in re.split(r"[,\s]+", arguments.protocols or "OpenFlow10"):
        if word:
            number = numbers.get(word.lower())
            if number is None:
                raise ConfigError(f"no version of OpenFlow is called {word!r}: one of {', '.join(VERSIONS.values())}")
            found.add(number)
    if (arguments.bundle or least >= 4) and not found & {4, 5, 6}:
        found.add(5)
    allowed = {FORMATS[name] for name in formats_of(arguments)}
    if not found & allowed:
        spoken = ", ".join(VERSIONS[number] for number in sorted(found))
        raise ConfigError(f"none of the versions allowed ({spoken}) has the format of flows {arguments.flow_format}")
    return frozenset(found & allowed)


def formats_of(arguments: Namespace) -> frozenset[str]:
    """The formats of flows that may be used."""
    by_name = {name.lower(): (name,) for name in FORMATS} | _FORMAT_GROUPS
    found: set[str] = set()
    for word in re.split(r"[,\s]+", arguments.flow_format or "any"):
        if word:
            names = by_name.get(word.lower())
            if names is None:
                raise ConfigError(f"no format of flows is called {word!r}: any, OpenFlow10, NXM, OXM or one of "
                                  f"{', '.join(FORMATS)}")  # fmt: skip
            found.update(names)
    return frozenset(found)


_ENDED_BY_ALARM = 128 + 14


def limit_time(arguments: Namespace) -> None:
    """From now on the process has as long as `--timeout` says, and ends as SIGALRM would end it."""
    if arguments.timeout is None:
        return
    import signal
    import sys

    def end(_signal: int, _frame: object) -> None:
        sys.stderr.write(f"vswitch: not done after {arguments.timeout} s (--timeout)\n")
        raise SystemExit(_ENDED_BY_ALARM)

    signal.signal(signal.SIGALRM, end)
    signal.alarm(arguments.timeout)
