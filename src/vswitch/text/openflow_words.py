"""Words and small texts that all OpenFlow messages are printed with: ports, tables, names of bits, durations, bytes.

The texts are those of `ovs-ofctl ofp-print` 3.1, which other programs parse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vswitch.text.flow_words import format_port as port
from vswitch.text.flow_words import quote

__all__ = [
    "Style", "bit_names", "error_name", "hex_dump", "port", "quote", "reason_names", "table",
]  # fmt: skip

_ERROR_PREFIXES = {
    "hello_failed": "OFPHFC", "bad_request": "OFPBRC", "bad_action": "OFPBAC", "bad_instruction": "OFPBIC",
    "bad_match": "OFPBMC", "flow_mod_failed": "OFPFMFC", "group_mod_failed": "OFPGMFC", "port_mod_failed": "OFPPMFC",
    "table_mod_failed": "OFPTMFC", "queue_op_failed": "OFPQOFC", "switch_config_failed": "OFPSCFC",
    "role_request_failed": "OFPRRFC", "meter_mod_failed": "OFPMMFC", "table_features_failed": "OFPTFFC",
    "bad_property": "OFPBPC", "async_config_failed": "OFPACFC", "flow_monitor_failed": "OFPMOFC",
    "bundle_failed": "OFPBFC",
}  # fmt: skip


def _unnamed(data: bytes) -> str:
    return hex_dump(data)


@dataclass(frozen=True, slots=True)
class Style:
    """How a message is printed. `version`: that it is spoken in. `ports`, `tables`: names that are shown instead of
    numbers (None: numbers). `nested`: the text of a message that another one carries as bytes."""

    version: int
    verbosity: int = 0
    ports: Mapping[int, str] | None = None
    tables: Mapping[int, str] | None = None
    nested: Callable[[bytes], str] = _unnamed


def table(number: int, names: Mapping[int, str] | None = None) -> str:
    """A table by its name or number."""
    return quote(names[number]) if names and number in names else str(number)


def bit_names(value: int, names: Mapping[int, str], separator: str = " ") -> str:
    """The words of the bits that are set, bits without a word as one number behind them; "0" for none."""
    words = []
    for bit, word in names.items():
        if value & bit:
            words.append(word)
            value &= ~bit
    if value or not words:
        words.append(f"{value:#x}" if value else "0")
    return separator.join(words)


def reason_names(value: int, names: Sequence[str]) -> str:
    """The words of the bits that are set, by number; "(off)" for none."""
    words = [word for bit, word in enumerate(names) if value >> bit & 1]
    return " ".join(words) or "(off)"


def error_name(error: str) -> str:
    """OFPBMC_BAD_PREREQ for "bad_match.bad_prereq"; what has no name stays as it is."""
    kind, _, code = error.partition(".")
    if kind == "nicira":
        return _NICIRA_ERRORS.get(code, f"NX_{code.upper()}")
    prefix = _ERROR_PREFIXES.get(kind)
    return _ERROR_ALIASES.get(error) or (f"{prefix}_{code.upper()}" if prefix else error)


_ERROR_ALIASES = {
    "bad_request.bad_multipart": "OFPBRC_BAD_STAT",
    "bad_request.is_slave": "OFPBRC_IS_SECONDARY",
    "bad_request.bad_experimenter": "OFPBRC_BAD_VENDOR",
    "bad_request.bad_exp_type": "OFPBRC_BAD_SUBTYPE",
    "bad_action.bad_experimenter": "OFPBAC_BAD_VENDOR",
    "bad_action.bad_exp_type": "OFPBAC_BAD_VENDOR_TYPE",
}
_NICIRA_ERRORS = {
    "action_ct_datapath_support": "NXBAC_CT_DATAPATH_SUPPORT",
    "action_must_be_zero": "NXBAC_MUST_BE_ZERO",
    "bad_conjunction": "NXBAC_BAD_CONJUNCTION",
    "bad_ed_prop": "NXBAC_BAD_ED_PROP",
    "bad_header_type": "NXBAC_BAD_HEADER_TYPE",
    "bad_reason": "NXBRC_BAD_REASON",
    "dup_table": "NXTFFC_DUP_TABLE",
    "flow_mod_bad_table_id": "NXFMFC_BAD_TABLE_ID",
    "fm_bad_event": "NXBRC_FM_BAD_EVENT",
    "hardware": "NXFMFC_HARDWARE",
    "invalid_tlv_field": "NXFMFC_INVALID_TLV_FIELD",
    "match_ct_datapath_support": "NXBMC_CT_DATAPATH_SUPPORT",
    "must_be_zero": "NXBRC_MUST_BE_ZERO",
    "nxm_bad_type": "NXBRC_NXM_BAD_TYPE",
    "nxm_invalid": "NXBRC_NXM_INVALID",
    "queue_error": "NXQOFC_QUEUE_ERROR",
    "tlv_already_mapped": "NXTTMFC_ALREADY_MAPPED",
    "tlv_bad_command": "NXTTMFC_BAD_COMMAND",
    "tlv_bad_field_idx": "NXTTMFC_BAD_FIELD_IDX",
    "tlv_bad_opt_len": "NXTTMFC_BAD_OPT_LEN",
    "tlv_dup_entry": "NXTTMFC_DUP_ENTRY",
    "tlv_invalid_tlv_del": "NXTTMFC_INVALID_TLV_DEL",
    "tlv_table_full": "NXTTMFC_TABLE_FULL",
    "unencodable_error": "NXBRC_UNENCODABLE_ERROR",
    "unknown_ed_prop": "NXBAC_UNKNOWN_ED_PROP",
}


def hex_dump(data: bytes) -> str:
    """16 bytes a line: offset, bytes, characters."""
    lines = []
    for offset in range(0, len(data), 16):
        part = data[offset : offset + 16]
        cells = [f"{byte:02x}" for byte in part] + ["  "] * (16 - len(part))
        left = " ".join(cells[:8])
        between = "-" if len(part) > 7 else " "
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"{offset:08x}  {left}{between}{' '.join(cells[8:])} |{shown:<16}|\n")
    return "".join(lines)
