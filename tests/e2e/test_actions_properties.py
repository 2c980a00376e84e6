"""What holds for any action on any packet: one at a time it changes what it says and nothing else, checksums that were
right stay right, and a list does what its actions do one after another."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.frames import random_packet, wrong_checksums
from tests.rig import Rig
from vswitch import (
    CheckPacketLength,
    Clone,
    DecTtl,
    Hash,
    Key,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Sample,
    SetField,
    Truncate,
)
from vswitch.fields import FIELDS
from vswitch.model.actions import Action
from vswitch.packet.parse import headers, parse

SETTABLE = [field for field in FIELDS.values() if field.settable and not field.name.startswith("tun_")]
DISCLOSING = {"icmpv6_type", "icmpv6_code", "mpls_bos"}
"""Fields that say what follows: setting one may make other fields appear."""


def masked(name: str) -> st.SearchStrategy[SetField]:
    field = FIELDS[name]
    bits = st.integers(0, field.max)
    return st.tuples(bits, st.just(field.max) | bits).map(lambda pair: SetField(name, pair[0] & pair[1], pair[1]))


sets = st.sampled_from([field.name for field in SETTABLE]).flatmap(masked)
tags: st.SearchStrategy[Action] = st.one_of(
    st.builds(PushVlan, st.integers(0, 4095), st.integers(0, 7), st.sampled_from((0x8100, 0x88A8))),
    st.just(PopVlan()),
    st.builds(PushMpls, st.integers(0, 0xFFFFF), st.integers(0, 7), st.integers(0, 255), st.integers(0, 1)),
    st.builds(PopMpls, st.sampled_from((0x0800, 0x86DD, 0x8847, 0x88B5))),
)
simple: st.SearchStrategy[Action] = st.one_of(sets, sets, sets, tags, st.just(DecTtl()), st.just(Hash(1)))
any_action = st.recursive(
    simple,
    lambda inner: (
        st.lists(inner, max_size=3)
        .map(tuple)
        .flatmap(
            lambda actions: st.sampled_from(
                (Clone(actions), Sample(0x7FFFFFFF, actions), CheckPacketLength(90, actions, ()), DecTtl(actions))
            )
        )
    ),
    max_leaves=4,
)
packets = st.integers(0, 1 << 32).map(lambda seed: bytes(random_packet(Random(seed))))


def arrives(frame: bytes) -> bool:
    """Whether a raw socket sends it, and a host takes it: tags that are cut are dropped there."""
    return 14 <= len(frame) <= 1514


def outcome(rig: Rig, frame: bytes, actions: list[Action]) -> bytes | None:
    """What comes out of port 2, or None if the packet was dropped and counted."""
    rig.forget()
    with rig.dropping() as dropped:
        rig.dp.execute(frame, [*actions, Output(2)], in_port=1)
    if dropped:
        assert set(dropped) <= {"ttl", "action_failed"}
        return None
    (came,) = rig.captured(2, 1, quiet_s=0)
    return came


def check_set(before: bytes, after: bytes, action: SetField) -> None:
    """The bits of the field are the new ones, if the packet has it; all else is as before."""
    field, old, new = FIELDS[action.name], parse(before), parse(after)
    has = Key(old).has(action.name) and field.name not in ("skb_mark", "skb_priority")
    if field.name in ("nd_sll", "nd_tll") and headers(before).link_address is None:
        has = False
    if field.name == "nd_target" and not field.take(old):
        has = False  # a message that is cut
    if field.name.startswith(("tcp", "udp", "sctp", "icmp")) and headers(before).l4 is None:
        has = False
    if field.name.startswith("arp") and headers(before).l3 is None:
        has = False
    if field.name.startswith(("ip", "mpls")) and headers(before).l3 is None:
        has = False
    if not has:
        assert after == before
    elif field.name not in DISCLOSING:
        bits = field.place(action.mask)
        assert new == old & ~bits | field.place(action.value)


def refusable(frame: bytes, action: Action) -> bool:
    """Whether the packet has no time to live left, or a checksum that could not be made right."""
    key = Key(parse(frame))
    if isinstance(action, DecTtl):
        return key.has("ip_ttl") and key.ip_ttl <= 1
    if key.has("sctp_src"):
        return key.ip_frag != 0
    return key.has("ipv6_src") and headers(frame).l4 is None


def check_action(before: bytes, after: bytes, action: Action) -> None:
    if isinstance(action, SetField):
        check_set(before, after, action)
    elif isinstance(action, PushVlan):
        tci = action.pcp << 13 | action.vid
        assert after == before[:12] + action.tpid.to_bytes(2, "big") + tci.to_bytes(2, "big") + before[12:]
    elif isinstance(action, Hash | Clone | Sample | CheckPacketLength):
        assert after == before
    if not isinstance(action, PopVlan | PopMpls) and not wrong_checksums(before):
        assert not wrong_checksums(after)


@examples(400)
@given(packets.filter(arrives), st.lists(simple, max_size=6))
def test_one_after_another_and_all_at_once(shared_rig: Rig, frame: bytes, actions: list[Action]) -> None:
    assert not wrong_checksums(frame)
    now = frame
    for action in actions:
        after = outcome(shared_rig, now, [action])
        if after is None:
            assert refusable(now, action)
            assert outcome(shared_rig, frame, actions) is None
            return
        check_action(now, after, action)
        now = after
    assert outcome(shared_rig, frame, actions) == now


@examples(200)
@given(packets.filter(arrives), st.lists(any_action, max_size=6))
def test_nested_lists_leave_the_packet_alone(shared_rig: Rig, frame: bytes, actions: list[Action]) -> None:
    """Lists of copies end in a drop, or not at all."""
    nested = [action for action in actions if isinstance(action, Clone | Sample | CheckPacketLength)]
    shared_rig.forget()
    shared_rig.dp.execute(frame, [*nested, Output(2)], in_port=1)
    assert list(shared_rig.captured(2, 1, quiet_s=0)) == [frame]


@examples(200)
@given(
    st.binary(min_size=14, max_size=400), st.lists(any_action | st.builds(Truncate, st.integers(14, 300)), max_size=8)
)
def test_no_list_does_harm_to_what_is_no_packet(shared_rig: Rig, frame: bytes, actions: list[Action]) -> None:
    shared_rig.forget()
    shared_rig.dp.execute(frame, [*actions, Output(2)], in_port=1)
    for came in shared_rig.captured(2, quiet_s=0):
        assert parse(came[:14]) or not any(came[:14])
