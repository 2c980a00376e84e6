"""What ports send, and in which order: qdiscs at their devices, as rows of the table QoS say.

A device is known by its ifindex. Of one that nobody here has shaped yet the kernel is asked: a daemon that was killed
may have.

Invariant: a device is shaped by us just while it is a port that is to be; a qdisc of somebody else is left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from vswitch.base.errors import VswitchError
from vswitch.host.qdiscs import Qdiscs
from vswitch.host.qos import Qos, QueueCounters

__all__ = ["Shaping"]


class Shaping:
    """Of all devices."""

    def __init__(self) -> None:
        self._qdiscs = Qdiscs()
        self._known: dict[int, Qos | None] = {}

    def apply(self, ifindex: int, qos: Qos | None) -> None:
        """Shape what a device sends, or leave it as the kernel has it. VswitchError: it cannot be."""
        if ifindex in self._known and self._known[ifindex] == qos:
            return
        if qos is None:
            self._qdiscs.remove(ifindex)
        else:
            self._qdiscs.apply(ifindex, qos)
        self._known[ifindex] = qos

    def release(self, ifindex: int) -> None:
        """It is no port any more."""
        with contextlib.suppress(VswitchError):  # it is gone
            if self._known.pop(ifindex, Qos("")) is not None:
                self._qdiscs.remove(ifindex)

    def forget_all_but(self, ifindexes: Collection[int]) -> None:
        """The others are gone, and their numbers may be given again."""
        for ifindex in [each for each in self._known if each not in ifindexes]:
            del self._known[ifindex]

    def shaped(self, ifindex: int) -> Qos | None:
        """How a device is shaped by us, with the rates and bursts that the kernel has; None: it is not. VswitchError:
        it is gone."""
        found = self._qdiscs.read(ifindex)
        known = self._known.get(ifindex)
        return known if found is not None and known is not None and found.type != "linux-htb" else found

    def counters(self, ifindex: int) -> dict[int, QueueCounters]:
        """Of each queue of a device. VswitchError: it is gone."""
        return self._qdiscs.statistics(ifindex)

    def close(self) -> None:
        """What was made stays."""
        self._qdiscs.close()
