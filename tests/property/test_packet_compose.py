"""A frame that is composed of a key looks like that key, and is a packet in order."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
from scapy.layers.ipsec import AH

from tests.frames import random_packet, wrong_checksums
from vswitch.base.errors import ConfigError
from vswitch.fields import SLOTS
from vswitch.packet.compose import compose
from vswitch.packet.parse import parse

EXTENSIONS = (IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, AH)
_FRAGMENT = SLOTS["ip_frag"]


@given(st.integers(0, 1 << 32), st.binary(max_size=40))
def test_a_composed_frame_looks_like_its_key(seed: int, payload: bytes) -> None:
    packet = random_packet(Random(seed))
    if IPv6 in packet and any(layer in packet for layer in EXTENSIONS):
        return
    key = parse(bytes(packet))
    composed = compose(key, payload)
    assert parse(composed) == key
    if not _FRAGMENT.take(key):
        assert not wrong_checksums(composed)


@pytest.mark.parametrize("kind", [1, 3])
@pytest.mark.parametrize("eth_type", [0x0800, 0x86DD])
def test_fragments_are_composed_as_such(eth_type: int, kind: int) -> None:
    key = SLOTS["eth_type"].place(eth_type) | SLOTS["ip_proto"].place(17) | _FRAGMENT.place(kind)
    if kind == 1:
        key |= SLOTS["tp_dst"].place(53)
    assert parse(compose(key, b"payload")) == key


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="exceeds 65535"):
        compose(SLOTS["eth_type"].place(0x0800), bytes(65536))
