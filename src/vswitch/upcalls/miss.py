"""`Miss`: one packet that came up, and what a program answers to it.

It lies in the ring, or, while a worker is at it, in memory of its own; either way it can be answered until it is sent
down or dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from vswitch.base.errors import ConfigError
from vswitch.datapath.backend import Look
from vswitch.datapath.ebpf.layout import UPCALL, UpcallOffset
from vswitch.fields import SLOTS
from vswitch.model.actions import Action, check_actions
from vswitch.model.match import Key, Match
from vswitch.model.megaflow import Rule
from vswitch.model.upcall import Offload, UpcallReason
from vswitch.upcalls.stats import Drop

__all__ = ["Answer", "Miss", "answer_by", "apply_answer"]

_RECIRC_SHIFT = 8 * SLOTS["recirc_id"].offset
_MARK_SHIFT = 8 * SLOTS["skb_mark"].offset
_HASH_SHIFT = 8 * SLOTS["dp_hash"].offset
_PRIORITY_SHIFT = 8 * SLOTS["skb_priority"].offset
_TUNNEL_SHIFT = 8 * SLOTS["tun_id"].offset
_U32 = 0xFFFFFFFF


class Miss:
    """One packet that came up. Answer by `install`, `send` or `drop`; without an answer it is dropped.

    `key`: what the packet looks like. `port`: number of the port that it came in by. `packet`: the frame.
    `reason`: a miss, or a userspace action, whose `userdata` it carries. The answer is carried out when the batch that
    the packet came with is through; who keeps the miss longer can read it, but an answer is too late (ConfigError).
    """

    __slots__ = (
        "_captured",
        "_key",
        "_offset",
        "_packet",
        "_recirculations",
        "_send",
        "_size",
        "_view",
        "answered_ns",
        "arrived_ns",
        "covered",
        "dropped",
        "flow",
        "held",
        "length",
        "port",
        "reason",
        "rule",
        "turn",
    )  # fmt: skip

    def __init__(self, view: memoryview, offset: int) -> None:
        # hot: once per upcall. `covered`: a rule takes the packet that was installed since it came up; `dropped`: why,
        # if nothing else becomes of it; `held`: it is no longer in the ring, and `turn` its place among those that are
        # held; `answered_ns`: when its rule was given, if that has a hard timeout
        (
            self._size, self.port, reason, self._captured, self.length, self.arrived_ns, self._recirculations,
            self.flow, key,
        ) = UPCALL.unpack_from(view, offset)  # fmt: skip
        self._view = view
        self._offset = offset
        self.reason = _REASONS[reason]
        self._key = int.from_bytes(key, "little")
        self._packet: bytes | None = None
        self._send: tuple[Action, ...] | None = None
        self.rule: Rule | None = None
        self.dropped = Drop.UNANSWERED
        self.covered = False
        self.held = False
        self.turn = 0
        self.answered_ns = 0

    @classmethod
    def of_copy(cls, record: bytes) -> Miss:
        """What another process was asked about: it can be read, not answered."""
        miss = cls(memoryview(record), 0)
        miss._size = 0
        return miss

    @property
    def key(self) -> Key:
        """What the packet looks like."""
        return Key(self._key)

    @property
    def packet(self) -> bytes:
        """The frame, VLAN tags in place; `length` says how long it is on the wire if it was truncated."""
        if self._packet is None:
            begin = self._offset + UpcallOffset.PACKET
            self._packet = bytes(self._view[begin : begin + self._captured])
        return self._packet

    @property
    def userdata(self) -> bytes:
        """What the userspace action carried."""
        begin = self._offset + UpcallOffset.USERDATA
        return bytes(self._view[begin : begin + self._view[self._offset + UpcallOffset.USERDATA_LENGTH]])

    @property
    def offload(self) -> Offload:
        """What the sender left to the network card."""
        return Offload(bytes(self._view[self._offset + UpcallOffset.OFFLOAD : self._offset + UpcallOffset.PACKET]))

    def install(
        self,
        match: Match,
        actions: Action | Iterable[Action],
        *,
        idle_timeout_s: float | None = None,
        hard_timeout_s: float | None = None,
        priority: int = 0,
    ) -> None:
        """Install a megaflow and send the packet through it. ConfigError if it would not take the packet."""
        self._install(Rule(match, check_actions(actions), priority, idle_timeout_s, hard_timeout_s))

    def _install(self, rule: Rule) -> None:
        match = rule.match
        if self._is_settled():
            return
        if self._key & match.mask != match.value:
            raise ConfigError(f"{match!r} does not take the packet that asked for it, {self.key!r}")
        self.rule = rule

    def send(self, actions: Action | Iterable[Action]) -> None:
        """Execute `actions` on this packet alone."""
        if self._is_settled():
            return
        self._send = check_actions(actions)
        self.dropped = Drop.ANSWER

    def drop(self) -> None:
        """Drop this packet alone."""
        if self._is_settled():
            return
        self.dropped = Drop.ANSWER

    def _is_settled(self) -> bool:
        """Whether it waited for a worker, and the rule of another has released it meanwhile: no answer is needed.
        ConfigError: it is too late for one."""
        if self._size:
            return False
        if self.held and self.covered:
            return True
        raise ConfigError(f"too late to answer {self!r}: the batch that it came with is through, or another process's")

    @property
    def answered(self) -> bool:
        """Whether the program has said what is to become of the packet."""
        return self.rule is not None or self._send is not None or self.dropped is not Drop.UNANSWERED

    def keep(self) -> None:
        """Copy what lies in the ring, where it is about to be overwritten. No answer is possible any more."""
        if not self.held:
            self._copy()
        self._size = 0

    def hold(self) -> None:
        """The same, and an answer is possible."""
        self._copy()
        self.held = True

    def _copy(self) -> None:
        end = self._offset + UpcallOffset.PACKET + self._captured
        self._view = memoryview(bytes(self._view[self._offset : end]))
        self._offset = 0

    def to_send(self) -> bytes:
        """What is sent down of a packet that is held: a virtio_net_hdr and the frame."""
        return bytes(self._view[UpcallOffset.OFFLOAD :])

    def look(self) -> Look:
        """What the packet is to look like when it is sent down."""
        key = self._key
        tunnel = (key >> _TUNNEL_SHIFT & (1 << 384) - 1).to_bytes(48, "little")
        return (
            self.port, key >> _RECIRC_SHIFT & _U32, key >> _MARK_SHIFT & _U32, key >> _PRIORITY_SHIFT & _U32,
            key >> _HASH_SHIFT & _U32, self._recirculations, tunnel,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"Miss(port={self.port}, key={self.key!r})"


_REASONS = tuple(UpcallReason)

Answer = Rule | tuple[Match, Action | Iterable[Action]] | None
"""What a handler may return: a rule to install, or (match, actions) for short; None if it answered by the miss's own
methods, or not at all, so that the packet is dropped."""


async def answer_by(handler: Callable[[Miss], Answer | Awaitable[Answer]], miss: Miss) -> None:
    """Let a handler answer, which may be a coroutine function. Whatever it raises goes through."""
    answer = handler(miss)
    if isinstance(answer, Awaitable):
        answer = await answer
    if answer is not None:
        apply_answer(miss, answer)


def apply_answer(miss: Miss, answer: Answer) -> None:
    """Carry a returned answer over to the miss."""
    # hot: once per upcall
    if isinstance(answer, Rule):
        miss._install(answer)
    elif isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], Match):
        miss._install(Rule.plain(*answer))
    else:
        raise ConfigError(f"a handler returned {answer!r}, which is neither a rule nor (match, actions)")
