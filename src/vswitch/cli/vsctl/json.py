"""JSON, by what the interpreter has in C for it.

The package `json` loads regular expressions first, which takes longer than all that this command does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["INCOMPLETE", "dumps", "quoted", "scan"]

INCOMPLETE = (ValueError, StopIteration, SystemError)
"""What `scan` raises where a value is not all there. The last is what becomes of the first in Python 3.11, whose
scanner looks for the class of its error in `json.decoder` and does not load that."""


def _refuse(given: object) -> Any:
    raise TypeError(f"{given!r} has no form in JSON")


try:
    from _json import encode_basestring as quoted
    from _json import make_encoder, make_scanner

    class _Context:
        """What the scanner asks for."""

        strict = True
        object_hook = object_pairs_hook = None
        parse_float, parse_int, parse_constant = float, int, float

    _encode: Any = make_encoder(None, _refuse, quoted, None, ":", ",", False, False, False)
    scan: Any = make_scanner(_Context())  # type: ignore[arg-type] # it takes anything that has these
    """The value that begins at a place of a text, and where it ends."""

    def dumps(given: Any) -> str:
        """In its shortest form."""
        return "".join(_encode(given, 0))

except (ImportError, TypeError):  # an interpreter that has them not, or otherwise
    from json import JSONDecoder, JSONEncoder
    from json.encoder import py_encode_basestring as quoted

    scan = vars(JSONDecoder())["scan_once"]

    def dumps(given: Any) -> str:
        """In its shortest form."""
        return JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(given)
