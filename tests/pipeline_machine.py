"""The simulated datapath's way with packets, by megaflows that translation makes, kept as a bridge does."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from tests.pipeline import LOCAL, PlainView
from vswitch.datapath.simulated.execute import Forwarder, SimulatedPacket
from vswitch.fields.registry import KEY_BYTES, SLOTS
from vswitch.model import actions as dp
from vswitch.model.actions import Action
from vswitch.model.sent import Sent
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import ControllerSend, Effect, Translation

IN_PORT = SLOTS["in_port"]
DATAPATH = (1 << 8 * KEY_BYTES) - 1


class Machine(Forwarder):
    """`megaflows`: (mask, value, answer). What a packet led to: `sent`, `up` (what a controller was sent, the frame),
    `effects`. `errors`: of answers that are drops for a reason."""

    def __init__(self, view: PlainView) -> None:
        super().__init__(self, None, None, memoryview(b""), lambda: 0, Random(0))  # type: ignore[arg-type]
        self.view = view
        self.megaflows: list[tuple[int, int, Translation]] = []
        self.actions: list[tuple[Action, ...]] = []
        self.sends: list[ControllerSend] = []
        self.up: list[tuple[ControllerSend, bytes]] = []
        self.effects: list[Effect] = []
        self.errors: list[str] = []
        self.drops: Counter[str] = Counter()

    def receive(self, frame: bytes, in_port: int, skb_mark: int = 0, skb_priority: int = 0) -> None:
        self.sent: list[Sent] = []
        self.up, self.effects, self.errors = [], [], []
        port = 0 if in_port == LOCAL else in_port
        self.look_up(SimulatedPacket(frame, port, skb_mark=skb_mark, skb_priority=skb_priority))

    # ---- as flows

    def lookup(self, key: int) -> int | None:
        number = IN_PORT.take(key)
        key = key & ~IN_PORT.mask | IN_PORT.place(LOCAL if number == 0 else number)
        slot = self._known(key)
        answer = self.megaflows[slot][2]
        self.effects.extend(answer.effects)
        if answer.error:
            self.errors.append(answer.error)
        return slot

    def _known(self, key: int) -> int:
        for slot, (mask, value, _) in enumerate(self.megaflows):
            if key & mask == value:
                return slot
        answer = translate(self.view, key, None, 0)
        mask = answer.mask & DATAPATH
        self.megaflows.append((mask, key & mask, answer))
        first = len(self.sends)
        self.sends.extend(answer.controllers)
        self.actions.append(renumbered(answer.actions, first))
        return len(self.megaflows) - 1

    def count(self, slot: int, size: int, key: int) -> None:
        pass

    def rule(self, slot: int) -> Any:
        return type("R", (), {"actions": self.actions[slot]})

    # ---- as ports and ring

    def output(self, packet: SimulatedPacket, number: int, longest: int) -> None:
        frame = packet.frame[:longest] if longest else packet.frame
        self.sent.append(
            Sent(LOCAL if number == 0 else number, frame, packet.skb_mark, packet.skb_priority, packet.tunnel)
        )

    def _drop(self, packet: SimulatedPacket, reason: str) -> None:
        self.drops[reason] += 1

    def _send_up(self, packet: SimulatedPacket, reason: Any, longest: int, userdata: bytes) -> str:
        self.up.append((self.sends[int.from_bytes(userdata, "big")], packet.frame))
        return ""


def renumbered(actions: tuple[Action, ...], first: int) -> tuple[Action, ...]:
    """With user data that is unique among all megaflows."""
    found: list[Action] = []
    for action in actions:
        match action:
            case dp.Userspace(data):
                action = dp.Userspace((int.from_bytes(data, "big") + first).to_bytes(4, "big"))
            case dp.Clone(inner):
                action = dp.Clone(renumbered(inner, first))
            case dp.CheckPacketLength(length, greater, less):
                action = dp.CheckPacketLength(length, renumbered(greater, first), renumbered(less, first))
        found.append(action)
    return tuple(found)
