"""Fields on the wire: OXM (OpenFlow 1.2 and later) and NXM (Nicira's, which it came from), as in ovs-fields(7).

A field is a header of four bytes (class 16 bits, number 7, has-mask 1, length of what follows 8), its value, and a mask
as long as the value if the header says so. Headers of class 0xffff are followed by an experimenter id, which counts as
part of the length. Both kinds are read in every version; what is written depends on it.

Reading looks a header up in one table, which knows where in the key of a flow the value belongs. Most fields are bytes
of the key as they are. Writing follows a plan, the list of headers and places, which is kept for each set of bits that
matches have used, as the flows of a table are alike.

Invariant: what is needed by a field is written before it, and must have been read before it.
"""

from __future__ import annotations

from struct import Struct

from vswitch.fields.openflow import FLOW_BYTES, OPENFLOW_FIELDS, FlowField
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import FlowMatch, missing_need
from vswitch.openflow.wire import ONF, check_port, port_from_16, port_to_16

__all__ = [
    "MAX_PLANS",
    "decode_field",
    "decode_fields",
    "decode_header",
    "decode_match",
    "encode_field",
    "encode_fields",
    "encode_header",
    "encode_match",
    "header_number",
]

MAX_PLANS = 4096
"""Plans of writing that are kept: one for each set of bits that matches use; beyond it all are made anew."""

_HEADER = Struct("!I")
_HEADER_AT = _HEADER.unpack_from
_MATCH = Struct("!HH")
_OXM_MATCH = 1
_EXPERIMENTER_CLASS = 0xFFFF
_EXPERIMENTERS = {"tcp_flags": (42, 4, 6), "actset_output": (43, 4, 6)}
"""ONF's experimenter fields: number, first version, version from which on OpenFlow has the field itself."""

_PRESENT = OPENFLOW_FIELDS["vlan_vid"].view.slot.place(0x1000)
_PCP = OPENFLOW_FIELDS["vlan_pcp"].mask


class _Entry:
    """How a header is read: `length` of the value, `direct` the shift in the key if the bytes are the key's own (else
    -1), `full` all its bits in the key, `needs` as (bits, allowed values of them)."""

    __slots__ = ("direct", "field", "full", "length", "masked", "needs", "ports", "skip")

    def __init__(self, field: FlowField, length: int, masked: bool, skip: int) -> None:
        view = field.view
        slot = view.slot
        whole = slot.wire and view.shift == 0 and view.bits == 8 * slot.size == 8 * length and field.name != "ip_tos"
        self.field = field
        self.length = length
        self.masked = masked
        self.skip = skip  # bytes before the value: header and experimenter id
        self.direct = 8 * slot.offset if whole else -1
        self.full = OPENFLOW_FIELDS["ip_dscp"].mask if field.name == "ip_tos" else field.mask
        self.needs = tuple(_need(name, allowed) for name, allowed in field.prerequisites)
        self.ports = view.kind.name == "ofport"

    def number(self, data: bytes) -> int:
        """The value that `data` is, in the field's own bits. OpenFlowError: it has none."""
        value = int.from_bytes(data, "big")
        if self.ports:
            if self.length == 2:
                return port_from_16(value)
            return check_port(value, "bad_match.bad_value")
        if value > self.field.max or (self.field.name == "ip_tos" and value & 3):
            raise OpenFlowError("bad_match.bad_value", f"{self.field.name} {value:#x} is outside of its bits")
        return value

    def mask_number(self, data: bytes) -> int:
        """The mask that `data` is; bits outside of the field do not matter."""
        return int.from_bytes(data, "big") & self.field.max


def _need(name: str, allowed: tuple[int, ...]) -> tuple[int, frozenset[int]]:
    view = OPENFLOW_FIELDS[name].view
    if name == "vlan_vid":
        return _PRESENT, frozenset({_PRESENT})
    return view.mask, frozenset(view.place(value) for value in allowed)


