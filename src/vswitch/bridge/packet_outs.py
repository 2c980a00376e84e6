"""Packets that controllers send: what becomes of each, and the way down.

Each is translated by itself, as a packet that came in would be, and then all that were given together go down together:
one system call. Those that do no more than go out by ports need not be done before the next flow-mod (OpenFlow 1.3.5
section 6.2 lets a switch reorder what no barrier parts), so the engine gathers them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vswitch.base.errors import VswitchError
from vswitch.base.limits import MAX_PORT
from vswitch.bridge.ports import datapath_number
from vswitch.fields import SLOTS
from vswitch.messages.actions import Output
from vswitch.messages.flows import PacketOut, Resume
from vswitch.model.upcall import Offload
from vswitch.ofproto.ports import MAX_OPENFLOW_PORT
from vswitch.ofproto.translate import translate
from vswitch.packet.parse import parse

if TYPE_CHECKING:
    from vswitch.bridge.effects import Effects
    from vswitch.bridge.handler import Handler
    from vswitch.bridge.packets import Paused
    from vswitch.bridge.sends import Sends
    from vswitch.datapath.backend import Backend, Look
    from vswitch.model.actions import Action
    from vswitch.ofproto.paths import Paths
    from vswitch.ofproto.translation import Translation, View

__all__ = ["PacketOuts", "may_wait"]

logger = logging.getLogger("vswitch")

MIN_FRAME, MAX_FRAME = 14, 65549
"""Bytes of a frame that can be sent."""

IN_PORT = SLOTS["in_port"]
_HEADER = Offload().header


def may_wait(packet: PacketOut | Resume) -> bool:
    """Whether no flow-mod changes what becomes of a packet: it just goes out by ports."""
    if type(packet) is not PacketOut:
        return False
    return all(type(action) is Output and action.port <= MAX_OPENFLOW_PORT for action in packet.actions)


class PacketOuts:
    """Sends them. `sent`: how many were given; `refused`: those that could not be carried out."""

    def __init__(
        self,
        backend: Backend,
        view: View,
        paths: Paths,
        paused: Paused,
        sends: Sends,
        handler: Handler,
        effects: Effects,
        now_ns: Callable[[], int],
    ) -> None:
        self._backend = backend
        self._view = view
        self._paths = paths
        self._paused = paused
        self._sends = sends
        self._handler = handler
        self._effects = effects
        self._now_ns = now_ns
        self.sent = self.refused = 0

    def send(self, packets: Sequence[PacketOut | Resume]) -> None:
        """Carry out these, or let packets go on that were paused."""
        # hot: once per batch of packet-outs
        self.sent += len(packets)
        now_ns = self._now_ns()
        frames: list[tuple[bytes, tuple[Action, ...], int]] = []
        numbers: list[tuple[int, ...]] = []
        for packet in packets:
            given = packet if isinstance(packet, PacketOut) else packet.packet
            frame = given.frame
            if not MIN_FRAME <= len(frame) <= MAX_FRAME:
                self.refused += 1
                continue
            key = parse(frame, 0) & ~given.metadata.mask | given.metadata.value
            translation = self._translated(packet, key, frame, now_ns)
            if translation is None:
                self.refused += 1
                continue
            actions = self._effected(translation, len(frame), numbers, now_ns)
            port = datapath_number(IN_PORT.take(key))
            if actions:
                frames.append((frame, actions, port if port <= MAX_PORT else 0))
        try:
            self.refused += self._execute(frames)
        finally:
            for each in numbers:
                self._sends.release(each)

    def _translated(self, packet: PacketOut | Resume, key: int, frame: bytes, now_ns: int) -> Translation | None:
        """What becomes of it; None: nobody knows where it was."""
        if isinstance(packet, PacketOut):
            known = self._paths.follow(key, packet.actions)
            return known or translate(self._view, key, frame, now_ns, actions=packet.actions, paths=self._paths)
        state = self._paused.get(packet.packet.continuation)
        return None if state is None else translate(self._view, key, frame, now_ns, resume=state)

    def send_translated(self, frame: bytes, key: int, translation: Translation) -> None:
        """Do to this frame, of this key, what was found for it."""
        numbers: list[tuple[int, ...]] = []
        actions = self._effected(translation, len(frame), numbers, self._now_ns())
        port = datapath_number(IN_PORT.take(key))
        try:
            if actions:
                self.refused += self._execute([(frame, actions, port if port <= MAX_PORT else 0)])
        finally:
            for each in numbers:
                self._sends.release(each)

    def _effected(
        self, translation: Translation, size: int, numbers: list[tuple[int, ...]], now_ns: int
    ) -> tuple[Action, ...]:
        """Do all but send it; what the datapath is to do to it. `numbers`: those to be released are put there."""
        self._effects.credit(translation, 1, size, now_ns)
        if translation.effects:
            self._effects.perform(translation.effects, now_ns)
        if not (translation.controllers or translation.meters):
            return translation.actions
        acquired = self._sends.acquire(translation.controllers) or ()
        numbers.append(acquired)
        return self._handler.for_datapath(translation, acquired)

    def _execute(self, frames: Sequence[tuple[bytes, tuple[Action, ...], int]]) -> int:
        """Let the datapath do so to each of these frames, as if it had come in by that port; how many it refused."""
        if not frames:
            return 0
        injector, arena = self._backend.injection(), self._backend.flows.arena
        known: dict[tuple[tuple[Action, ...], int], tuple[Look, int, int]] = {}
        refused, failed = 0, injector.failed
        try:
            for frame, actions, in_port in frames:
                found = known.get((actions, in_port))
                if found is None:
                    try:
                        word = arena.acquire_list(actions)
                    except VswitchError as problem:
                        refused += 1
                        logger.debug("a packet-out was not sent: %s", problem)
                        continue
                    look: Look = (in_port, 0, 0, 0, 0, 0, bytes(48))
                    found = known[actions, in_port] = look, word, injector.entry(look, word)
                injector.add_copy(found[2], _HEADER + frame)
        finally:
            injector.flush()
            for look, word, _ in known.values():
                injector.forget(look, word)
                arena.release(word)
        return refused + injector.failed - failed
