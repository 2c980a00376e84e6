"""The numbers of refusals, and the error message.

A refusal has one name in all versions; a row below has its type and code in OpenFlow 1.0, 1.1, 1.2, 1.3, 1.4 and 1.5.
`=`: as in the column before it, `-`: it has none. n: an error of Nicira's, o: of ONF's. What a version cannot say is
sent as Nicira's "unencodable".
"""

from __future__ import annotations

from struct import Struct

from vswitch.messages.control import Error
from vswitch.messages.errors import OpenFlowError
from vswitch.openflow.wire import NICIRA, ONF, VERSIONS

__all__ = ["ALIASES", "NUMBERS", "decode_error", "encode_error", "error_name"]

_TABLE = """
hello_failed.incompatible             | 0.0     | =       | =       | =       | =       | =
hello_failed.eperm                    | 0.1     | =       | =       | =       | =       | =
bad_request.bad_version               | 1.0     | =       | =       | =       | =       | =
bad_request.bad_type                  | 1.1     | =       | =       | =       | =       | =
bad_request.bad_multipart             | 1.2     | =       | =       | =       | =       | =
bad_request.bad_experimenter          | 1.3     | =       | =       | =       | =       | =
bad_request.bad_exp_type              | 1.4     | =       | =       | =       | =       | =
bad_request.eperm                     | 1.5     | =       | =       | =       | =       | =
bad_request.bad_len                   | 1.6     | =       | =       | =       | =       | =
bad_request.buffer_empty              | 1.7     | =       | =       | =       | =       | =
bad_request.buffer_unknown            | 1.8     | =       | =       | =       | =       | =
bad_request.bad_table_id              | n1.512  | 1.9     | =       | =       | =       | =
bad_request.is_slave                  | 1.5     | =       | 1.10    | =       | =       | =
bad_request.bad_port                  | n1.514  | =       | 1.11    | =       | =       | =
bad_request.bad_packet                | -       | =       | 1.12    | =       | =       | =
bad_request.multipart_buffer_overflow | -       | =       | =       | 1.13    | =       | =
bad_request.multipart_request_timeout | -       | =       | =       | o2640.0 | 1.14    | =
bad_request.multipart_reply_timeout   | -       | =       | =       | o2641.0 | 1.15    | =
bad_request.multipart_bad_sched       | -       | =       | =       | =       | =       | 1.16
bad_request.pipeline_fields_only      | -       | =       | =       | =       | =       | 1.17
bad_request.unknown                   | -       | =       | =       | =       | =       | 1.18
bad_action.bad_type                   | 2.0     | =       | =       | =       | =       | =
bad_action.bad_len                    | 2.1     | =       | =       | =       | =       | =
bad_action.bad_experimenter           | 2.2     | =       | =       | =       | =       | =
bad_action.bad_exp_type               | 2.3     | =       | =       | =       | =       | =
bad_action.bad_out_port               | 2.4     | =       | =       | =       | =       | =
bad_action.bad_argument               | 2.5     | =       | =       | =       | =       | =
bad_action.eperm                      | 2.6     | =       | =       | =       | =       | =
bad_action.too_many                   | 2.7     | =       | =       | =       | =       | =
bad_action.bad_queue                  | 2.8     | =       | =       | =       | =       | =
bad_action.bad_out_group              | n2.9    | 2.9     | =       | =       | =       | =
bad_action.match_inconsistent         | n1.522  | 2.10    | =       | =       | =       | =
bad_action.unsupported_order          | -       | 2.11    | =       | =       | =       | =
bad_action.bad_tag                    | -       | 2.12    | =       | =       | =       | =
bad_action.bad_set_type               | n1.523  | =       | 2.13    | =       | =       | =
bad_action.bad_set_len                | n1.524  | =       | 2.14    | =       | =       | =
bad_action.bad_set_argument           | n1.525  | =       | 2.15    | =       | =       | =
bad_action.bad_set_mask               | -       | =       | =       | o4250.0 | =       | 2.16
bad_action.bad_meter                  | -       | =       | =       | =       | =       | 2.17
bad_instruction.unknown_inst          | -       | 3.0     | =       | =       | =       | =
bad_instruction.unsup_inst            | n2.257  | 3.1     | =       | =       | =       | =
bad_instruction.bad_table_id          | -       | 3.2     | =       | =       | =       | =
bad_instruction.unsup_metadata        | -       | 3.3     | =       | =       | =       | =
bad_instruction.unsup_metadata_mask   | -       | 3.4     | =       | =       | =       | =
bad_instruction.bad_experimenter      | -       | 3.5     | =       | =       | =       | =
bad_instruction.bad_exp_type          | -       | 3.5     | 3.6     | =       | =       | =
bad_instruction.bad_len               | -       | =       | 3.7     | =       | =       | =
bad_instruction.eperm                 | -       | =       | 3.8     | =       | =       | =
bad_instruction.dup_inst              | -       | n3.256  | o2600.0 | =       | 3.9     | =
bad_match.bad_type                    | -       | 4.0     | =       | =       | =       | =
bad_match.bad_len                     | -       | 4.1     | =       | =       | =       | =
bad_match.bad_tag                     | -       | 4.2     | =       | =       | =       | =
bad_match.bad_dl_addr_mask            | -       | 4.3     | =       | =       | =       | =
bad_match.bad_nw_addr_mask            | -       | 4.4     | =       | =       | =       | =
bad_match.bad_wildcards               | n1.262  | 4.5     | =       | =       | =       | =
bad_match.bad_field                   | n0.263  | 4.6     | =       | =       | =       | =
bad_match.bad_value                   | n1.258  | 4.7     | =       | =       | =       | =
bad_match.bad_mask                    | n1.259  | =       | 4.8     | =       | =       | =
bad_match.bad_prereq                  | n1.260  | =       | 4.9     | =       | =       | =
bad_match.dup_field                   | n1.261  | =       | 4.10    | =       | =       | =
bad_match.eperm                       | -       | =       | 4.11    | =       | =       | =
flow_mod_failed.unknown               | -       | 5.0     | =       | =       | =       | =
flow_mod_failed.table_full            | 3.0     | 5.1     | =       | =       | =       | =
flow_mod_failed.bad_table_id          | -       | 5.2     | =       | =       | =       | =
flow_mod_failed.bad_emerg_timeout     | 3.3     | -       | =       | =       | =       | =
flow_mod_failed.overlap               | 3.1     | 5.3     | =       | =       | =       | =
flow_mod_failed.eperm                 | 3.2     | 5.4     | =       | =       | =       | =
flow_mod_failed.bad_timeout           | -       | 5.5     | =       | =       | =       | =
flow_mod_failed.unsupported           | 3.5     | -       | =       | =       | =       | =
flow_mod_failed.bad_command           | 3.4     | 5.6     | =       | =       | =       | =
flow_mod_failed.bad_flags             | n3.258  | n5.258  | 5.7     | =       | =       | =
flow_mod_failed.cant_sync             | -       | =       | =       | =       | 5.8     | =
flow_mod_failed.bad_priority          | -       | =       | =       | o2360.0 | 5.9     | =
flow_mod_failed.is_sync               | -       | =       | =       | =       | 5.10    | =
group_mod_failed.group_exists         | n6.0    | 6.0     | =       | =       | =       | =
group_mod_failed.invalid_group        | n6.1    | 6.1     | =       | =       | =       | =
group_mod_failed.weight_unsupported   | n6.2    | 6.2     | =       | =       | =       | =
group_mod_failed.out_of_groups        | n6.3    | 6.3     | =       | =       | =       | =
group_mod_failed.out_of_buckets       | n6.4    | 6.4     | =       | =       | =       | =
group_mod_failed.chaining_unsupported | n6.5    | 6.5     | =       | =       | =       | =
group_mod_failed.watch_unsupported    | n6.6    | 6.6     | =       | =       | =       | =
group_mod_failed.loop                 | n6.7    | 6.7     | =       | =       | =       | =
group_mod_failed.unknown_group        | n6.8    | 6.8     | =       | =       | =       | =
group_mod_failed.chained_group        | n6.9    | -       | 6.9     | =       | =       | =
group_mod_failed.bad_type             | n6.10   | -       | 6.10    | =       | =       | =
group_mod_failed.bad_command          | n6.11   | -       | 6.11    | =       | =       | =
group_mod_failed.bad_bucket           | n6.12   | -       | 6.12    | =       | =       | =
group_mod_failed.bad_watch            | n6.13   | -       | 6.13    | =       | =       | =
group_mod_failed.eperm                | n6.14   | -       | 6.14    | =       | =       | =
group_mod_failed.unknown_bucket       | n6.15   | -       | =       | =       | =       | 6.15
group_mod_failed.bucket_exists        | n6.16   | -       | =       | =       | =       | 6.16
port_mod_failed.bad_port              | 4.0     | 7.0     | =       | =       | =       | =
port_mod_failed.bad_hw_addr           | 4.1     | 7.1     | =       | =       | =       | =
port_mod_failed.bad_config            | -       | 7.2     | =       | =       | =       | =
port_mod_failed.bad_advertise         | -       | 7.3     | =       | =       | =       | =
port_mod_failed.eperm                 | -       | =       | 7.4     | =       | =       | =
table_mod_failed.bad_table            | -       | 8.0     | =       | =       | =       | =
table_mod_failed.bad_config           | -       | 8.1     | =       | =       | =       | =
table_mod_failed.eperm                | -       | =       | 8.2     | =       | =       | =
queue_op_failed.bad_port              | 5.0     | 9.0     | =       | =       | =       | =
queue_op_failed.bad_queue             | 5.1     | 9.1     | =       | =       | =       | =
queue_op_failed.eperm                 | 5.2     | 9.2     | =       | =       | =       | =
switch_config_failed.bad_flags        | -       | 10.0    | =       | =       | =       | =
switch_config_failed.bad_len          | -       | 10.1    | =       | =       | =       | =
switch_config_failed.eperm            | -       | =       | 10.2    | =       | =       | =
role_request_failed.stale             | -       | =       | 11.0    | =       | =       | =
role_request_failed.unsup             | -       | =       | 11.1    | =       | =       | =
role_request_failed.bad_role          | n1.513  | =       | 11.2    | =       | =       | =
role_request_failed.id_unsup          | -       | =       | =       | =       | =       | 11.3
role_request_failed.id_in_use         | -       | =       | =       | =       | =       | 11.4
meter_mod_failed.unknown              | -       | =       | =       | 12.0    | =       | =
meter_mod_failed.meter_exists         | -       | =       | =       | 12.1    | =       | =
meter_mod_failed.invalid_meter        | -       | =       | =       | 12.2    | =       | =
meter_mod_failed.unknown_meter        | -       | =       | =       | 12.3    | =       | =
meter_mod_failed.bad_command          | -       | =       | =       | 12.4    | =       | =
meter_mod_failed.bad_flags            | -       | =       | =       | 12.5    | =       | =
meter_mod_failed.bad_rate             | -       | =       | =       | 12.6    | =       | =
meter_mod_failed.bad_burst            | -       | =       | =       | 12.7    | =       | =
meter_mod_failed.bad_band             | -       | =       | =       | 12.8    | =       | =
meter_mod_failed.bad_band_value       | -       | =       | =       | 12.9    | =       | =
meter_mod_failed.out_of_meters        | -       | =       | =       | 12.10   | =       | =
meter_mod_failed.out_of_bands         | -       | =       | =       | 12.11   | =       | =
table_features_failed.bad_table       | -       | =       | =       | 13.0    | =       | =
table_features_failed.bad_metadata    | -       | =       | =       | 13.1    | =       | =
table_features_failed.eperm           | -       | =       | =       | 13.5    | =       | =
table_features_failed.bad_capa        | -       | =       | =       | =       | =       | 13.6
table_features_failed.bad_max_ent     | -       | =       | =       | =       | =       | 13.7
table_features_failed.bad_features    | -       | =       | =       | =       | =       | 13.8
table_features_failed.bad_command     | -       | =       | =       | =       | =       | 13.9
table_features_failed.too_many        | -       | =       | =       | =       | =       | 13.10
bad_property.bad_type                 | n13.2   | =       | n25.0   | 13.2    | 14.0    | =
bad_property.bad_len                  | n13.3   | =       | n26.0   | 13.3    | 14.1    | =
bad_property.bad_value                | n13.4   | =       | n27.0   | 13.4    | 14.2    | =
bad_property.too_many                 | n14.3   | =       | n28.0   | o4443.0 | 14.3    | =
bad_property.dup_type                 | n14.4   | =       | n29.0   | o4444.0 | 14.4    | =
bad_property.bad_experimenter         | n14.5   | =       | n30.0   | o4445.0 | 14.5    | =
bad_property.bad_exp_type             | n14.6   | =       | n31.0   | o4446.0 | 14.6    | =
bad_property.bad_exp_value            | n14.7   | =       | n32.0   | o4447.0 | 14.7    | =
bad_property.eperm                    | n14.8   | =       | n33.0   | o4448.0 | 14.8    | =
async_config_failed.invalid           | -       | =       | =       | o2370.0 | 15.0    | =
async_config_failed.unsupported       | -       | =       | =       | o2371.0 | 15.1    | =
async_config_failed.eperm             | -       | =       | =       | o2372.0 | 15.2    | =
flow_monitor_failed.unknown           | -       | =       | =       | =       | 16.0    | =
flow_monitor_failed.monitor_exists    | n1.517  | =       | n6.0    | =       | 16.1    | =
flow_monitor_failed.invalid_monitor   | -       | =       | =       | =       | 16.2    | =
flow_monitor_failed.unknown_monitor   | n1.519  | =       | n8.0    | =       | 16.3    | =
flow_monitor_failed.bad_command       | -       | =       | =       | =       | 16.4    | =
flow_monitor_failed.bad_flags         | n1.518  | =       | n7.0    | =       | 16.5    | =
flow_monitor_failed.bad_table_id      | -       | =       | =       | =       | 16.6    | =
flow_monitor_failed.bad_out           | -       | =       | =       | =       | 16.7    | =
bundle_failed.bad_version             | -       | =       | =       | =       | n22.0   | =
bundle_failed.unknown                 | -       | =       | =       | o2300.0 | 17.0    | =
bundle_failed.eperm                   | -       | =       | =       | o2301.0 | 17.1    | =
bundle_failed.bad_id                  | -       | =       | =       | o2302.0 | 17.2    | =
bundle_failed.bundle_exist            | -       | =       | =       | o2303.0 | 17.3    | =
bundle_failed.bundle_closed           | -       | =       | =       | o2304.0 | 17.4    | =
bundle_failed.out_of_bundles          | -       | =       | =       | o2305.0 | 17.5    | =
bundle_failed.bad_type                | -       | =       | =       | o2306.0 | 17.6    | =
bundle_failed.bad_flags               | -       | =       | =       | o2307.0 | 17.7    | =
bundle_failed.msg_bad_len             | -       | =       | =       | o2308.0 | 17.8    | =
bundle_failed.msg_bad_xid             | -       | =       | =       | o2309.0 | 17.9    | =
bundle_failed.msg_unsup               | -       | =       | =       | o2310.0 | 17.10   | =
bundle_failed.msg_conflict            | -       | =       | =       | o2311.0 | 17.11   | =
bundle_failed.msg_too_many            | -       | =       | =       | o2312.0 | 17.12   | =
bundle_failed.msg_failed              | -       | =       | =       | o2313.0 | 17.13   | =
bundle_failed.timeout                 | -       | =       | =       | o2314.0 | 17.14   | =
bundle_failed.bundle_in_progress      | -       | =       | =       | o2315.0 | 17.15   | =
bundle_failed.sched_not_supported     | -       | =       | =       | =       | =       | 17.16
bundle_failed.sched_future            | -       | =       | =       | =       | =       | 17.17
bundle_failed.sched_past              | -       | =       | =       | =       | =       | 17.18
nicira.action_ct_datapath_support     | n1.265  | =       | n42.0   | =       | =       | =
nicira.action_must_be_zero            | n2.256  | =       | n11.0   | =       | =       | =
nicira.bad_conjunction                | n2.526  | =       | n15.0   | =       | =       | =
nicira.bad_ed_prop                    | -       | =       | =       | n41.0   | =       | =
nicira.bad_header_type                | -       | =       | =       | n39.0   | =       | =
nicira.bad_reason                     | n1.516  | =       | n5.0    | =       | =       | =
nicira.dup_table                      | -       | =       | =       | n44.0   | =       | =
nicira.flow_mod_bad_table_id          | n5.257  | =       | n13.0   | =       | =       | =
nicira.fm_bad_event                   | n1.520  | =       | n9.0    | =       | =       | =
nicira.hardware                       | n5.256  | =       | n12.0   | =       | =       | =
nicira.invalid_tlv_field              | n1.536  | =       | n37.0   | =       | =       | =
nicira.match_ct_datapath_support      | n1.264  | =       | n43.0   | =       | =       | =
nicira.must_be_zero                   | n1.515  | =       | n4.0    | =       | =       | =
nicira.nxm_bad_type                   | n1.257  | =       | n3.0    | =       | =       | =
nicira.nxm_invalid                    | n1.256  | =       | n2.0    | =       | =       | =
nicira.queue_error                    | -       | =       | =       | =       | n23.0   | =
nicira.tlv_already_mapped             | n1.531  | =       | n20.0   | =       | =       | =
nicira.tlv_bad_command                | n1.527  | =       | n16.0   | =       | =       | =
nicira.tlv_bad_field_idx              | n1.529  | =       | n18.0   | =       | =       | =
nicira.tlv_bad_opt_len                | n1.528  | =       | n17.0   | =       | =       | =
nicira.tlv_dup_entry                  | n1.532  | =       | n21.0   | =       | =       | =
nicira.tlv_invalid_tlv_del            | n1.537  | =       | n38.0   | =       | =       | =
nicira.tlv_table_full                 | n1.530  | =       | n19.0   | =       | =       | =
nicira.unencodable_error              | n1.521  | =       | n10.0   | =       | =       | =
nicira.unknown_ed_prop                | -       | =       | =       | n40.0   | =       | =
"""

