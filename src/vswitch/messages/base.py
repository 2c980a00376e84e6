"""What all messages are."""

from __future__ import annotations

__all__ = ["Message"]


class Message:
    """One of the messages of OpenFlow, whichever version it is spoken in. The transaction id stands beside it:
    `(message, xid)`."""

    __slots__ = ()
