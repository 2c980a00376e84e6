"""A tunnel between two switches, in a format that only Python knows: it wraps each packet, and unwraps it.

    sudo python examples/tunnel.py sw0 veth1 eth1 10.9.0.101 10.9.0.102 tunnel.key

makes the switch sw0 with a host, or a network of them, at veth1, and at eth1 the Ethernet where the other end is. That
one has the two addresses, which are the tunnel's and no machine's, the other way round, and the same key (`head -c 32
/dev/urandom > tunnel.key`). Ctrl-C ends and removes the switch, and tells what was dropped.

Frames of the host travel in UDP behind a number and a keyed hash: signed, not secret, and not again (of numbers an end
knows those since its start). What else comes by eth1 is for the machine, which is on that Ethernet by the device sw0,
and stays in the kernel. Wrapping takes 70 bytes: hosts need an MTU that is so much smaller than eth1's (`ip link set
eth0 mtu 1400`), or longer packets are dropped and counted. Offloads may stay on.
"""

from __future__ import annotations

import struct
import sys
import time
from contextlib import suppress
from hmac import compare_digest, digest
from ipaddress import IPv4Address
from pathlib import Path

from vswitch import Datapath, Drop, Miss, Output, Packet, PolicyAnswer, Userspace, arp_reply, drop, output
from vswitch.packet import build, segment

LOCAL, HOST, UNDERLAY = 0, 1, 2
ARP, REQUEST, IPV4, UDP, PORT = 0x0806, 1, 0x0800, 17, 7471
HEADER, MAGIC = struct.Struct("!4sQ16s"), b"vst1"  # magic, number, hash
IP_AT, DATA_AT = 14, 42  # in a frame of the underlay, which has no IP options
REASONS = ("of another kind", "too long", "nowhere to go", "cut", "of no tunnel", "forged", "again or too late")
TOO_LONG, NOWHERE, CUT, FOREIGN, FORGED, LATE = map(Drop, range(1, 7))


def main(name: str, host: str, underlay: str, own: str, peer: str, key: str) -> None:
    """Make a datapath and carry packets until Ctrl-C."""
    with Datapath.create(name, ports=[host, underlay], port_quota_bytes=2 << 20) as dp:  # TCP comes up in bursts
        tunnel = Tunnel(dp, own, peer, Path(key).read_bytes())
        dp.policy(tunnel.decide)
        dp.on_miss(tunnel.carry)
        with suppress(KeyboardInterrupt):
            print(f"{dp} is an end of a tunnel; Ctrl-C ends it", flush=True)
            dp.run()
        for reason, packets in dp.explicit_drops().items():
            print(f"dropped, {REASONS[reason]}: {packets}")


class Tunnel:
    """One end. `decide`, a policy, says what Python takes up for good; `carry` what becomes of that."""

    def __init__(self, dp: Datapath, own: str, peer: str, key: bytes) -> None:
        if len(key) < 16:
            sys.exit(f"a key of {len(key)} bytes is too short")
        self.dp, self.key, self.mtu = dp, key, dp.ports[UNDERLAY].mtu
        self.own, self.peer = int(IPv4Address(own)), int(IPv4Address(peer))
        self.mac, self.peer_mac = 0x0200 << 32 | self.own, 0
        self.number, self.heard = time.time_ns(), 0  # grows from one run to the next, too

    def decide(self, packet: Packet) -> PolicyAnswer:
        if packet.in_port == HOST:
            return Userspace()
        if packet.in_port == LOCAL:
            return output(UNDERLAY)
        if packet.arp_tpa == self.own:
            if packet.arp_spa == self.peer:
                self.peer_mac = int(packet.arp_sha)
            return arp_reply(packet, self.mac) if packet.arp_op == REQUEST else drop
        if packet.ipv4_dst == self.own:
            return Userspace() if packet.ipv4_src == self.peer and packet.udp_dst == PORT else drop
        return output(LOCAL)

    def carry(self, miss: Miss) -> None:
        miss.send(self.wrap(miss) if miss.port == HOST else self.unwrap(miss.packet))

    def wrap(self, miss: Miss) -> Drop | tuple[()]:
        if not self.peer_mac:
            question = build.arp(REQUEST, self.mac, self.own, 0, self.peer)
            self.dp.execute(build.ethernet((1 << 48) - 1, self.mac, ARP, question), Output(UNDERLAY))
            return NOWHERE
        for frame in segment.cut(miss.packet, miss.offload.header):  # a host leaves TCP to be cut by its network card
            self.number += 1
            data = HEADER.pack(MAGIC, self.number, self.hash(self.own, self.number, frame)) + frame
            packet = build.ipv4(self.own, self.peer, UDP, build.udp(PORT, PORT, data))
            if len(packet) > self.mtu:
                return TOO_LONG
            self.dp.execute(build.ethernet(self.peer_mac, self.mac, IPV4, packet), Output(UNDERLAY), in_port=HOST)
        return ()

    def unwrap(self, packet: bytes) -> Drop | tuple[()]:
        data = packet[DATA_AT : IP_AT + int.from_bytes(packet[IP_AT + 2 : IP_AT + 4], "big")]
        if len(data) < HEADER.size + IP_AT:
            return CUT
        (magic, number, signature), frame = HEADER.unpack_from(data), data[HEADER.size :]
        if magic != MAGIC or not compare_digest(signature, self.hash(self.peer, number, frame)):
            return FORGED if magic == MAGIC else FOREIGN
        if number <= self.heard:
            return LATE
        self.heard = number
        self.dp.execute(frame, Output(HOST), in_port=UNDERLAY)
        return ()

    def hash(self, sender: int, number: int, frame: bytes) -> bytes:
        return digest(self.key, struct.pack("!IQ", sender, number) + frame, "sha256")[:16]


if __name__ == "__main__":
    if len(sys.argv) < 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
