"""For tests of programs and policies: a packet goes into a simulated datapath, and what becomes of it is seen.

from vswitch import Datapath, drop, output
from vswitch.testing import send

def test_web_goes_to_three():
    with Datapath.simulate(ports=3) as dp:
        dp.policy(web_goes_to_three)
        assert send(dp, frame).ports == [3]
        assert send(dp, frame).upcalls == 0  # the megaflow takes it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsBytes

from vswitch.api import Datapath
from vswitch.model import Sent

__all__ = ["Outcome", "Sent", "send"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a packet: what was `sent`, in order, how many `upcalls` it took to the program, of these
    `installed` a megaflow, `failed` those in which the program did (`failure`: what the last of these raised), and
    `drops`: how many packets were dropped, for each reason that occurred, be it one of the datapath's (`DROP_REASONS`)
    or, of packets that came up, one of those of `UpcallStats.drops`."""

    sent: tuple[Sent, ...]
    upcalls: int
    installed: int
    failed: int
    failure: BaseException | None
    drops: dict[str, int]

    @property
    def ports(self) -> Sequence[int]:
        """The numbers of the ports that packets went out of, in the order of `sent`."""
        return [each.port for each in self.sent]

    @property
    def packets(self) -> Sequence[bytes]:
        """The frames that went out, in the order of `sent`."""
        return [each.packet for each in self.sent]


def send(datapath: Datapath, packet: SupportsBytes, in_port: int | str = 1, *, may_fail: bool = False) -> Outcome:
    """Let a packet (bytes, or what `bytes()` makes some of, such as one of scapy) come in by a port, let the program
    answer all that comes up, and see what happened. `in_port`: the port's number or name. What the program raises is
    raised here too, so that a test fails by it, unless it `may_fail`: then it is in the outcome.

    ConfigError: the datapath is not a simulated one, or the frame is not of 14..65549 bytes; NotFoundError: there is no
    such port."""
    drops, before = _drops(datapath, in_port), datapath.upcall_stats
    datapath.sent()
    datapath.start_upcalls()
    datapath.receive(bytes(packet), in_port)
    datapath.run()
    after = datapath.upcall_stats
    failure = datapath.last_failure if after.failed > before.failed else None
    if failure is not None and not may_fail:
        raise failure
    return Outcome(
        tuple(datapath.sent()),
        after.handled - before.handled,
        after.installed - before.installed,
        after.failed - before.failed,
        failure,
        dict(_drops(datapath, in_port) - drops),
    )


def _drops(datapath: Datapath, in_port: int | str) -> Counter[str]:
    """Packets of a port that were dropped so far, and packets that came up, by the reason."""
    return Counter(datapath.ports.stats(in_port).drops) + Counter(datapath.upcall_stats.drops)
