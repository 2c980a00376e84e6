"""How a trace (`vswitch.ofproto.trace`) writes flows and actions: as ovs-ofctl and ovs-dpctl do."""

from __future__ import annotations

from functools import lru_cache

from vswitch.fields.openflow import FLOW_BYTES, OPENFLOW_FIELDS, PIPELINE_SLOTS, FlowField
from vswitch.fields.registry import FIELDS
from vswitch.messages.match import FlowMatch, missing_need
from vswitch.ofproto.trace import Writers
from vswitch.text.actions import format_actions
from vswitch.text.flow_actions_format import format_flow_actions
from vswitch.text.flow_match import format_flow_match
from vswitch.text.values import Names

__all__ = ["flow_text", "megaflow_text", "trace_writers"]

_PRESENT, _INNER_PRESENT = FIELDS["vlan_present"], FIELDS["cvlan_present"]
_ALL = (1 << 8 * FLOW_BYTES) - 1
_FRAGMENT = OPENFLOW_FIELDS["ip_frag"].view
_RECIRC_ID = OPENFLOW_FIELDS["recirc_id"]
_LEFT_OUT = ("conj_id", "actset_output", "packet_type", "in_phy_port", "ip_tos")


def _is_metadata(each: FlowField) -> bool:
    """Shown only if it is not zero: what is not in the packet's bytes."""
    return each.name in ("metadata", "recirc_id", "dp_hash", "skb_mark") or each.name.startswith(("reg", "tun_", "ct_"))


_METADATA = tuple(each for each in OPENFLOW_FIELDS.values() if _is_metadata(each))
_OF_PACKETS = tuple(
    each
    for each in OPENFLOW_FIELDS.values()
    if not _is_metadata(each) and each.name not in _LEFT_OUT and "xreg" not in each.name
)


@lru_cache(maxsize=1024)
def _shown(key: int) -> int:
    """The bits of the fields that the packet has."""
    whole = FlowMatch.from_ints(key, _ALL)
    mask = 0
    for each in _OF_PACKETS:
        if missing_need(whole, each) is None:
            mask |= each.mask
    for each in _METADATA:
        if key & each.mask:
            mask |= each.mask
    if mask & _FRAGMENT.mask and not _FRAGMENT.take(key):
        mask &= ~_FRAGMENT.place(2)  # "no" says nothing of the second bit
    return mask


def flow_text(key: int, names: Names = None) -> str:
    """All fields of a packet."""
    text = format_flow_match(FlowMatch.from_ints(key, _shown(key)), names)
    if not _PRESENT.take(key):
        return text
    inner = "vlan_tci1=0x0000"
    if _INNER_PRESENT.take(key):
        inner = f"dl_vlan1={FIELDS['cvlan_vid'].take(key)},dl_vlan_pcp1={FIELDS['cvlan_pcp'].take(key)}"
    return text.replace(",dl_src=", f",{inner},dl_src=", 1)


def megaflow_text(match: FlowMatch, names: Names = None) -> str:
    """What a megaflow takes. That registers and metadata are zero is not said: each packet begins so."""
    number = _RECIRC_ID.view.take(match.value)
    mask = match.mask & ~_RECIRC_ID.mask
    for slot in PIPELINE_SLOTS.values():
        if not match.value & slot.mask:
            mask &= ~slot.mask
    rest = FlowMatch.from_ints(match.value, mask)
    words = [f"recirc_id={number:#x}" if number else "recirc_id=0", "eth", format_flow_match(rest, names)]
    return ",".join(word for word in words if word)


def trace_writers(names: Names = None) -> Writers:
    """For `Trace.text` and `Trace.as_dict`. `names`: of ports."""
    return Writers(
        flow=lambda key: flow_text(key, names),
        match=lambda match: format_flow_match(match, names),
        action=lambda action: format_flow_actions((action,), names),
        megaflow=lambda match: megaflow_text(match, names),
        datapath_actions=lambda actions: format_actions(actions, names),
    )
