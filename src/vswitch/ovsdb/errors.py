"""What the database says when it says no: an error object of RFC 7047, or of Open vSwitch's ovsdb-server.

Invariant: `name` is one of the strings in `NAMES`, which clients compare; `details` is for people.
"""

from __future__ import annotations

import json

from vswitch.base.errors import VswitchError

__all__ = ["NAMES", "FramingError", "LogError", "OvsdbError", "constraint_violation", "syntax_error"]

NAMES = frozenset(
    {
        "aborted",
        "constraint violation",
        "domain error",
        "duplicate uuid",
        "duplicate uuid-name",
        "I/O error",
        "not allowed",
        "not owner",
        "not supported",
        "ovsdb error",
        "range error",
        "referential integrity violation",
        "resources exhausted",
        "syntax error",
        "timed out",
        "unknown column",
        "unknown database",
        "unknown function",
        "unknown mutator",
    }
)

_MAX_SYNTAX_CHARACTERS = 1000
"""Of what is wrong, as the error repeats it."""


class OvsdbError(VswitchError):
    """A request that is refused. `syntax`: the JSON that is wrong, if that is what is wrong."""

    def __init__(self, name: str, details: str, syntax: object = None) -> None:
        assert name in NAMES, name
        super().__init__(f"{name}: {details}")
        self.name = name
        self.details = details
        self.syntax = syntax

    def to_json(self) -> dict[str, object]:
        """The object that a client gets."""
        found: dict[str, object] = {"error": self.name, "details": self.details}
        if self.syntax is not None:
            text = json.dumps(self.syntax, separators=(",", ":"), sort_keys=True)
            found["syntax"] = text[:_MAX_SYNTAX_CHARACTERS]
        return found


class FramingError(VswitchError):
    """What a peer sends is no JSON-RPC, or passes a bound: the connection ends."""


class LogError(VswitchError):
    """A file is no database that can be read here."""


def syntax_error(details: str, syntax: object = None) -> OvsdbError:
    """The JSON is not of the form that is asked for."""
    return OvsdbError("syntax error", details, syntax)


def constraint_violation(details: str, syntax: object = None) -> OvsdbError:
    """A value that the schema does not allow."""
    return OvsdbError("constraint violation", details, syntax)