ALIASES = {
    "bad_action.bad_experimenter_type": "bad_action.bad_exp_type",
    "bad_action.bad_vendor": "bad_action.bad_experimenter",
    "bad_action.bad_vendor_type": "bad_action.bad_exp_type",
    "bad_request.bad_experimenter_type": "bad_request.bad_exp_type",
    "bad_request.bad_stat": "bad_request.bad_multipart",
    "bad_request.bad_subtype": "bad_request.bad_exp_type",
    "bad_request.bad_vendor": "bad_request.bad_experimenter",
    "bad_request.is_secondary": "bad_request.is_slave",
    "flow_mod_failed.all_tables_full": "flow_mod_failed.table_full",
}
"""Names that other versions of the specification use."""

_VENDOR_TYPE, _EXPERIMENTER_TYPE = 0xB0C2, 0xFFFF
_TYPE_CODE = Struct("!HH")
_NICIRA_ERROR = Struct("!HHIHH")
_EXPERIMENTER_ERROR = Struct("!HHI")
_UNENCODABLE = "nicira.unencodable_error"

Numbers = tuple[int, int, int]


def _numbers() -> dict[str, dict[int, Numbers]]:
    rows: dict[str, dict[int, Numbers]] = {}
    for row in _TABLE.strip().splitlines():
        name, *columns = (column.strip() for column in row.split("|"))
        rows[name] = {}
        text = "-"
        for version, column in zip(VERSIONS, columns, strict=True):
            text = text if column == "=" else column
            if text != "-":
                vendor = {"n": NICIRA, "o": ONF}.get(text[0], 0)
                kind, code = text.lstrip("no").split(".")
                rows[name][version] = (vendor, int(kind), int(code))
    return rows


