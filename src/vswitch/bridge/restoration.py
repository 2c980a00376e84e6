"""After a process that ended: its megaflows go on forwarding while controllers load the flows anew.

Nothing tells when that is done. A controller sends flows, often many, with barriers between them or without any, and
several tools may do so one after another. So it is taken as done when no flow has been changed for a while: for
`QUIET_NS` if a barrier or a committed bundle came after flows, for `LONG_QUIET_NS` if none did; or when the time that
was set for it is over.

Meanwhile the flows say little of what is wanted. What is answered by them is answered for packets that are the same in
all fields alone, so that no answer stands in the way of a megaflow that is there.

Invariant: once it is over, it does not begin again.
"""

from __future__ import annotations

from collections.abc import Hashable

from vswitch.messages.base import Message
from vswitch.messages.control import BarrierRequest, BundleControl, BundleControlType
from vswitch.messages.flows import FlowMod, GroupMod, MeterMod

__all__ = ["LONG_QUIET_NS", "QUIET_NS", "Restoration"]

QUIET_NS = 1_000_000_000
LONG_QUIET_NS = 3_000_000_000
"""Controllers that load flows in parts pause for less between them."""

_LOADS = (FlowMod, GroupMod, MeterMod)


class Restoration:
    """It takes `most_ns` at most; 0: there is nothing to wait for."""

    def __init__(self, now_ns: int, most_ns: int) -> None:
        self._until_ns = now_ns + most_ns if most_ns else 0
        self._loading: set[Hashable] = set()
        self._changed_ns: int | None = None
        self._quiet_ns = LONG_QUIET_NS

    def __bool__(self) -> bool:
        """Whether it goes on."""
        return self._until_ns > 0

    def note(self, message: Message, session: Hashable, now_ns: int) -> None:
        """A session sent that."""
        if isinstance(message, _LOADS):
            self._loading.add(session)
            self._changed_ns = now_ns
        elif isinstance(message, BarrierRequest):
            if session in self._loading:
                self._changed_ns, self._quiet_ns = now_ns, QUIET_NS
        elif isinstance(message, BundleControl) and message.type == BundleControlType.COMMIT_REQUEST:
            self._changed_ns, self._quiet_ns = now_ns, QUIET_NS

    def is_due(self, now_ns: int) -> bool:
        """Whether it is to end now."""
        if not self._until_ns:
            return False
        quiet = self._changed_ns is not None and now_ns - self._changed_ns >= self._quiet_ns
        return quiet or now_ns >= self._until_ns

    def end(self) -> None:
        """It is over."""
        self._until_ns = 0
        self._loading.clear()
