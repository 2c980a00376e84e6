"""What all messages are, and what versions and vendors are called."""

from __future__ import annotations

__all__ = ["NICIRA", "ONF", "Message", "version_name"]

NICIRA, ONF = 0x00002320, 0x4F4E4600
"""Experimenters whose extensions are known."""


def version_name(version: int) -> str:
    """The number of a version on the wire as people write it: 4 is "1.3"."""
    return f"1.{version - 1}"


class Message:
    """One of the messages of OpenFlow, whichever version it is spoken in. The transaction id stands beside it:
    `(message, xid)`."""

    __slots__ = ()