def _codes(field: FlowField) -> list[tuple[int, int, int, int]]:
    """Each (class, number, experimenter, length of the value) that stands for a field."""
    codes = []
    if field.nxm is not None:
        codes.append((*field.nxm, 0, 2 if field.name == "in_port" else field.length))
    if field.oxm is not None:
        codes.append((*field.oxm, 0, field.length))
    if field.name in _EXPERIMENTERS:
        codes.append((_EXPERIMENTER_CLASS, _EXPERIMENTERS[field.name][0], ONF, field.length))
    return codes


def _entries() -> tuple[dict[int, _Entry], dict[tuple[int, int], _Entry]]:
    plain: dict[int, _Entry] = {}
    experimenters: dict[tuple[int, int], _Entry] = {}
    for field in OPENFLOW_FIELDS.values():
        for group, number, experimenter, length in _codes(field):
            extra = 4 if experimenter else 0
            for masked in (False, True):
                header = group << 16 | number << 9 | masked << 8 | extra + length * (1 + masked)
                entry = _Entry(field, length, masked, 4 + extra)
                if experimenter:
                    experimenters[header, experimenter] = entry
                else:
                    plain[header] = entry
    return plain, experimenters


_ENTRIES, _EXPERIMENTER_ENTRIES = _entries()
_MATCHABLE = {header: entry for header, entry in _ENTRIES.items() if entry.field.maskable or not entry.masked}
_KNOWN = {header >> 9 for header in _ENTRIES} | {header >> 9 for header, _ in _EXPERIMENTER_ENTRIES}


def _rare_entry(data: bytes, at: int, end: int, header: int) -> _Entry:
    """The entry of a header that is not in the first table. OpenFlowError: there is none, for the reason it names."""
    if header >> 16 == _EXPERIMENTER_CLASS and header & 0xFF >= 4 and at + 8 <= end:
        entry = _EXPERIMENTER_ENTRIES.get((header, _HEADER_AT(data, at + 4)[0]))
        if entry is not None and (entry.field.maskable or not entry.masked):
            return entry
        known = any(
            header >> 9 == other >> 9 and _HEADER_AT(data, at + 4)[0] == vendor
            for other, vendor in _EXPERIMENTER_ENTRIES
        )
    else:
        entry = _ENTRIES.get(header)
        known = header >> 9 in _KNOWN and header >> 16 != _EXPERIMENTER_CLASS
    if entry is not None:
        raise OpenFlowError("bad_match.bad_mask", f"{entry.field.name} is matched exactly or not at all")
    if known:
        raise OpenFlowError("bad_match.bad_len", f"field {header:#010x} with {header & 0xFF} bytes of value")
    raise OpenFlowError("bad_match.bad_field", f"field {header:#010x} is not known")


def _read_rare(entry: _Entry, data: bytes, at: int, value_end: int) -> tuple[int, int]:
    """(value, mask) in the key, of a field whose bytes are not just the key's."""
    view = entry.field.view
    value = entry.number(data[at:value_end])
    if not entry.masked:
        return view.place(value), entry.full
    mask = entry.mask_number(data[value_end : value_end + entry.length])
    return view.place(value), view.place(mask) & entry.full


