"""Checksums: published values, and the corners of ones' complement."""

from __future__ import annotations

import pytest

from vswitch.packet.checksum import crc32c, internet_checksum, transport_checksum

RFC_1071_EXAMPLE = bytes.fromhex("0001f203f4f5f6f7")  # RFC 1071 section 3: sums to ddf2

INTERNET = [
    ("RFC 1071", RFC_1071_EXAMPLE, 0xFFFF - 0xDDF2),
    ("nothing", b"", 0xFFFF),
    ("zeroes", bytes(20), 0xFFFF),
    ("a sum of 0xffff", b"\xff\xff", 0),
    ("a sum that carries into 0xffff", b"\xff\xff" * 3 + bytes(2), 0),
    ("a carry that is added", b"\xff\xff\x00\x02", 0xFFFF - 2),
    ("an odd length ends in a zero byte", b"\x12\x34\x56", 0xFFFF - 0x6834),
]


@pytest.mark.parametrize(("data", "expected"), [pytest.param(d, e, id=name) for name, d, e in INTERNET])
def test_the_internet_checksum(data: bytes, expected: int) -> None:
    assert internet_checksum(data) == expected


def test_data_with_its_checksum_in_place_has_checksum_0() -> None:
    assert internet_checksum(RFC_1071_EXAMPLE + internet_checksum(RFC_1071_EXAMPLE).to_bytes(2, "big")) == 0


@pytest.mark.parametrize(("protocol", "expected"), [(6, 0), (17, 0xFFFF), (58, 0)])
def test_only_udp_sends_a_checksum_of_0_as_all_ones(protocol: int, expected: int) -> None:
    length = 8
    segment = (0xFFFF - protocol - length).to_bytes(2, "big") + bytes(length - 2)  # everything sums to 0xffff
    assert transport_checksum(bytes(8), protocol, segment) == expected


CRC32C = [
    # RFC 3720 appendix B.4, and the check value of the catalogue of CRCs
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(reversed(range(32))), 0x113FDB5C),
]


@pytest.mark.parametrize(("data", "expected"), CRC32C)
def test_crc32c(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected
