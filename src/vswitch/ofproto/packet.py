"""The packet on its way through the pipeline, as it is now, as the datapath has it, and why.

'Why' is a mask: by which bits of the packet that came in all of that was decided.

Each bit of `key` is one of these: *fresh*, as it came in; *derived*, a copy or a function of bits that came in (the
list `derived` says of which); *blind*, not known until the datapath has parsed the packet anew (it lies behind a header
that was taken away); or else a constant. Who wants to decide by bits `consult`s them: those of the incoming packet that
they stem from are added to `mask`.

Changes of fields wait in `pending` until a copy of the packet goes somewhere (`commit`). They are written whatever the
packet had there before, so what is overwritten need not be matched; only if that is known anyway, and the same, nothing
is written. A header that is pushed waits too (`pushed`), as fields of it are likely to be set next.

Invariant: for all incoming packets that agree in `mask`, all that was emitted is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitch.fields.registry import FIELDS, MPLS, MPLS_MULTICAST, SLOTS
from vswitch.model.actions import (
    Action,
    DecTtl,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    SetField,
    Truncate,
    Userspace,
)
from vswitch.ofproto.places import (
    ETH_TYPE,
    IP_TTL,
    L3_BITS,
    MPLS_BITS,
    PRESENT,
    TAG_BITS,
    TCI,
    TUNNEL_BITS,
    Place,
    bits_of,
)
from vswitch.packet.code_points import VLAN_PROTOCOLS

if TYPE_CHECKING:
    from vswitch.ofproto.paths import Piece

__all__ = ["BlindError", "Packet", "Snapshot", "set_field"]

_TAG_FIELDS = tuple((name, FIELDS[name].mask) for name in ("vlan_vid", "vlan_pcp"))
_TPID, _INNER_TCI, _INNER_TPID = SLOTS["vlan_tpid"], SLOTS["cvlan_tci"], SLOTS["cvlan_tpid"]
_INNER_PRESENT = _INNER_TCI.place(0x1000)
_INNER_BITS = bits_of("cvlan_tci", "cvlan_tpid")
_ENTRIES = tuple(SLOTS[f"mpls_lse{number}"] for number in range(3))
_BOTTOM = tuple(entry.place(0x100) for entry in _ENTRIES)
_TOS = SLOTS["ip_tos"]
_TTL_BITS = IP_TTL.mask
_MPLS_TYPES = (MPLS, MPLS_MULTICAST)
_NO_ETH_TYPE = 0x05FF
_ND_BITS = bits_of("nd_target", "l2_source", "l2_target")
_NAMES_ND = ("icmpv6_type", "icmpv6_code")
_MPLS_FIELDS = frozenset(("mpls_label", "mpls_tc", "mpls_ttl"))

Snapshot = tuple[object, ...]


class BlindError(Exception):
    """What is asked for is not known until the datapath has parsed the packet anew."""


class Packet:
    """`emitted`: actions of the datapath so far, of the list that is being made. `mask`: what was consulted, `looked`:
    what lookups in tables asked for besides. `came`: the key as it came in. `base`: as the datapath's packet is by
    now, in the bits `known` and, if they are in one of both masks, `base_fresh`. `lowered`: by how much the time to
    live is to become less; `below`: by how much it is less than it came, -1 if it is another one. `stack`: (value,
    bits, sources) of each entry."""

    __slots__ = (
        "base", "base_fresh", "below", "blind", "came", "derived", "derived_bits", "emitted", "fresh", "key", "known",
        "looked", "lowered", "mask", "pending", "pushed", "stack", "tunnel",
    )  # fmt: skip

    def __init__(self, key: int, fresh: int, mask: int) -> None:
        self.key = key
        self.fresh = fresh
        self.mask = mask
        self.looked = 0
        self.derived: list[tuple[int, int, Piece | None]] = []
        self.derived_bits = 0
        self.blind = 0
        self.pending: dict[str, int] = {}
        self.came = self.base = key
        self.base_fresh = fresh
        self.known = 0
        self.lowered = 0
        self.below = 0
        self.pushed = ""
        self.stack: tuple[tuple[int, int, int], ...] = ()
        self.tunnel: dict[str, int] = {}
        self.emitted: list[Action] = []

    def snapshot(self) -> Snapshot:
        """All but what was emitted and consulted."""
        return (
            self.key, self.fresh, self.derived[:], self.derived_bits, self.blind, dict(self.pending), self.base,
            self.base_fresh, self.known, self.lowered, self.below, self.pushed, self.stack, dict(self.tunnel),
        )  # fmt: skip

    def restore(self, saved: Snapshot) -> None:
        """Be again as at the snapshot, which is of no use afterwards."""
        (
            self.key, self.fresh, self.derived, self.derived_bits, self.blind, self.pending, self.base,
            self.base_fresh, self.known, self.lowered, self.below, self.pushed, self.stack, self.tunnel,
        ) = saved  # type: ignore[assignment]  # fmt: skip

    # ---- what it is

    def consult(self, bits: int) -> int:
        """Decide by these bits of the key. Returns them. BlindError: they are not known."""
        # hot: once per lookup and decision
        if bits & self.blind:
            self.consult_derived(bits)  # that they are blind was decided by something
            raise BlindError
        self.mask |= bits & self.fresh
        if bits & self.derived_bits:
            self.consult_derived(bits)
        return self.key & bits

    def consult_derived(self, bits: int) -> None:
        for own, sources, _ in self.derived:
            if own & bits:
                self.mask |= sources

    def look(self, bits: int) -> None:
        """As `consult`, for a lookup in a table."""
        # hot: once per lookup
        if bits & self.blind:
            self.consult(bits)
        self.looked |= bits & self.fresh
        if bits & self.derived_bits:
            for own, sources, _ in self.derived:
                if own & bits:
                    self.looked |= sources

    def sources(self, bits: int) -> int:
        """The bits of the incoming packet that these stem from. BlindError: they are not known."""
        if bits & self.blind:
            self.consult_derived(bits)
            raise BlindError
        found = bits & self.fresh
        if bits & self.derived_bits:
            for own, sources, _ in self.derived:
                if own & bits:
                    found |= sources
        return found

    def has(self, place: Place) -> bool:
        """Whether the field is there. Consults what tells."""
        return all(self.consult(need.bits) in need.values for need in place.needs)

    # ---- changes of fields

    def assign(self, bits: int, value: int, sources: int = 0, piece: Piece | None = None) -> None:
        """Let these bits of the key be `value`, which stems from these bits of the incoming packet: as a copy of them,
        if it is a `piece`."""
        self.key = self.key & ~bits | value
        self.fresh &= ~bits
        self.blind &= ~bits
        if bits & _TTL_BITS:
            self.below = -1
        if self.derived_bits & bits:
            self.derived = [(own & ~bits, of, copy) for own, of, copy in self.derived if own & ~bits]
            self.derived_bits &= ~bits
        if sources:
            self.derived.append((bits, sources, piece))
            self.derived_bits |= bits

    def write(self, place: Place, bits: int, value: int, sources: int = 0, piece: Piece | None = None) -> None:
        """Set bits of a field that is there."""
        if place.tag:
            self.write_tag(bits, value, sources)
            return
        field = place.field
        if field is None:
            self.assign(bits, value, sources, piece)
            return
        name = field.name
        if name in _NAMES_ND:  # what follows is another message then
            self.flush()
            self.assign(_ND_BITS, 0)
            self.blind |= _ND_BITS
        self.assign(bits, value, sources, piece)
        if name == "ip_ttl" and bits == _TTL_BITS:
            self.lowered = 0
        if self.pushed == "mpls" and name in _MPLS_FIELDS:
            return
        waiting = self.tunnel if bits & TUNNEL_BITS else self.pending
        waiting[name] = waiting.get(name, 0) | bits

    def write_tag(self, bits: int, value: int, sources: int = 0) -> None:
        """Set bits of the VLAN tag; the bit of presence pushes or pops one."""
        had = self.consult(PRESENT)
        if bits & PRESENT:
            if sources:
                self.mask |= sources
                sources = 0
            if not value & PRESENT:
                if had:
                    self.pop_vlan()
                return
            if not had:
                self.push_vlan(VLAN_PROTOCOLS[0])
            bits, value = bits & ~PRESENT, value & ~PRESENT
        elif not had:
            return
        self.assign(bits, value, sources)
        if self.pushed != "vlan":
            for field, of_field in _TAG_FIELDS:
                own = bits & of_field
                if own:
                    self.pending[field] = self.pending.get(field, 0) | own

    def lower_ttl(self) -> bool:
        """One less of IP's time to live, if it is at least 2; consults no more of it than that needs. Was it?"""
        bits, below, ttl = _TTL_BITS, self.below, IP_TTL.take(self.key)
        if below < 0:
            self.consult(bits)
        else:  # it is what came in, less by `below`: by its first bits
            came = IP_TTL.take(self.came)
            for length in range(9):
                rest = 0xFF >> length
                if came & ~rest > below + 1 or came | rest <= below + 1:
                    self.mask |= IP_TTL.place(0xFF ^ rest)
                    break
        if ttl <= 1:
            return False
        self.assign(bits, IP_TTL.place(ttl - 1), self.sources(bits))
        if below >= 0:
            self.below = below + 1
        if "ip_ttl" in self.pending:
            self.pending["ip_ttl"], self.lowered = bits, 0
        else:
            self.lowered += 1
        return True

    # ---- headers

    def push_vlan(self, tpid: int) -> None:
        """Another tag in front, with the values of the one that is there, or zero."""
        self.flush()
        had = self.consult(PRESENT)
        tci, sources = TCI.take(self.key), self.sources(TCI.mask)
        if had and self.consult(_INNER_PRESENT):  # with a third one, nothing behind the second can be read
            third = _INNER_TPID.take(self.key)
            self.assign(ETH_TYPE.mask, ETH_TYPE.place(third), self.sources(_INNER_TPID.mask))
            self.assign(L3_BITS, 0)
        if had:
            outer_sources = self.sources(_TPID.mask)
            self.assign(_INNER_TCI.mask, _INNER_TCI.place(tci), sources)
            self.assign(_INNER_TPID.mask, _INNER_TPID.place(_TPID.take(self.key)), outer_sources)
        else:
            tci = sources = 0
        self.assign(TCI.mask, TCI.place(tci | 0x1000), sources)
        self.assign(_TPID.mask, _TPID.place(tpid))
        self._forget(TAG_BITS | (ETH_TYPE.mask | L3_BITS if had else 0))
        self.pushed = "vlan"

    def pop_vlan(self) -> None:
        """Take the outermost tag off, if there is one."""
        of_tci, of_tpid = self.sources(_INNER_TCI.mask), self.sources(_INNER_TPID.mask)
        of_type = self.sources(ETH_TYPE.mask)
        for field, _ in _TAG_FIELDS:
            self.pending.pop(field, None)
        self.flush()
        self.emitted.append(PopVlan())
        tci, tpid = _INNER_TCI.take(self.key), _INNER_TPID.take(self.key)
        more = ETH_TYPE.take(self.key) in VLAN_PROTOCOLS
        self.assign(TCI.mask, TCI.place(tci), of_tci)
        self.assign(_TPID.mask, _TPID.place(tpid), of_tpid)
        self.assign(_INNER_BITS, 0, of_type)
        self._forget(TAG_BITS)
        if more:  # a third tag, of which only the protocol was seen
            self.assign(ETH_TYPE.mask | L3_BITS, 0, of_type)
            self.blind |= ETH_TYPE.mask | _INNER_BITS | L3_BITS

    def push_mpls(self, eth_type: int) -> None:
        """Another entry in front, with the values of the one that is there, or of the IP header."""
        self.flush()
        before = ETH_TYPE.take(self.consult(ETH_TYPE.mask))
        if before == _NO_ETH_TYPE:
            return
        first, second, third = _ENTRIES
        if before in _MPLS_TYPES:
            of_second, of_first = self.sources(second.mask), self.sources(first.mask)
            self.assign(third.mask, third.place(second.take(self.key)), of_second)
            self.assign(second.mask, second.place(first.take(self.key)), of_first)
            self.assign(first.mask, first.place(first.take(self.key)), of_first)
            self.assign(_BOTTOM[0], 0)
        else:
            label, tc, ttl, of_tc, of_ttl = 0, 0, 64, 0, 0
            if before in (0x0800, 0x86DD):
                of_tc, of_ttl = self.sources(_TOS.place(0x1C)), self.sources(_TTL_BITS)
                label = 2 if before == 0x86DD else 0
                tc = _TOS.take(self.key) >> 2 & 7
                ttl = IP_TTL.take(self.key) or 64
            self.assign(L3_BITS, 0)
            self.assign(first.mask, first.place(label << 12 | 0x100))
            self.assign(first.place(0xE00), first.place(tc << 9), of_tc)
            self.assign(first.place(0xFF), first.place(ttl), of_ttl)
        self.assign(ETH_TYPE.mask, ETH_TYPE.place(eth_type))
        self._forget(ETH_TYPE.mask | L3_BITS)
        self.pushed = "mpls"

    def pop_mpls(self, eth_type: int) -> None:
        """Take the outermost entry off, if there is one; what lies behind the last is not known then."""
        if ETH_TYPE.take(self.consult(ETH_TYPE.mask)) not in _MPLS_TYPES:
            return
        shifted = more = False
        if eth_type in _MPLS_TYPES and not self.consult(_BOTTOM[0]):
            shifted = True
            more = not self.consult(_BOTTOM[1]) and not self.consult(_BOTTOM[2])
        for field in _MPLS_FIELDS:
            self.pending.pop(field, None)
        self.flush()
        self.emitted.append(PopMpls(eth_type))
        self.assign(ETH_TYPE.mask, ETH_TYPE.place(eth_type))
        first, second, third = _ENTRIES
        if shifted:
            of_second, of_third = self.sources(second.mask), self.sources(third.mask)
            self.assign(first.mask, first.place(second.take(self.key)), of_second)
            self.assign(second.mask, second.place(third.take(self.key)), of_third)
            self.assign(third.mask, 0)
            if more:
                self.blind |= third.mask
            self._forget(ETH_TYPE.mask | MPLS_BITS)
            return
        self.assign(L3_BITS, 0)
        self.blind |= L3_BITS
        if eth_type in VLAN_PROTOCOLS:
            self.blind |= ETH_TYPE.mask | TAG_BITS
        self._forget(ETH_TYPE.mask | L3_BITS | TAG_BITS)

    def _forget(self, bits: int) -> None:
        """What the datapath's packet has there is not known."""
        self.base_fresh &= ~bits
        self.known &= ~bits

    # ---- making it so

    def flush(self) -> None:
        """Emit all changes that wait, before headers come or go."""
        if self.pending or self.pushed or self.lowered:
            self.commit()

    def commit(self) -> None:
        """Emit all changes that wait, of the packet's bytes and its marks."""
        # hot: once per output
        if self.pushed:
            self._emit_pushed()
        if self.lowered:
            self.emitted.extend((DecTtl(()),) * self.lowered)
            self.lowered = 0
            self._forget(IP_TTL.mask)
        pending = self.pending
        if pending:
            self._emit(pending, self.base_fresh)
            pending.clear()

    def commit_tunnel(self) -> None:
        """Emit changes of the tunnel's fields; those that came in are of another tunnel."""
        if self.tunnel:
            self._emit(self.tunnel, 0)
            self.tunnel.clear()

    def _emit(self, waiting: dict[str, int], base_fresh: int) -> None:
        for name, bits in waiting.items():
            self.mask |= bits & self.fresh
            if bits & self.derived_bits:
                self.consult_derived(bits)
            value = self.key & bits
            asked = base_fresh & (self.mask | self.looked)
            if not bits & ~(self.known | asked) and self.base & bits == value:
                self.mask |= bits & asked  # that it is so, was decided by more than a lookup now
                continue
            self.emitted.append(set_field(name, value, bits))
            self.base = self.base & ~bits | value
            self.known |= bits

    def can_undo(self, actions: list[Action], *, at_any_price: bool) -> bool:
        """Whether what these do to the datapath's packet can be set back to what it is here; `at_any_price`: even if
        what is there must be matched for that."""
        for action in actions:
            if isinstance(action, SetField):
                if action.name.startswith("tun_"):
                    return False
                bits = FIELDS[action.name].place(action.mask)
                if bits & ~(self.known | self.base_fresh & (self.mask | self.looked)) and not at_any_price:
                    return False
            elif not isinstance(action, Output | Userspace | Truncate):
                return False
        return True

    def undo(self, actions: list[Action]) -> None:
        """The datapath has done these: what they have set is to be set back, when it goes somewhere the next time."""
        for action in actions:
            if isinstance(action, SetField):
                field = FIELDS[action.name]
                bits = field.place(action.mask)
                self.base = self.base & ~bits | field.place(action.value)
                self.known |= bits
                self.pending[action.name] = self.pending.get(action.name, 0) | bits

    def _emit_pushed(self) -> None:
        pushed, self.pushed = self.pushed, ""
        if pushed == "vlan":
            bits = TCI.mask | _TPID.mask
            tci = TCI.take(self.consult(TCI.mask))
            self.emitted.append(PushVlan(tci & 0xFFF, tci >> 13, _TPID.take(self.key)))
        else:
            first = _ENTRIES[0]
            bits = first.mask | ETH_TYPE.mask
            entry = first.take(self.consult(first.mask))
            self.emitted.append(
                PushMpls(entry >> 12, entry >> 9 & 7, entry & 0xFF, entry >> 8 & 1, ETH_TYPE.take(self.key))
            )
        self.base = self.base & ~bits | self.key & bits
        self.known |= bits


_set_fields: dict[tuple[str, int, int], SetField] = {}
"""Actions that were made before: pipelines set the same few over and over."""
_MAX_SET_FIELDS = 4096


def set_field(name: str, value: int, bits: int) -> SetField:
    """The datapath's action that sets these bits, all of which lie in field `name`; both are key ints."""
    made = _set_fields.get((name, value, bits))
    if made is None:
        field = FIELDS[name]
        own, mask = field.take(value), field.take(bits)
        made = SetField(name, own, None if mask == field.max else mask)
        if len(_set_fields) >= _MAX_SET_FIELDS:
            _set_fields.clear()
        _set_fields[name, value, bits] = made
    return made
