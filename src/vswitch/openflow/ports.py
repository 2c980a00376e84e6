"""Ports: what they are, what becomes of them, and how they are configured.

OpenFlow 1.0 numbers features and states differently, and has bits of configuration that later versions have not; 1.4
puts what is peculiar to Ethernet into a property. `encode_port` and `decode_port` are for whoever lists ports.
"""

from __future__ import annotations

from struct import Struct

from vswitch.messages.errors import OpenFlowError
from vswitch.messages.ports import PortConfig, PortDescription, PortMod, PortState, PortStatus, PortStatusReason
from vswitch.openflow.wire import Dialect, check_port, need, port_from_16, port_to_16, properties, property_bytes

__all__ = [
    "PORT_BYTES",
    "config_to_wire",
    "decode_port",
    "decode_port_mod",
    "decode_port_status",
    "decode_ports",
    "encode_port",
    "encode_port_mod",
    "encode_port_status",
]

_PORT_10 = Struct("!H6s16sIIIIII")
_PORT_11 = Struct("!I4x6s2x16sIIIIIIII")
_PORT_14 = Struct("!IH2x6s2x16sII")
_ETHERNET = Struct("!4xIIIIII")
_ETHERNET_KIND = 0
_MOD_10 = Struct("!H6sIII4x")
_MOD_11 = Struct("!I4x6s2xIII4x")
_MOD_14 = Struct("!I4x6s2xII")
_ADVERTISE = Struct("!I")
_STATUS_BYTES = 8

PORT_BYTES = {1: _PORT_10.size, 2: _PORT_11.size, 3: _PORT_11.size, 4: _PORT_11.size}
"""Size of a port's description; from OpenFlow 1.4 on it says its length itself."""

_CONFIG_11 = PortConfig.DOWN | PortConfig.NO_RECV | PortConfig.NO_FWD | PortConfig.NO_PACKET_IN
_CONFIG_10 = (1 << 7) - 1
# Features: the lower seven bits are the same; copper, fiber, autonegotiation and pause lie four bits lower in 1.0.
_SAME, _HIGH_10, _HIGH_11 = 0x7F, 7, 11


def config_to_wire(config: int, version: int) -> int:
    """The bits of `PortConfig` that the version has."""
    return config & (_CONFIG_10 if version == 1 else _CONFIG_11)


def _features_from_10(bits: int) -> int:
    return bits & _SAME | (bits >> _HIGH_10 & 0x1F) << _HIGH_11


def _features_to_10(bits: int) -> int:
    return bits & _SAME | (bits >> _HIGH_11 & 0x1F) << _HIGH_10


