"""What keeps a connection going: hello, features, configuration, roles, what a controller wants to be told.

Codecs of bodies. What has no body (barrier, requests for features and configuration) and what is its own body (echo) is
in `codec`.
"""

from __future__ import annotations

from struct import Struct

from vswitch.messages.control import (
    AsyncConfig,
    AsyncGet,
    Capability,
    ControllerRole,
    Experimenter,
    FeaturesReply,
    GetConfigReply,
    Hello,
    RoleReply,
    RoleRequest,
    RoleStatus,
    SetAsync,
    SetConfig,
)
from vswitch.messages.errors import OpenFlowError
from vswitch.openflow.ports import decode_ports, encode_port
from vswitch.openflow.wire import Dialect, need, properties, property_bytes

__all__ = [
    "decode_async_get",
    "decode_config",
    "decode_experimenter",
    "decode_features",
    "decode_hello",
    "decode_nicira_async",
    "decode_nicira_async2",
    "decode_nicira_role",
    "decode_role",
    "decode_role_status",
    "decode_set_async",
    "encode_async",
    "encode_async_get",
    "encode_config",
    "encode_experimenter",
    "encode_features",
    "encode_hello",
    "encode_nicira_async",
    "encode_nicira_role",
    "encode_role",
    "encode_role_status",
]

_BITMAP = 1
_FEATURES = Struct("!QIBB2xII")
_CONFIG = Struct("!HH")
_ROLE = Struct("!IH2xQ")
_ROLE_STATUS = Struct("!IB3xQ")
_NICIRA_ROLE = Struct("!I")
_EXPERIMENTER = Struct("!II")
_MASKS = Struct("!6I")
_NO_GENERATION = (1 << 64) - 1


# ---- hello


def decode_hello(body: bytes, dialect: Dialect) -> Hello:
    """By the bitmap, or if there is none by the header's version, which stands for all up to it. Elements that are not
    known are passed over, and so is what is no element (OpenFlow 1.3.5 section A.5.1)."""
    try:
        for kind, value in properties(body):
            if kind == _BITMAP:
                words = [int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value) - len(value) % 4, 4)]
                bits = sum(word << 32 * index for index, word in enumerate(words))
                return Hello(frozenset(bit for bit in range(bits.bit_length()) if bits >> bit & 1))
    except OpenFlowError:
        pass
    return Hello(frozenset(range(1, dialect.version + 1)), False)


def encode_hello(message: Hello) -> bytes:
    """The bitmap, if it is to be sent. The header's version is the highest."""
    if not message.bitmap:
        return b""
    bits = sum(1 << version for version in message.versions)
    return property_bytes(_BITMAP, b"".join(
        (bits >> 32 * index & 0xFFFFFFFF).to_bytes(4, "big") for index in range(max(bits.bit_length() + 31 >> 5, 1))
    ))  # fmt: skip


# ---- features

_SAME_CAPABILITIES = {1: 0x67, 2: 0x6F, 3: 0x16F, 4: 0x16F, 5: 0x76F, 6: 0x76F}
_STP_10, _ARP_MATCH_IP = 1 << 3, 1 << 7


def decode_features(body: bytes, dialect: Dialect) -> FeaturesReply:
    """OpenFlow 1.0.0 section 5.3.1; 1.3.5 section A.3.1."""
    version = dialect.version
    need(body, _FEATURES.size, "bad_request.bad_len", "a features reply")
    datapath_id, buffers, tables, auxiliary, capabilities, actions = _FEATURES.unpack_from(body)
    known = capabilities & _SAME_CAPABILITIES[version]
    if version == 1 and capabilities & _STP_10:
        known |= Capability.STP
    if version <= 2 and capabilities & _ARP_MATCH_IP:
        known |= Capability.ARP_MATCH_IP
    ports = decode_ports(body, _FEATURES.size, version) if version <= 3 else ()
    auxiliary = auxiliary if version >= 4 else 0
    return FeaturesReply(datapath_id, buffers, tables, known, auxiliary, actions if version == 1 else 0, ports)


def encode_features(message: FeaturesReply, dialect: Dialect) -> bytes:
    """As it is read."""
    version = dialect.version
    bits = message.capabilities & _SAME_CAPABILITIES[version]
    if version == 1 and message.capabilities & Capability.STP:
        bits |= _STP_10
    if version <= 2 and message.capabilities & Capability.ARP_MATCH_IP:
        bits |= _ARP_MATCH_IP
    fixed = _FEATURES.pack(
        message.datapath_id, message.buffers, message.tables, message.auxiliary_id if version >= 4 else 0, bits,
        message.actions if version == 1 else 0,
    )  # fmt: skip
    if version > 3:
        return fixed
    return fixed + b"".join(encode_port(port, version) for port in message.ports)


