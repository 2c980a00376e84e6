"""Any message of OpenFlow, for what prints them: by kind, for each version."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.openflow_messages import PORTS, TABLES, U8, U16, U32, U64, flow_actions, matches
from tests.openflow_stats import queue_configs, replies, requests
from vswitch.messages import control, flows, ports
from vswitch.messages.match import FlowMatch

MACS = st.integers(0, (1 << 48) - 1)
TEXTS = st.text("abcdefghijklmnop0123456789-", min_size=1, max_size=15)
FRAMES = st.binary(min_size=14, max_size=80)
_TLVS = st.builds(control.TlvMap, U16, U8, st.sampled_from([4, 8, 124]), st.integers(0, 63))
IN_PORTS = PORTS.map(lambda port: FlowMatch(in_port=port))


def _none_or(strategy: st.SearchStrategy[Any], none: Any) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(none), strategy)


def descriptions(version: int) -> st.SearchStrategy[ports.PortDescription]:
    features = st.integers(0, (1 << 16) - 1)
    if version == 1:  # fewer speeds, and none in numbers
        features = features.map(lambda bits: bits & 0xF87F)
    speeds = st.just(0) if version == 1 else U32
    config = st.integers(0, 127) if version == 1 else st.sampled_from([0, 1, 4, 32, 64, 101])
    states = st.integers(0, 1) if version == 1 else st.integers(0, 7)
    return st.builds(ports.PortDescription, PORTS, MACS, TEXTS, config, states, features, features, features, features,
                     speeds, speeds)  # fmt: skip


def flow_mods(version: int) -> st.SearchStrategy[flows.FlowMod]:
    deletes = st.builds(
        flows.FlowMod, st.sampled_from([3, 4]).map(flows.FlowCommand), matches(), st.just(()), U16,
        st.just(255) if version == 1 else TABLES, out_port=_none_or(PORTS, flows.ANY_PORT),
    )  # fmt: skip
    adds = st.builds(
        flows.FlowMod, st.sampled_from([0, 1, 2]).map(flows.FlowCommand), matches(), flow_actions(version),
        _none_or(U16, 0x8000), st.none() if version == 1 else TABLES, U64, idle_timeout_s=_none_or(U16, 0),
        hard_timeout_s=_none_or(U16, 0), flags=st.integers(0, 3), buffer_id=_none_or(U32, flows.NO_BUFFER),
        importance=_none_or(U16, 0) if version >= 5 else st.just(0),
    )  # fmt: skip
    return st.one_of(adds, deletes)


def groups(version: int) -> st.SearchStrategy[flows.GroupMod]:
    bucket = st.builds(
        flows.Bucket, flow_actions(version).map(_without_instructions), _none_or(U16, 1),
        _none_or(PORTS, flows.ANY_PORT), _none_or(st.integers(0, 1000), flows.ANY_GROUP),
    )  # fmt: skip
    buckets = st.lists(bucket, min_size=1, max_size=3)
    if version in (1, 6):
        from dataclasses import replace

        buckets = buckets.map(lambda found: [replace(each, id=at) for at, each in enumerate(found)])
    return st.builds(flows.GroupMod, st.sampled_from([0, 1]).map(flows.GroupCommand), st.integers(0, 0xFFFFFF00),
                     st.just(flows.GroupType.SELECT), buckets.map(tuple))  # fmt: skip


def _without_instructions(found: tuple[Any, ...]) -> tuple[Any, ...]:
    names = ("GotoTable", "WriteActions", "ClearActions", "WriteMetadata", "Meter", "Learn", "Conjunction")
    return tuple(each for each in found if type(each).__name__ not in names)


def meters() -> st.SearchStrategy[flows.MeterMod]:
    band = st.builds(flows.MeterBand, U32, U32, st.sampled_from(["drop"]))
    return st.builds(flows.MeterMod, st.sampled_from([0, 1, 2]).map(flows.MeterCommand), st.integers(1, 0xFFFF0000),
                     st.sampled_from([1, 2, 5, 6, 9, 13]), st.lists(band, max_size=3).map(tuple))  # fmt: skip


def core(version: int) -> dict[str, st.SearchStrategy[Any]]:
    """Messages that are no statistics, by name."""
    later = version > 1
    found: dict[str, st.SearchStrategy[Any]] = {
        "hello": st.builds(control.Hello, st.frozensets(st.integers(1, 6), min_size=1)),
        "echo": st.builds(control.EchoRequest, st.binary(max_size=40)),
        "config": st.builds(control.SetConfig, st.sampled_from([0, 1]), U16),
        "features": st.builds(
            control.FeaturesReply, U64, U32, U8, st.sampled_from([0, 1, 7, 0x27]), st.just(0) if version < 4 else U8,
            st.integers(0, 0xFFF) if not later else st.just(0),
            st.lists(descriptions(version), max_size=3).map(tuple) if version < 4 else st.just(()),
        ),
        "port_status": st.builds(ports.PortStatus, st.sampled_from(ports.PortStatusReason), descriptions(version)),
        "port_mod": st.builds(ports.PortMod, PORTS, MACS, st.sampled_from([0, 1, 4, 32, 64]), st.just(101),
                              st.sampled_from([0, 1, 0x801])),
        "flow_mod": flow_mods(version),
        "flow_removed": st.builds(
            flows.FlowRemoved, matches(), _none_or(U16, 0x8000), TABLES if later else st.just(255), U64,
            st.sampled_from([0, 1, 2]).map(flows.FlowRemovedReason), st.integers(0, 1 << 60), U16,
            U16 if later else st.just(0), U64, U64,
        ),
        "packet_in": st.builds(
            flows.PacketIn, FRAMES, st.integers(80, 1500), st.sampled_from([0, 1]).map(flows.PacketInReason), IN_PORTS,
            TABLES if later else st.just(0), U64 if version >= 4 else st.just((1 << 64) - 1),
        ),
        "packet_out": st.builds(flows.PacketOut, FRAMES, flow_actions(version).map(_without_instructions), IN_PORTS),
        "group_mod": groups(version),
        "barrier": st.just(control.BarrierRequest()),
        "tlv": st.builds(control.TlvTableReply, U32, U16, st.lists(_TLVS, max_size=4).map(tuple)),
        "packet_in_format": st.builds(control.SetPacketInFormat, st.sampled_from([0, 1, 2])),
        "controller_id": st.builds(control.SetControllerId, U16),
        "queue_request": st.builds(control.QueueConfigRequest, PORTS) if version < 5 else st.just(control.EchoReply()),
    }  # fmt: skip
    if version >= 4:
        found["meter_mod"] = meters()
        found["bundle"] = st.builds(control.BundleControl, U32, st.sampled_from(control.BundleControlType),
                                    st.integers(0, 3))  # fmt: skip
    if version >= 3:
        found["role"] = st.builds(control.RoleRequest, st.sampled_from(control.ControllerRole), U64)
    return found


def statistics(version: int) -> dict[str, st.SearchStrategy[Any]]:
    """Requests and replies, by name; experimenters' and what Open vSwitch does not know left out."""
    unknown = ("controller_status", "bundle_features", "experimenter")
    found = {f"{name} reply": each for name, each in replies(version).items()}
    found |= {f"{name} request": each for name, each in requests(version).items()}
    if version < 5:
        found["queue_config"] = queue_configs(version)
    return {name: each for name, each in found.items() if not name.startswith(unknown)}
