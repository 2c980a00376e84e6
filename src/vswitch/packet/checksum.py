"""The two checksums of L3 and L4: the Internet's, and the CRC32c of SCTP.

The Internet checksum (RFC 1071) is a sum of 16-bit words in ones' complement, and such a sum is arithmetic modulo
65535, since 65536 leaves the remainder 1. So the whole data is read as one big number, and one division does the rest.
"""

from __future__ import annotations

from vswitch.fields.registry import UDP

__all__ = ["crc32c", "crc32c_zero_tables", "internet_checksum", "transport_checksum"]


def internet_checksum(data: bytes) -> int:
    """The checksum (16 bits) of `data`, whose own checksum field is zero; over data with its checksum in place: 0.

    Data of an odd length counts as if a zero byte followed (RFC 1071 section 1).
    """
    number = int.from_bytes(data, "big") << 8 * (len(data) & 1)
    remainder = number % 0xFFFF
    # Ones' complement has two zeroes. Only data that is all zero sums to the one; any other sums to 0xffff instead.
    return 0 if number and not remainder else 0xFFFF - remainder


def transport_checksum(addresses: bytes, protocol: int, segment: bytes) -> int:
    """The checksum (16 bits) of a TCP, UDP or ICMPv6 `segment` whose checksum field is zero, pseudo header included.

    `addresses`: source and destination as the IP header has them, 8 or 32 bytes. The pseudo headers of IPv4
    (RFC 9293 section 3.1) and IPv6 (RFC 8200 section 8.1) differ only in the order of words and in zeroes, to
    which a sum is blind; so one form serves both. A UDP checksum of 0 would mean none and is sent as 0xffff (RFC 768).
    """
    pseudo_header = addresses + len(segment).to_bytes(4, "big") + protocol.to_bytes(4, "big")
    checksum = internet_checksum(pseudo_header + segment)
    return 0xFFFF if protocol == UDP and checksum == 0 else checksum


def _crc32c_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC32C = tuple(_crc32c_of_byte(byte) for byte in range(256))


def crc32c(data: bytes) -> int:
    """The CRC32c (32 bits) of an SCTP packet whose checksum field is zero (RFC 9260 appendix A).

    It goes into the packet with its least significant byte first: `crc32c(packet).to_bytes(4, "little")`.
    """
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = remainder >> 8 ^ _CRC32C[(remainder ^ byte) & 0xFF]
    return remainder ^ 0xFFFFFFFF


def crc32c_zero_tables() -> bytes:
    """What the kernel needs to update an SCTP checksum without reading the payload: 17 tables of 32 words
    (little-endian).

    Word b of table i is the CRC register that holds bit b alone, after 2^i zero bytes more. CRC32c is linear, so any
    register is the exclusive or of these. Reflected polynomial 0x82f63b78, as RFC 9260 appendix A has it.
    """
    step = [(1 << bit - 8) if bit >= 8 else _CRC32C[1 << bit] for bit in range(32)]
    tables = []
    for _ in range(17):
        tables.append(b"".join(word.to_bytes(4, "little") for word in step))
        step = [_apply(step, word) for word in step]
    return b"".join(tables)


def _apply(matrix: list[int], register: int) -> int:
    result = 0
    for bit, word in enumerate(matrix):
        if register >> bit & 1:
            result ^= word
    return result
