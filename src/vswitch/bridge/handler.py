"""What becomes of packets that come up: translated, answered with a megaflow, told to controllers.

A packet that missed is translated, and the answer is installed for all packets like it; it then goes through that
megaflow itself, and is counted there. If all that the answer does is to tell controllers, none is installed: the next
packet like it would come up all the same, and a controller that answers by a flow then finds nothing in its way.

What a userspace action sends up is told to controllers. That is done behind the batch, when megaflows are installed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from vswitch.base.errors import ConfigError
from vswitch.bridge.effects import Effects
from vswitch.bridge.megaflows import Megaflows, Standing
from vswitch.bridge.ports import IN_PORT_MASK, KEY_MASK, LOCAL
from vswitch.bridge.sends import Sends, rewritten
from vswitch.fields import FIELDS
from vswitch.model.actions import Action, Meter, Userspace, check_actions
from vswitch.model.match import Match
from vswitch.model.megaflow import Rule as Megaflow
from vswitch.model.upcall import UpcallReason
from vswitch.ofproto.translate import translate
from vswitch.packet.segment import cut
from vswitch.upcalls.miss import Miss

if TYPE_CHECKING:
    from vswitch.ofproto.paths import Paths
    from vswitch.ofproto.translation import ControllerSend, Translation, View

__all__ = ["Handler", "PacketForControllers"]

MOST_MASKS = 4096
"""Masks that are kept as one object each: some times what the datapath takes."""

_PORT_SHIFT = 8 * FIELDS["in_port"].slot.offset
_LOCAL_BITS = LOCAL << _PORT_SHIFT
_MISS = UpcallReason.MISS
_NOTHING = bytes(10)
"""A `struct virtio_net_hdr`: all is done."""

logger = logging.getLogger("vswitch")


class PacketForControllers:
    """A packet that was sent to controllers: why, its bytes, its length on the wire, its key (of a flow)."""

    __slots__ = ("frame", "key", "length", "send")

    def __init__(self, send: ControllerSend, frame: bytes, length: int, key: int) -> None:
        self.send = send
        self.frame = frame
        self.length = length
        self.key = key


class Handler:
    """Answers upcalls. `told`: packets for controllers, since `take_told`. `passes`: whether a packet of so many bytes
    that missed is looked at at that time, None if all are; `policed`: how many were not. `idle_timeout_s`: of the
    megaflows that are made from now on."""

    def __init__(
        self,
        view: View,
        megaflows: Megaflows,
        sends: Sends,
        effects: Effects,
        now_ns: Callable[[], int],
        meter_number: Callable[[int], int],
        idle_timeout_s: float,
        paths: Paths,
    ) -> None:
        self.view = view
        self.paths = paths
        self._megaflows = megaflows
        self._sends = sends
        self._effects = effects
        self._now_ns = now_ns
        self._meter_number = meter_number
        self.idle_timeout_s = idle_timeout_s
        self.told: list[PacketForControllers] = []
        self.misses = self.not_installed = self.policed = 0
        self.passes: Callable[[int, int], bool] | None = None
        self.exactly = False  # answer for packets that are the same in all fields alone
        self._masks: dict[int, int] = {}

    def take_told(self) -> list[PacketForControllers]:
        """What is for controllers since the last call."""
        told, self.told = self.told, []
        return told

    def answer_if_it_passes(self, miss: Miss) -> None:
        """The same as `answer`, where the slow path has a meter."""
        if miss.reason is _MISS and self.passes is not None and not self.passes(miss.length, self._now_ns()):
            self.policed += 1
            miss.drop()
        else:
            self.answer(miss)

    def answer(self, miss: Miss) -> None:
        """What becomes of one packet that came up."""
        # hot: once per upcall
        key = miss._key
        if not key & IN_PORT_MASK:
            key |= _LOCAL_BITS
        if miss.reason is not _MISS:
            send = self._sends.get(miss.userdata)
            if send is not None:  # else a megaflow of an earlier process sent it, and its controllers are others'
                self._tell(send, miss, key)
            miss.drop()
            return
        self.misses += 1
        now_ns = self._now_ns()
        translation = self.paths.follow(key)
        if translation is None:
            translation = translate(self.view, key, None, now_ns, paths=self.paths)
        if translation.effects:
            changed = self._effects.perform(translation.effects, now_ns)
            if changed:
                self._megaflows.withdraw_begun(changed)
        actions = translation.actions
        if translation.controllers and len(actions) == 1 and type(actions[0]) is Userspace:
            self._tell(translation.controllers[0], miss, key)
            self._effects.credit(translation, 1, miss.length, now_ns)
            miss.drop()
            return
        numbers: tuple[int, ...] = ()
        if translation.controllers or translation.meters:
            acquired = self._sends.acquire(translation.controllers)
            actions = self.for_datapath(translation, acquired or ())
            if acquired is None or len(self._megaflows) >= self._megaflows.limit:
                self._answer_once(miss, translation, actions, now_ns)
                self._sends.release(acquired or ())
                return
            numbers = acquired
        elif len(self._megaflows) >= self._megaflows.limit:
            self._answer_once(miss, translation, actions, now_ns)
            return
        mask = KEY_MASK if self.exactly else translation.mask & KEY_MASK | IN_PORT_MASK
        mask = self._masks.setdefault(mask, mask)  # one object for all megaflows of a mask
        if len(self._masks) > MOST_MASKS:
            self._masks.clear()
        rule = Megaflow.plain(Match.from_ints(miss._key, mask), actions, idle_timeout_s=self.idle_timeout_s)
        self._megaflows.begin(Standing(rule, key, translation, numbers, now_ns))
        miss.rule = rule

    def _tell(self, send: ControllerSend, miss: Miss, key: int) -> None:
        """Controllers are to be told of it, with all done that its sender left to a network card: they send back what
        they get, and could not say what is left to do."""
        frame, length, offload = miss.packet, miss.length, miss.offload.header
        frames = [frame]
        if offload != _NOTHING and length == len(frame):
            try:
                frames = cut(frame, offload)
            except ConfigError:  # it is as it came
                logger.debug("what is left to do of a packet is unknown: %s", offload.hex())
        for each in frames:
            self.told.append(PacketForControllers(send, each, length if each is frame else len(each), key))

    def _answer_once(self, miss: Miss, translation: Translation, actions: tuple[Action, ...], now_ns: int) -> None:
        """There is no room for one more megaflow: this packet alone."""
        self.not_installed += 1
        self._effects.credit(translation, 1, miss.length, now_ns)
        miss.send(actions)

    def for_datapath(self, translation: Translation, numbers: tuple[int, ...]) -> tuple[Action, ...]:
        """The actions with what userspace actions carry, and meters, numbered as the datapath has them."""

        def change(action: Action) -> Action:
            if isinstance(action, Userspace):
                index = int.from_bytes(action.userdata, "big")
                return Userspace(numbers[index].to_bytes(4, "big") if index < len(numbers) else b"")
            assert isinstance(action, Meter)
            return Meter(self._meter_number(action.id))

        return check_actions(rewritten(translation.actions, change))

    def translate_again(self, standing: Standing) -> Translation:
        """What would be answered now to a megaflow's first packet."""
        return translate(self.view, standing.key, None, self._now_ns())