# ---- configuration

_FRAGMENTS, _INVALID_TTL = 3, 1 << 2
_INVALID_TTL_UNTIL = 3
"""OpenFlow 1.2 is the last that has the flag, and Open vSwitch has it in 1.0 too."""


def decode_config(
    body: bytes, dialect: Dialect, cls: type[SetConfig] | type[GetConfigReply]
) -> SetConfig | GetConfigReply:
    """Both have one shape. OpenFlowError: bits that the version does not have, in what is to be set."""
    need(body, _CONFIG.size, "bad_request.bad_len", "a switch configuration")
    flags, length = _CONFIG.unpack_from(body)
    known = _FRAGMENTS | (_INVALID_TTL if dialect.version <= _INVALID_TTL_UNTIL else 0)
    if flags & ~known and cls is SetConfig:
        raise OpenFlowError("switch_config_failed.bad_flags", f"flags {flags:#x}, of which {known:#x} are known")
    return cls(flags & _FRAGMENTS, length, bool(flags & known & _INVALID_TTL))


def encode_config(message: SetConfig | GetConfigReply, dialect: Dialect) -> bytes:
    """As it is read."""
    flags = message.fragments & _FRAGMENTS
    if message.invalid_ttl and dialect.version <= _INVALID_TTL_UNTIL:
        flags |= _INVALID_TTL
    return _CONFIG.pack(flags, message.miss_send_length)


# ---- roles


def _role(number: int) -> ControllerRole:
    if number > ControllerRole.SECONDARY:
        raise OpenFlowError("role_request_failed.bad_role", f"role {number} is not known")
    return ControllerRole(number)


def decode_role(body: bytes, dialect: Dialect, cls: type[RoleRequest] | type[RoleReply]) -> RoleRequest | RoleReply:
    """OpenFlow 1.3.5 section A.3.9; OpenFlow 1.5.1 section 7.3.8 has an id of the controller too."""
    need(body, _ROLE.size, "bad_request.bad_len", "a role")
    number, short_id, generation = _ROLE.unpack_from(body)
    role = _role(number)
    known: int | None = generation
    if cls is RoleRequest and role < ControllerRole.PRIMARY:
        known = None  # it says nothing there
    elif generation == _NO_GENERATION:
        known = None
    return cls(role, known, False, short_id if dialect.version == 6 and short_id else None)


def encode_role(message: RoleRequest | RoleReply, dialect: Dialect) -> bytes:
    """As it is read."""
    generation = message.generation_id
    if generation is None:
        generation = _NO_GENERATION
    return _ROLE.pack(message.role, (message.short_id or 0) if dialect.version == 6 else 0, generation)


def decode_nicira_role(body: bytes, cls: type[RoleRequest] | type[RoleReply]) -> RoleRequest | RoleReply:
    """NXT_ROLE_REQUEST and _REPLY: "other", "master", "slave"."""
    need(body, _NICIRA_ROLE.size, "bad_request.bad_len", "a role")
    (number,) = _NICIRA_ROLE.unpack_from(body)
    return cls(_role(number + 1), None, True)


def encode_nicira_role(message: RoleRequest | RoleReply) -> bytes:
    """As it is read. OpenFlowError: Nicira has no such role."""
    if message.role is ControllerRole.NO_CHANGE:
        raise OpenFlowError("role_request_failed.bad_role", "Nicira's roles are asked for by taking one")
    return _NICIRA_ROLE.pack(message.role - 1)


def decode_role_status(body: bytes, _dialect: Dialect) -> RoleStatus:
    """OpenFlow 1.4.1 section 7.4.4."""
    need(body, _ROLE_STATUS.size, "bad_request.bad_len", "a role-status")
    number, reason, generation = _ROLE_STATUS.unpack_from(body)
    return RoleStatus(_role(number), reason, None if generation == _NO_GENERATION else generation)


def encode_role_status(message: RoleStatus, _dialect: Dialect) -> bytes:
    """As it is read."""
    generation = _NO_GENERATION if message.generation_id is None else message.generation_id
    return _ROLE_STATUS.pack(message.role, message.reason, generation)


# ---- what is told