# hot: once per flow-mod, so all in one
def decode_fields(data: bytes, at: int, end: int, *, strict: bool = True) -> FlowMatch:  # noqa: C901
    """The match that the fields in `data[at:end]` make. Not `strict`: fields that are not known are passed over, and
    what others need does not matter, as in the metadata of packets. OpenFlowError: bad_match.* otherwise."""
    value = mask = 0
    get = _MATCHABLE.get
    from_bytes = int.from_bytes
    while at < end:
        if end - at < 4:
            raise OpenFlowError("bad_match.bad_len", f"{end - at} bytes at the end of the match are no field")
        (header,) = _HEADER_AT(data, at)
        next_at = at + 4 + (header & 0xFF)
        if next_at > end:
            raise OpenFlowError("bad_match.bad_len", f"field {header:#010x} ends behind the match")
        entry = get(header)
        if entry is None:
            try:
                entry = _rare_entry(data, at, end, header)
            except OpenFlowError:
                if strict:
                    raise
                at = next_at
                continue
        begin = at + entry.skip
        value_end = begin + entry.length
        direct = entry.direct
        full = entry.full
        if direct < 0:
            new_value, new_mask = _read_rare(entry, data, begin, value_end)
        else:
            new_value = from_bytes(data[begin:value_end], "little") << direct
            new_mask = from_bytes(data[value_end:next_at], "little") << direct if entry.masked else full
        if new_value & ~new_mask:
            raise OpenFlowError("bad_match.bad_wildcards", f"{entry.field.name} has bits outside of its mask")
        if strict:
            for bits, allowed in entry.needs:
                if mask & bits != bits or value & bits not in allowed:
                    raise OpenFlowError("bad_match.bad_prereq", f"{entry.field.name} needs fields that are not there")
            if mask & full:
                raise OpenFlowError("bad_match.dup_field", f"{entry.field.name} is there twice")
        value |= new_value
        mask |= new_mask
        at = next_at
    return FlowMatch.from_ints(value, mask)


def decode_match(data: bytes, at: int = 0, *, strict: bool = True) -> tuple[FlowMatch, int]:
    """The match structure of OpenFlow 1.2 and later at `at`, and where what follows its padding begins."""
    if len(data) - at < 8:
        raise OpenFlowError("bad_match.bad_len", f"a match takes 8 bytes, {len(data) - at} are there")
    kind, length = _MATCH.unpack_from(data, at)
    if kind != _OXM_MATCH:
        raise OpenFlowError("bad_match.bad_type", f"matches of type {kind} are not known")
    after = at + length + -length % 8
    if length < 4 or after > len(data):
        raise OpenFlowError("bad_match.bad_len", f"a match of {length} bytes, where {len(data) - at} are left")
    return decode_fields(data, at + 4, at + length, strict=strict), after


# ---- writing


def _code(field: FlowField, version: int, nxm: bool) -> tuple[int, int, int, int]:
    """The (class, number, experimenter, length) by which this version writes a field."""
    codes = _codes(field)
    if nxm or version < 3:
        return codes[0]
    if field.name in _EXPERIMENTERS:
        _, first, last = _EXPERIMENTERS[field.name]
        if first <= version < last:
            return codes[-1]
        if version >= last:
            return codes[-2]
        return codes[0] if field.nxm is not None else codes[-1]
    if field.oxm is not None and (version >= field.since or field.nxm is None):
        return codes[-1]
    return codes[0]


def _header(field: FlowField, version: int, nxm: bool, masked: bool, body: int | None = None) -> tuple[bytes, int]:
    """The bytes of a header, experimenter id included, and the length of the value."""
    group, number, experimenter, length = _code(field, version, nxm)
    extra = _HEADER.pack(experimenter) if experimenter else b""
    size = len(extra) + (length * (1 + masked) if body is None else body)
    return _HEADER.pack(group << 16 | number << 9 | masked << 8 | size) + extra, length


def encode_header(field: FlowField, version: int, *, masked: bool = False, nxm: bool = False) -> bytes:
    """The header of a field alone, as actions name fields: four bytes, eight with an experimenter id."""
    return _header(field, version, nxm, masked)[0]


def header_number(field: FlowField, version: int, *, nxm: bool = False) -> int:
    """The first four bytes of the header, as a number."""
    return int(_HEADER_AT(encode_header(field, version, nxm=nxm))[0])


