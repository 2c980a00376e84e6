"""Values as Open vSwitch's programs write them for people: `5`, `br0`, `"a b"`, `[1, 2]`, `{k=v}`."""

from __future__ import annotations

import re

from vswitch.ovsdb.framing import dumps
from vswitch.ovsdb.types import Atom, Type, Value
from vswitch.ovsdb.values import is_uuid

__all__ = ["atom_text", "value_text"]

_BARE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]*", re.ASCII)


def atom_text(atom: Atom, kind: str) -> str:
    """One atom of this kind. Strings that could be taken for something else are in quotes."""
    if kind == "boolean":
        return "true" if atom else "false"
    if kind == "real":
        return f"{atom:.15g}"
    if kind != "string":
        return str(atom)
    text = str(atom)
    is_bare = _BARE.fullmatch(text) and text not in ("true", "false") and not is_uuid(text.lower())
    return text if is_bare else dumps(text)


def value_text(kind: Type, value: Value) -> str:
    """A whole value."""
    if kind.value is not None:
        pairs = (f"{atom_text(key, kind.key.kind)}={atom_text(atom, kind.value.kind)}" for key, atom in value)
        return "{" + ", ".join(pairs) + "}"
    atoms = ", ".join(atom_text(atom, kind.key.kind) for atom in value)
    return f"[{atoms}]" if kind.high > 1 or not value else atoms