def _name(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


def _name_bytes(name: str) -> bytes:
    return name.encode()[:15]


def _mac(value: int) -> bytes:
    return value.to_bytes(6, "big")


def decode_port(data: bytes, at: int, version: int) -> tuple[PortDescription, int]:
    """The port at `at`, and where the next begins. OpenFlowError: it is cut short."""
    size = PORT_BYTES.get(version, _PORT_14.size)
    if len(data) - at < size:
        raise OpenFlowError("bad_request.bad_len", f"a port takes {size} bytes, {len(data) - at} are there")
    if version == 1:
        number, mac, name, config, state, *features = _PORT_10.unpack_from(data, at)
        port = PortDescription(
            port_from_16(number), int.from_bytes(mac, "big"), _name(name), config & _CONFIG_10,
            state & PortState.LINK_DOWN, *map(_features_from_10, features),
        )  # fmt: skip
        return port, at + size
    if version < 5:
        number, mac, name, *rest = _PORT_11.unpack_from(data, at)
        return PortDescription(number, int.from_bytes(mac, "big"), _name(name), *rest), at + size
    number, length, mac, name, config, state = _PORT_14.unpack_from(data, at)
    if length < size or at + length > len(data):
        raise OpenFlowError("bad_request.bad_len", f"a port of {length} bytes, where {len(data) - at} are left")
    features = [0] * 6
    for kind, value in properties(data[at + size : at + length]):
        if kind == _ETHERNET_KIND:
            need(value, _ETHERNET.size, "bad_property.bad_len", "the Ethernet property of a port")
            features = list(_ETHERNET.unpack_from(value))
    port = PortDescription(number, int.from_bytes(mac, "big"), _name(name), config, state, *features)
    return port, at + length


def decode_ports(data: bytes, at: int, version: int) -> tuple[PortDescription, ...]:
    """All ports from `at` on."""
    ports = []
    while at < len(data):
        port, at = decode_port(data, at, version)
        ports.append(port)
    return tuple(ports)


def encode_port(port: PortDescription, version: int) -> bytes:
    """As the version has it."""
    config, name, mac = config_to_wire(port.config, version), _name_bytes(port.name), _mac(port.mac)
    features = (port.current, port.advertised, port.supported, port.peer)
    if version == 1:
        state = port.state & PortState.LINK_DOWN
        return _PORT_10.pack(port_to_16(port.number), mac, name, config, state, *map(_features_to_10, features))
    speeds = (port.current_speed, port.max_speed)
    if version < 5:
        return _PORT_11.pack(port.number, mac, name, config, port.state, *features, *speeds)
    ethernet = property_bytes(_ETHERNET_KIND, _ETHERNET.pack(*features, *speeds))
    fixed = _PORT_14.pack(port.number, _PORT_14.size + len(ethernet), mac, name, config, port.state)
    return fixed + ethernet


def decode_port_status(body: bytes, dialect: Dialect) -> PortStatus:
    """OpenFlow 1.3.5 section A.4.3."""
    need(body, _STATUS_BYTES, "bad_request.bad_len", "a port-status")
    if body[0] > PortStatusReason.MODIFY:
        raise OpenFlowError("nicira.bad_reason", f"reason {body[0]} of a port-status is not known")
    port, _ = decode_port(body, _STATUS_BYTES, dialect.version)
    return PortStatus(PortStatusReason(body[0]), port)


def encode_port_status(message: PortStatus, dialect: Dialect) -> bytes:
    """As it is read."""
    return bytes([message.reason]) + bytes(7) + encode_port(message.port, dialect.version)


def decode_port_mod(body: bytes, dialect: Dialect) -> PortMod:
    """OpenFlow 1.0.0 section 5.3.3; 1.3.5 section A.3.4.3; 1.4.1 section 7.3.4.3."""
    version = dialect.version
    layout = _MOD_10 if version == 1 else _MOD_11 if version < 5 else _MOD_14
    need(body, layout.size, "bad_request.bad_len", "a port-mod")
    if version < 5:
        number, mac, config, mask, advertise = layout.unpack_from(body)
        if version == 1:
            number, advertise = port_from_16(number), _features_from_10(advertise)
    else:
        number, mac, config, mask = layout.unpack_from(body)
        advertise = 0
        for kind, value in properties(body[layout.size :]):
            if kind != _ETHERNET_KIND:
                raise OpenFlowError("bad_property.bad_type", f"a port-mod has no property {kind}")
            need(value, _ADVERTISE.size, "bad_property.bad_len", "the Ethernet property of a port-mod")
            (advertise,) = _ADVERTISE.unpack_from(value)
    check_port(number, "port_mod_failed.bad_port")
    known = _CONFIG_10 if version == 1 else _CONFIG_11
    return PortMod(number, int.from_bytes(mac, "big"), config & known, mask & known, advertise)


def encode_port_mod(message: PortMod, dialect: Dialect) -> bytes:
    """As it is read."""
    version, mac = dialect.version, _mac(message.mac)
    config, mask = config_to_wire(message.config, version), config_to_wire(message.mask, version)
    if version == 1:
        advertise = _features_to_10(message.advertise)
        return _MOD_10.pack(port_to_16(message.port), mac, config, mask, advertise)
    if version < 5:
        return _MOD_11.pack(message.port, mac, config, mask, message.advertise)
    fixed = _MOD_14.pack(message.port, mac, config, mask)
    if not message.advertise:
        return fixed
    return fixed + property_bytes(_ETHERNET_KIND, _ADVERTISE.pack(message.advertise))