def decode_header(data: bytes, at: int, error: str = "bad_match.bad_field") -> tuple[FlowField, int]:
    """The field whose header stands alone at `at`, and where what follows it begins. OpenFlowError `error`: no field
    has it, or it says that a mask follows."""
    if len(data) - at >= 4:
        (header,) = _HEADER_AT(data, at)
        entry = _ENTRIES.get(header)
        if entry is None and len(data) - at >= 8:
            entry = _EXPERIMENTER_ENTRIES.get((header, _HEADER_AT(data, at + 4)[0]))
        if entry is not None and not entry.masked:
            return entry.field, at + entry.skip
        raise OpenFlowError(error, f"{header:#010x} is the header of no field")
    raise OpenFlowError("bad_action.bad_len", f"the header of a field takes 4 bytes, {len(data) - at} are there")


def _to_bytes(field: FlowField, value: int, length: int) -> bytes:
    if length == 2 and field.name == "in_port":
        value = port_to_16(value)
    return value.to_bytes(length, "big")


def encode_field(field: FlowField, value: int, mask: int, version: int, *, nxm: bool = False) -> bytes:
    """Header, value, and mask if that is not all bits, of values in the field's own bits."""
    masked = mask != field.max
    header, length = _header(field, version, nxm, masked)
    data = header + _to_bytes(field, value, length)
    return data + mask.to_bytes(length, "big") if masked else data


def decode_field(data: bytes, at: int) -> tuple[FlowField, int, int, int]:
    """(field, value, mask, where what follows begins) of one field with its value, as set actions have it.
    OpenFlowError: bad_action.bad_set_*."""
    if len(data) - at < 4:
        raise OpenFlowError("bad_action.bad_set_len", f"a field takes 4 bytes and more, {len(data) - at} are there")
    (header,) = _HEADER_AT(data, at)
    entry = _ENTRIES.get(header)
    if entry is None:
        try:
            entry = _rare_entry(data, at, len(data), header)
        except OpenFlowError as error:
            word = {"bad_match.bad_len": "bad_set_len", "bad_match.bad_mask": "bad_set_mask"}.get(error.error)
            raise OpenFlowError(f"bad_action.{word or 'bad_set_type'}", error.text) from None
    begin, length = at + entry.skip, entry.length
    end = at + 4 + (header & 0xFF)
    if end > len(data):
        raise OpenFlowError("bad_action.bad_set_len", f"{entry.field.name} ends behind the action")
    try:
        value = entry.number(data[begin : begin + length])
    except OpenFlowError as error:
        raise OpenFlowError("bad_action.bad_set_argument", error.text) from None
    mask = entry.mask_number(data[begin + length : end]) if entry.masked else entry.field.max
    if value & ~mask:
        raise OpenFlowError("bad_action.bad_set_argument", f"{entry.field.name} has bits outside of its mask")
    return entry.field, value, mask, end


_Step = tuple[bytes, int, int, "FlowField | None", bytes]
"""Header; where the value begins in the key and its length if it is the key's bytes; else the field; mask."""

_plans: dict[tuple[int, bool, int, int], tuple[_Step, ...]] = {}
_DECIDING = OPENFLOW_FIELDS["eth_type"].mask | OPENFLOW_FIELDS["ip_proto"].mask | _PRESENT
_ND = OPENFLOW_FIELDS["nd_target"].mask | OPENFLOW_FIELDS["nd_sll"].mask | OPENFLOW_FIELDS["nd_tll"].mask
_ND_TYPE = OPENFLOW_FIELDS["icmpv6_type"].mask
_WIDE = {
    name: OPENFLOW_FIELDS[name].mask & ~OPENFLOW_FIELDS[name.replace("ipv6_", "")].mask
    for name in ("tun_ipv6_src", "tun_ipv6_dst")
}
"""Their bits by which they are told from IPv4's, that share the first four bytes."""


_IP_ORDER = (
    "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ipv6_label", "ip_frag", "ip_dscp", "ip_tos", "ip_ecn", "ip_ttl",
    "ip_proto",
)  # fmt: skip
_FIRST = ("dp_hash", "recirc_id", "conj_id")
_LAST = ("skb_mark", "ct_state", "ct_zone", "ct_mark", "ct_label", "metadata")


