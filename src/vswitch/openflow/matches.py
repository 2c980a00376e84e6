"""The match structure of each version, in one call: legacy in OpenFlow 1.0 and 1.1, OXM later; and Nicira's NXM."""

from __future__ import annotations

from struct import Struct

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import FlowMatch
from vswitch.openflow import oxm
from vswitch.openflow.legacy_match import MATCH_10_BYTES, MATCH_11_BYTES, decode_legacy, encode_legacy, expressible

__all__ = ["MAX_KEPT", "decode_match", "decode_nxm", "encode_match", "encode_nxm"]

# Nicira's requests choose flows by cookie with a field of their own, that no packet has.
_COOKIE = Struct("!IQ")
_COOKIE_MASKED = Struct("!IQQ")
_COOKIE_HEADER, _COOKIE_MASKED_HEADER = 0x00013C08, 0x00013D10
_HEADER = Struct("!I")
_DECIDING = sum(OPENFLOW_FIELDS[name].mask for name in ("in_port", "eth_type", "vlan_tci", "ip_proto", "arp_op"))
"""The fields whose values decide, beside which fields there are, whether there is a place for a match."""
MAX_KEPT = 4096
"""Kinds of matches of which that is kept; beyond it all are forgotten."""
_kept: dict[tuple[int, int], bool] = {}

_OXM = b"\0\1"
"""Type of a match in the structure of OpenFlow 1.2."""


def decode_match(data: bytes, at: int, version: int, *, strict: bool = True) -> tuple[FlowMatch, int]:
    """The match at `at`, and where what follows it begins. OpenFlowError: bad_match.*"""
    if version >= 3 or (version == 2 and data[at : at + 2] == _OXM):
        return oxm.decode_match(data, at, strict=strict)
    return decode_legacy(data, at, version), at + (MATCH_10_BYTES if version == 1 else MATCH_11_BYTES)


def encode_match(match: FlowMatch, version: int) -> bytes:
    """As this version has it. In 1.0, what has no place in its structure is left out; in 1.1 it goes as Open vSwitch
    sends and takes it, in the structure of 1.2 with Nicira's fields."""
    if version >= 3 or (version == 2 and not _expressible_11(match)):
        return oxm.encode_match(match, version)
    return encode_legacy(match, version)


def _expressible_11(match: FlowMatch) -> bool:
    """Whether OpenFlow 1.1's structure has a place for all of it; kept for matches that are alike, as it is costly."""
    key = (match.mask, match.value & _DECIDING)
    found = _kept.get(key)
    if found is None:
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        found = _kept[key] = expressible(match, 2)
    return found


def _without_cookie(data: bytes) -> tuple[bytes, int, int]:
    """Fields without Nicira's cookie, the cookie, and its mask (0: there is none)."""
    at, end = 0, len(data)
    while at + 4 <= end:
        (header,) = _HEADER.unpack_from(data, at)
        size = 4 + (header & 0xFF)
        if header == _COOKIE_HEADER and at + size <= end:
            return data[:at] + data[at + size :], _COOKIE.unpack_from(data, at)[1], (1 << 64) - 1
        if header == _COOKIE_MASKED_HEADER and at + size <= end:
            _, cookie, mask = _COOKIE_MASKED.unpack_from(data, at)
            return data[:at] + data[at + size :], cookie & mask, mask
        at += size
    return data, 0, 0


def decode_nxm(data: bytes, at: int, length: int, *, strict: bool = True) -> tuple[FlowMatch, int, int, int]:
    """(match, cookie, cookie mask, where what follows begins) of `length` bytes of NXM at `at`, padded to eight."""
    after = at + length + -length % 8
    if after > len(data):
        raise OpenFlowError("bad_request.bad_len", f"a match of {length} bytes, where {len(data) - at} are left")
    fields = data[at : at + length]
    cookie = cookie_mask = 0
    if b"\x00\x01\x3c\x08" in fields or b"\x00\x01\x3d\x10" in fields:
        fields, cookie, cookie_mask = _without_cookie(fields)
    return oxm.decode_fields(fields, 0, len(fields), strict=strict), cookie, cookie_mask, after


def encode_nxm(match: FlowMatch, cookie: int = 0, cookie_mask: int = 0, version: int = 1) -> tuple[bytes, int]:
    """The fields, padded to eight bytes, and their length without padding."""
    data = oxm.encode_fields(match, version, nxm=True)
    if cookie_mask == (1 << 64) - 1:
        data += _COOKIE.pack(_COOKIE_HEADER, cookie)
    elif cookie_mask:
        data += _COOKIE_MASKED.pack(_COOKIE_MASKED_HEADER, cookie, cookie_mask)
    return data + bytes(-len(data) % 8), len(data)
