"""The rules that are measured, each in the notation of every contestant that knows rules.

They take the flows of `bench.frames`, entering by port 1, and send them to port 2.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from bench.frames import DISCARD_PORT, TARGET, source_of
from vswitch.fields import FIELDS
from vswitch.model.actions import Output
from vswitch.model.match import Match
from vswitch.model.megaflow import Rule
from vswitch.text import format_match

__all__ = ["EXACT", "OUTPUT", "Flow", "exact_rules", "spread"]

OUTPUT = (Output(2),)

EXACT = Match(in_port=1, ipv4_src=0, ipv4_dst=0, udp_src=0, udp_dst=0).mask
"""The mask of one flow: input port and five-tuple."""

_NUMBERS = {"tcp": 6, "udp": 17}
_OPENFLOW_NAMES = {"ipv4_src": "ip_src", "ipv4_dst": "ip_dst"}


@dataclass(frozen=True, slots=True)
class Flow:
    """What a rule asks of packets from port 1, besides being UDP (or TCP) over IPv4: the arguments of Match()."""

    fields: dict[str, str | int]
    protocol: str = "udp"

    @property
    def match(self) -> Match:
        return Match(in_port=1, **self.fields)

    def rule(self) -> Rule:
        return Rule(self.match, OUTPUT)

    def openflow(self) -> str:
        """For ovs-ofctl."""
        written = [f"{_OPENFLOW_NAMES.get(name, name)}={value}" for name, value in self.fields.items()]
        return ",".join([self.protocol, "in_port=1", *written, "actions=output:2"])

    def datapath(self) -> str:
        """For ovs-dpctl, to which a rule that does not speak of Ethernet is one for packets without, which does not
        conclude from udp() or tcp() what the protocol is, and whose kernel wants to hear of TCP's flags."""
        text = format_match(self.match).replace("ipv4(", f"ipv4(proto={_NUMBERS[self.protocol]},")
        if self.protocol == "tcp":
            text += ",tcp_flags(0/0)"
        return text if "eth(" in text else text.replace("eth_type(", "eth(),eth_type(")


def spread(flows: int, masks: int, eth_src: str) -> list[Flow]:
    """One rule for each of the first `flows` flows, under `masks` (32 at most) different masks in turn, disjoint by the
    source port."""
    assert 1 <= masks <= 32, masks
    made = []
    for number in range(flows):
        address, port = source_of(number)
        mask = number % masks
        network = ipaddress.ip_network((address, 32 - mask % 8), strict=False)
        fields: dict[str, str | int] = {"udp_src": port, "ipv4_src": str(network)}
        if mask & 8:
            fields["udp_dst"] = DISCARD_PORT
        if mask & 16:
            fields["eth_src"] = eth_src
        made.append(Flow(fields))
    return made


def exact_rules(first: int, count: int) -> Iterator[Rule]:
    """Rules for flows by input port and five-tuple, made quickly: for millions of them."""
    base = Match(in_port=1, ipv4_src=0, ipv4_dst=TARGET, udp_src=0, udp_dst=DISCARD_PORT).value
    source, port = FIELDS["ipv4_src"], FIELDS["udp_src"]
    for number in range(first, first + count):
        address, source_port = source_of(number)
        value = base | source.place(address) | port.place(source_port)
        yield Rule(Match.from_ints(value, EXACT), OUTPUT)
