"""Megaflows of Open vSwitch and of translation for the same packet, compared field by field.

A mask of ours that asks for less of a field must be right all the same: packets that differ in just those bits are put
through the megaflow and through the naive pipeline (`prove`). One that asks for more must do so for a reason that has a
name (`reason`):

* *untagged*: of a packet without a tag, Open vSwitch does not write what it asked of the tag; its datapath has the
  outermost Ethernet type to tell, which is always matched.
* *tag*: an action pushes a tag or takes one off. A tag that is pushed takes the values of the one that is there, and
  whether a second one is there decides what can still be read of the packet.
* *tunnel*: a port of Open vSwitch has packets of a tunnel or others, so nothing is asked; a port of this switch may
  have both.
* *priority*: NORMAL keeps the tag of VLAN 0 if it has a priority. Open vSwitch does so, too, and does not match it: its
  megaflow is too wide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

from tests.naive_pipeline import Naive, NaiveGroup, NaiveRule, NaiveSwitch
from tests.pipeline import PlainView
from tests.pipeline_machine import Machine
from tests.property.test_ofproto_translate import LIMITS, by_the_datapath, by_the_tables
from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.fields.openflow import FLOW_BYTES, OPENFLOW_FIELDS
from vswitch.fields.registry import FIELDS, KEY_BYTES, SLOTS
from vswitch.messages import actions as a
from vswitch.messages.match import FlowMatch, missing_need
from vswitch.ofproto.translation import Translation
from vswitch.packet.parse import headers, parse
from vswitch.text.flow_match import PROTOCOLS
from vswitch.text.flow_values import FIELDS_BY_WORD, FRAGMENT_WORDS, read_value

DATAPATH = (1 << 8 * KEY_BYTES) - 1
_ALL = (1 << 8 * FLOW_BYTES) - 1
_WORDS_OF_ITS_OWN = {
    "skb_priority": FIELDS["skb_priority"].slot, "vlan_tci1": SLOTS["cvlan_tci"], "vlan_tci": SLOTS["vlan_tci"],
    "mpls_lse1": SLOTS["mpls_lse1"], "mpls_lse2": SLOTS["mpls_lse2"], "icmp_type": SLOTS["tp_src"],
    "icmp_code": SLOTS["tp_dst"],
}  # fmt: skip
_TCI = SLOTS["vlan_tci"]
_VLANS = {"dl_vlan": (0, 0x1FFF), "dl_vlan_pcp": (13, 0xF000)}


def read_megaflow(text: str) -> tuple[int, int]:
    """(value, mask) of what a trace of Open vSwitch says behind "Megaflow:"."""
    value = mask = 0
    for word in text.split(","):
        name, _, rest = word.partition("=")
        if name in PROTOCOLS:
            bits = PROTOCOLS[name]
            own, own_mask = bits.value, bits.mask
        elif name in _WORDS_OF_ITS_OWN:
            slot = _WORDS_OF_ITS_OWN[name]
            own_text, _, of = rest.partition("/")
            own, own_mask = slot.place(int(own_text, 0)), slot.place(int(of, 0)) if of else slot.mask
        elif name in _VLANS:
            shift, covered = _VLANS[name]
            own, own_mask = (_TCI.place(each) for each in (0x1000 | int(rest, 0) << shift, covered))
        elif name == "nw_frag":
            own, own_mask = (SLOTS["ip_frag"].place(each) for each in FRAGMENT_WORDS[rest])
        else:
            slot, shift = FIELDS_BY_WORD[name].view.slot, FIELDS_BY_WORD[name].view.shift
            number, covered = read_value(FIELDS_BY_WORD[name], rest, None)
            covered &= 0xFC if name == "nw_tos" else covered
            own, own_mask = slot.place(number << shift), slot.place(covered << shift)
        value, mask = value | own, mask | own_mask
    return value, mask & DATAPATH


def fields_of(key: int) -> dict[str, int]:
    """The bits of each field that a packet with this key has, and of those that no packet has two of."""
    whole = FlowMatch.from_ints(key, _ALL)
    found: dict[str, int] = {}
    left = DATAPATH
    for each in OPENFLOW_FIELDS.values():
        counts = each.name not in ("vlan_vid", "vlan_pcp", "ip_tos") and not each.name.startswith("ct_")
        if counts and each.mask & left and missing_need(whole, each) is None:
            found[each.name] = each.mask & left
            left &= ~each.mask
    for name, slot in SLOTS.items():
        if slot.mask & left and not name.startswith("ct_"):
            found[name] = slot.mask & left
            left &= ~slot.mask
    return found


def said_less(key: int, value: int, mask: int) -> int:
    """Bits of fields that a trace has written with no mask, although it has matched but some bits of them: what it
    writes is then not what the packet has."""
    wrong = (key ^ value) & mask
    return sum(bits for bits in fields_of(key).values() if bits & wrong)


# ---- ours asks for more


_TAG_BITS = sum(SLOTS[name].mask for name in ("vlan_tci", "vlan_tpid", "cvlan_tci", "cvlan_tpid"))
_TUNNEL_BITS = sum(slot.mask for name, slot in SLOTS.items() if name in ("tun_id", "tun_src", "tun_dst", "tun_flags"))
_OF_TAGS = (a.PushVlan, a.PopVlan, a.ModVlanVid, a.ModVlanPcp)


def _all_actions(view: PlainView, actions: tuple[a.FlowAction, ...]) -> Iterator[a.FlowAction]:
    """Those, and what they have in them."""
    for action in actions:
        yield action
        if isinstance(action, a.Clone | a.WriteActions):
            yield from _all_actions(view, action.actions)
        elif isinstance(action, a.Group) and action.id in view.groups:
            for bucket in view.groups[action.id].buckets:
                yield from _all_actions(view, bucket.actions)


def reason(view: PlainView, answer: Translation, key: int, more: int) -> str:
    """Why ours matches these bits, all of one field, of which theirs matches none; "" if there is no reason."""
    if not more & ~_TUNNEL_BITS:
        return "tunnel"
    if not more & ~_TAG_BITS:
        passed = [action for rule in answer.rules for action in _all_actions(view, rule.actions)]
        if any(isinstance(action, _OF_TAGS) for action in passed):
            return "tag"
        normal = any(isinstance(action, a.Output) and action.port == OPENFLOW_PORTS["NORMAL"] for action in passed)
        if normal and not FIELDS["vlan_vid"].take(key) and not more & ~FIELDS["vlan_pcp"].mask:
            return "priority"
        if not FIELDS["vlan_present"].take(key):
            return "untagged"
    return ""


# ---- ours asks for less


def naive_switch(view: PlainView) -> NaiveSwitch:
    """The same tables, groups and ports for the naive pipeline."""
    config = view.config
    switch = NaiveSwitch(fragments=config.fragments, miss=config.miss, ports={each.number: each for each in view.ports})
    for number, table in enumerate(view.tables):
        rules = [NaiveRule(each.match.value, each.match.mask, each.priority, each.actions) for each in table.classifier]
        if rules:
            switch.tables[number] = rules
    switch.groups = {number: NaiveGroup(group.type, group.buckets) for number, group in view.groups.items()}
    return switch


def _others(chance: Random, frame: bytes, bits: int) -> Iterator[tuple[bytes, dict[str, int]]]:
    """Packets that differ from this one: in a bit or a byte, in their protocol, in the mark or the priority."""
    for name in ("skb_mark", "skb_priority"):
        if bits & FIELDS[name].mask:
            yield frame, {name: 1}
    places = list(range(8 * min(len(frame), 80)))
    chance.shuffle(places)
    for place in places:
        for flipped in (0xFF, 1 << place % 8):
            data = bytearray(frame)
            data[place // 8] ^= flipped
            yield bytes(data), {}
    at = headers(frame).l3
    if bits & SLOTS["ip_proto"].mask and at is not None:
        for protocol in (6, 17, 132, 89):
            data = bytearray(frame)
            data[at + (9 if frame[at] >> 4 == 4 else 6)] = protocol
            yield bytes(data), {}


MOST_OTHERS = 12
"""Packets that are compared for one megaflow."""


def prove(
    machine: Machine, switch: NaiveSwitch, chance: Random, frame: bytes, in_port: int, less: int
) -> tuple[int, int]:
    """Packets that differ in the bits `less`, which the megaflow of this one does not match: they go through it, and
    what becomes of them must be what the tables say. How many there were, and the bits they differed in."""
    machine.receive(frame, in_port)
    mask, value = next((mask, value) for mask, value, _ in machine.megaflows if parse(frame, in_port) & mask == value)
    key = parse(frame, in_port)
    compared = differed = 0
    for other, metadata in _others(chance, frame, less):
        own = parse(other, in_port)
        for name, number in metadata.items():
            own |= SLOTS[name].place(number)
        new = (key ^ own) & less & ~differed
        if not new or own & mask != value:
            continue
        wanted = Naive(switch).run(other, in_port, **metadata)
        if wanted.garbage:
            continue
        machine.drops.clear()
        machine.receive(other, in_port, **metadata)
        if machine.errors or any(machine.drops[limit] for limit in LIMITS):
            continue
        assert by_the_datapath(machine) == by_the_tables(wanted), (frame.hex(), other.hex(), metadata)
        compared, differed = compared + 1, differed | new
        if compared == MOST_OTHERS:
            break
    return compared, differed


# ---- all of it


def compare(
    view: PlainView, machine: Machine, switch: NaiveSwitch, chance: Random, frame: bytes, in_port: int, text: str
) -> Counter[tuple[str, str]]:
    """How our megaflow for a packet stands to the one that a trace tells: (field, "equal", "wider" or "narrower: why")
    and how often. AssertionError: ours is too wide, or narrower for no reason."""
    seen: Counter[tuple[str, str]] = Counter()
    key = parse(frame, in_port)
    value, theirs = read_megaflow(text)
    machine.receive(frame, in_port)
    (answer,) = (answer for mask, value, answer in machine.megaflows if key & mask == value)  # they never overlap
    ours = answer.mask & DATAPATH
    unsaid = said_less(key, value, theirs)
    wider = 0
    for name, bits in fields_of(key).items():
        less, more = theirs & ~ours & bits, ours & ~theirs & bits
        if bits & unsaid:
            seen[name, "not told"] += 1
        elif more:
            why = reason(view, answer, key, more)
            assert why, (name, frame.hex(), in_port, text, f"{answer.mask & DATAPATH:#x}")
            seen[name, f"narrower: {why}"] += 1
        elif less:
            seen[name, "wider"] += 1
        elif theirs & bits:
            seen[name, "equal"] += 1
        wider |= less
    if wider:
        compared, differed = prove(machine, switch, chance, frame, in_port, wider)
        seen["", "packets that differ in what is not asked"] += compared
        seen["", "bits that are asked there, and not here"] += wider.bit_count()
        seen["", "bits of those in which packets differed"] += differed.bit_count()
    return seen