_KINDS = (
    "packet_in", "port_status", "flow_removed", "role_status", "table_status", "requestforward", "flow_stats",
    "cont_status",
)  # fmt: skip
"""Property 2n is for secondaries, 2n + 1 for primaries."""
_OLD_KINDS = _KINDS[:3]


def _from_masks(body: bytes) -> AsyncConfig:
    """Two masks for each of three kinds: primary, secondary."""
    need(body, _MASKS.size, "bad_request.bad_len", "a configuration of asynchronous messages")
    masks = _MASKS.unpack_from(body)
    return AsyncConfig(
        tuple(zip(_OLD_KINDS, masks[::2], strict=True)), tuple(zip(_OLD_KINDS, masks[1::2], strict=True))
    )


def _to_masks(config: AsyncConfig) -> bytes:
    primary, secondary = dict(config.primary), dict(config.secondary)
    masks: list[int] = []
    for kind in _OLD_KINDS:
        masks += (primary.get(kind, 0), secondary.get(kind, 0))
    return _MASKS.pack(*masks)


def _from_properties(body: bytes) -> AsyncConfig:
    primary: list[tuple[str, int]] = []
    secondary: list[tuple[str, int]] = []
    for kind, value in properties(body):
        if kind >> 1 >= len(_KINDS):
            if kind >= 0xFFFE:
                raise OpenFlowError("bad_property.bad_experimenter", "properties of experimenters are not known")
            raise OpenFlowError("bad_property.bad_type", f"messages of kind {kind} are not known")
        if len(value) != 4:
            raise OpenFlowError("bad_property.bad_len", f"a mask of reasons has 4 bytes, not {len(value)}")
        (primary if kind & 1 else secondary).append((_KINDS[kind >> 1], int.from_bytes(value, "big")))
    return AsyncConfig(tuple(primary), tuple(secondary))


def _to_properties(config: AsyncConfig) -> bytes:
    parts = []
    for masks, bit in ((config.secondary, 0), (config.primary, 1)):
        for kind, mask in masks:
            parts.append(
                (2 * _KINDS.index(kind) | bit, property_bytes(2 * _KINDS.index(kind) | bit, mask.to_bytes(4, "big")))
            )
    return b"".join(data for _, data in sorted(parts))


def decode_set_async(body: bytes, dialect: Dialect) -> SetAsync:
    """OpenFlow 1.3.5 section A.3.10; OpenFlow 1.4.1 section 7.3.10."""
    return SetAsync(_from_masks(body) if dialect.version < 5 else _from_properties(body))


def decode_async_get(body: bytes, dialect: Dialect) -> AsyncGet:
    """The reply to it."""
    return AsyncGet(_from_masks(body) if dialect.version < 5 else _from_properties(body))


def encode_async(config: AsyncConfig, dialect: Dialect) -> bytes:
    """As the version has it."""
    return _to_masks(config) if dialect.version < 5 else _to_properties(config)


def encode_async_get(message: AsyncGet, dialect: Dialect) -> bytes:
    """Nothing, if it is a request."""
    return b"" if message.config is None else encode_async(message.config, dialect)


def decode_nicira_async(body: bytes, _dialect: Dialect) -> SetAsync:
    """NXT_SET_ASYNC_CONFIG."""
    return SetAsync(_from_masks(body), True)


def decode_nicira_async2(body: bytes, _dialect: Dialect) -> SetAsync:
    """NXT_SET_ASYNC_CONFIG2, which has 1.4's properties."""
    return SetAsync(_from_properties(body), True)


def encode_nicira_async(config: AsyncConfig) -> tuple[int, bytes]:
    """Subtype and body: by masks if they can say it."""
    names = [kind for kind, _ in config.primary], [kind for kind, _ in config.secondary]
    if names == (list(_OLD_KINDS), list(_OLD_KINDS)):
        return 19, _to_masks(config)
    return 27, _to_properties(config)


# ---- somebody's own


def decode_experimenter(body: bytes, _dialect: Dialect) -> Experimenter:
    """OpenFlow 1.3.5 section A.5.4; in 1.0 there is no type, but those who use it put one there."""
    need(body, _EXPERIMENTER.size, "bad_request.bad_len", "an experimenter's message")
    vendor, kind = _EXPERIMENTER.unpack_from(body)
    return Experimenter(vendor, kind, body[_EXPERIMENTER.size :])


def encode_experimenter(message: Experimenter, _dialect: Dialect) -> bytes:
    """As it is read."""
    return _EXPERIMENTER.pack(message.experimenter, message.kind) + message.data
