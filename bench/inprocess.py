"""A bridge whose program is its controller: `python -m bench.inprocess NAME MANAGEMENT PORT...`.

It does for each TCP connection what `bench.osken_flows` does, and says "running" when it is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

from bench.openflow import MAX_MEGAFLOWS
from vswitch import Bridge
from vswitch.bridge.collection import seldom
from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.actions import Output
from vswitch.messages.flows import FlowCommand, FlowMod, PacketIn, PacketOut
from vswitch.messages.match import FlowMatch

__all__ = ["main"]

_NAMES = ("in_port", "eth_type", "ip_proto", "ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst")
_PLACE = [OPENFLOW_FIELDS[name].view.place for name in _NAMES]
_MASK = sum(OPENFLOW_FIELDS[name].view.mask for name in _NAMES)
_OUTPUTS = {port: (Output(port),) for port in range(1, 5)}


def _flow(out_port: int, *values: int) -> FlowMod:
    value = 0
    for place, number in zip(_PLACE, values, strict=True):
        value |= place(number)
    match = FlowMatch.from_ints(value, _MASK)
    return FlowMod(FlowCommand.ADD, match, _OUTPUTS[out_port], 100, cookie=1, idle_timeout_s=10)


def main() -> None:
    name, management, *ports = sys.argv[1:]
    with Bridge.create(
        name, ports=ports, local=False, fail_mode="secure", management=management, max_megaflows=MAX_MEGAFLOWS
    ) as bridge:

        @bridge.on_packet_in
        def packet_in(packet: PacketIn) -> None:
            frame, in_port = packet.frame, packet.in_port
            if len(frame) < 54 or frame[12:15] != b"\x08\x00\x45" or frame[23] != 6:
                return
            out_port = (in_port - 1 ^ 1) + 1
            one, two = (int.from_bytes(frame[at : at + 4], "big") for at in (26, 30))
            here, there = (int.from_bytes(frame[at : at + 2], "big") for at in (34, 36))
            bridge.send(
                _flow(out_port, in_port, 0x0800, 6, one, two, here, there),
                _flow(in_port, out_port, 0x0800, 6, two, one, there, here),
                PacketOut(frame, _OUTPUTS[out_port], FlowMatch(in_port=in_port)),
            )

        async def serve() -> None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, bridge.stop)
            await bridge.serve(lambda: print("running", flush=True))

        with seldom(), contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())


if __name__ == "__main__":
    main()