def _candidates(nxm: bool) -> list[FlowField]:
    """Fields in the order of writing, which is Open vSwitch's where it matters to nobody: those that others need first,
    wide ones before those that lie in them."""
    others = {"vlan_vid", "vlan_pcp", "ip_dscp"} if nxm else {"ip_tos"}
    last = ("tun_src", "tun_dst", *(() if nxm else ("vlan_tci",)), *_LAST)
    ahead = [name for name in OPENFLOW_FIELDS if name not in {*_FIRST, *_IP_ORDER, *last, "mpls_tc"}]
    at = ahead.index("tcp_src")
    ahead[at:at] = _IP_ORDER
    ahead.insert(ahead.index("mpls_label"), "mpls_tc")
    return [OPENFLOW_FIELDS[name] for name in (*_FIRST, *ahead, *last) if "xreg" not in name and name not in others]


_CANDIDATES = {nxm: _candidates(nxm) for nxm in (False, True)}


def _fits(field: FlowField, match: FlowMatch, nxm: bool) -> bool:
    """Whether a field is the one that says its bits of a match."""
    if field.name in _WIDE:
        return bool(match.mask & _WIDE[field.name])
    if not nxm and field.name in {"vlan_vid", "vlan_pcp"}:  # else vlan_tci has them all
        return not match.mask & _PCP or (match.mask & _PCP == _PCP and match.value & _PRESENT == _PRESENT)
    return True


def _plan(version: int, nxm: bool, match: FlowMatch) -> tuple[_Step, ...]:
    steps: list[_Step] = []
    rest = match.mask
    for applying in (True, False):  # then bits of headers that the match does not imply
        for field in _CANDIDATES[nxm]:
            full = OPENFLOW_FIELDS["ip_dscp"].mask if field.name == "ip_tos" else field.mask
            bits = rest & full
            if not bits or not _fits(field, match, nxm) or (applying and missing_need(match, field)):
                continue
            rest &= ~full
            masked = bits != full
            header, length = _header(field, version, nxm, masked)
            entry = _Entry(field, length, masked, 0)
            mask_bytes = _to_bytes(field, field.view.take(bits), length) if masked and not entry.ports else b""
            if masked and entry.ports:
                mask_bytes = (field.view.take(bits) & ((1 << 8 * length) - 1)).to_bytes(length, "big")
            if entry.direct < 0:
                steps.append((header, 0, length, field, mask_bytes))
            else:
                steps.append((header, field.view.slot.offset, length, None, mask_bytes))
    return tuple(steps)


# hot: once per flow that is told of
def encode_fields(match: FlowMatch, version: int, *, nxm: bool = False) -> bytes:
    """All fields of a match, without padding."""
    value, mask = match.value, match.mask
    if not mask:
        return b""
    nxm = nxm or version < 3
    deciding = value & _DECIDING
    if mask & _ND:
        deciding |= value & _ND_TYPE
    key = (version, nxm, mask, deciding)
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) >= MAX_PLANS:
            _plans.clear()
        plan = _plans[key] = _plan(version, nxm, match)
    data = value.to_bytes(FLOW_BYTES, "little")
    parts = []
    for header, begin, length, field, mask_bytes in plan:
        parts.append(header)
        if field is None:
            parts.append(data[begin : begin + length])
        else:
            own = field.view.take(value)
            parts.append(_to_bytes(field, own & ~3 if field.name == "ip_tos" else own, length))
        parts.append(mask_bytes)
    return b"".join(parts)


def encode_match(match: FlowMatch, version: int, *, nxm: bool = False) -> bytes:
    """The match structure of OpenFlow 1.2 and later, padded; with `nxm` the fields alone, unpadded, as Nicira's
    messages have them."""
    fields = encode_fields(match, version, nxm=nxm)
    if nxm:
        return fields
    length = 4 + len(fields)
    return _MATCH.pack(_OXM_MATCH, length) + fields + bytes(-length % 8)