NUMBERS: dict[str, dict[int, Numbers]] = _numbers()
"""name -> version -> (vendor or 0, type, code)."""


def _names() -> dict[int, dict[Numbers, str]]:
    names: dict[int, dict[Numbers, str]] = {version: {} for version in VERSIONS}
    for name, versions in NUMBERS.items():
        for version, numbers in versions.items():
            names[version].setdefault(numbers, name)
    return names


_NAMES = _names()


def error_name(version: int, vendor: int, kind: int, code: int) -> str:
    """The name of an error by its numbers; if it has none, they are its name: "type/code" or "vendor/type/code"."""
    found = _NAMES[version].get((vendor, kind, code))
    if found is None:
        return f"{vendor:#x}/{kind}/{code}" if vendor else f"{kind}/{code}"
    return found


def _numbers_of(name: str, version: int) -> Numbers:
    if "/" in name:
        parts = [int(part, 0) for part in name.split("/")]
        return (0, *parts) if len(parts) == 2 else (parts[0], parts[1], parts[2])  # type: ignore[return-value]
    rows = NUMBERS[ALIASES.get(name, name)]
    return rows.get(version) or NUMBERS[_UNENCODABLE][version]


def encode_error(message: Error, version: int) -> bytes:
    """The body of an error message (OpenFlow 1.5.1 section 7.5.4), without the header."""
    vendor, kind, code = _numbers_of(message.error, version)
    if not vendor:
        return _TYPE_CODE.pack(kind, code) + message.data
    if version < 3:
        return _NICIRA_ERROR.pack(_VENDOR_TYPE, 0, vendor, kind, code) + message.data
    return _EXPERIMENTER_ERROR.pack(_EXPERIMENTER_TYPE, kind, vendor) + message.data


def decode_error(body: bytes, version: int) -> Error:
    """Of such a body. OpenFlowError: it is too short."""
    size, vendor = _TYPE_CODE.size, 0
    if len(body) >= size:
        kind, code = _TYPE_CODE.unpack_from(body)
        if kind == _EXPERIMENTER_TYPE and version >= 3:
            size = _EXPERIMENTER_ERROR.size
            if len(body) >= size:
                _, kind, vendor = _EXPERIMENTER_ERROR.unpack_from(body)
                code = 0
        elif kind == _VENDOR_TYPE and code == 0 and version < 3:
            size = _NICIRA_ERROR.size
            if len(body) >= size:
                _, _, vendor, kind, code = _NICIRA_ERROR.unpack_from(body)
    if len(body) < size:
        raise OpenFlowError("bad_request.bad_len", f"an error message of {len(body)} bytes, where it takes {size}")
    return Error(error_name(version, vendor, kind, code), body[size:])
