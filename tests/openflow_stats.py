"""Statistics as hypothesis draws them: for each kind and version, messages that the version can say.

`requests` and `replies` have a strategy for each kind. What a version does not tell of has its default, so that what
was written and read is equal to what was drawn.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vswitch.messages import actions as act
from vswitch.messages import stats
from vswitch.messages.control import QueueConfigReply
from vswitch.messages.flows import ANY_GROUP, ANY_PORT, Bucket, GroupType, MeterBand, TableMod
from vswitch.messages.match import FlowMatch, SubField
from vswitch.messages.ports import PortDescription

VERSIONS = (1, 2, 3, 4, 5, 6)

u8, u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
counts = st.one_of(st.integers(0, 1000), st.integers(0, (1 << 64) - 2))
optional_counts = st.none() | counts
durations = st.integers(0, (1 << 32) * 1_000_000_000 - 1)
seconds = st.none() | st.integers(0, 0xFFFE - 1)
rates = st.integers(0, 0xFFFF)
ports = st.one_of(st.integers(0, 0xFEFF), st.sampled_from([0xFFFFFFFE, 0xFFFFFFFD]))
any_ports = ports | st.just(ANY_PORT)
words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=15)


def matches(version: int) -> st.SearchStrategy[FlowMatch]:
    """Of fields that every version has."""
    mac = st.integers(0, (1 << 48) - 1)
    layers: list[st.SearchStrategy[dict[str, Any]]] = [
        st.just({}),
        st.fixed_dictionaries({"eth_type": st.sampled_from([0x88CC, 0x9000])}),
        st.fixed_dictionaries({"ipv4_dst": u32, "ipv4_src": u32}),
        st.fixed_dictionaries({"ipv4_src": st.just("10.0.0.0/8"), "tcp_dst": u16}),
        st.fixed_dictionaries({"eth_type": st.just(0x0800), "ip_proto": st.just(17), "udp_src": u16}),
        st.fixed_dictionaries({"eth_type": st.just(0x0806), "arp_op": st.just(1), "arp_tpa": u32}),
    ]
    links: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {}, optional={"in_port": st.integers(1, 0xFEFF), "eth_src": mac, "eth_dst": mac}
    )
    return st.builds(lambda link, layer: FlowMatch(**{**link, **layer}), links, st.one_of(layers))


def actions(version: int) -> st.SearchStrategy[tuple[act.FlowAction, ...]]:
    """Lists of actions as they come back: what is applied, then instructions."""
    applied: list[st.SearchStrategy[act.FlowAction]] = [
        st.builds(act.Output, ports),
        st.builds(act.Resubmit, st.none(), st.integers(0, 254)),
    ]
    if version <= 5:  # 1.5 says so by set_field
        applied.append(st.builds(act.RegLoad, st.just(SubField.of("reg3")), u32))
    if version >= 2:
        applied += [st.builds(act.Group, st.integers(0, 0xFFFFFF00)), st.builds(act.SetQueue, u32)]
    tail: st.SearchStrategy[tuple[act.FlowAction, ...]] = st.just(())
    if version >= 2:
        tail = st.just(()) | st.builds(lambda table: (act.GotoTable(table),), st.integers(0, 254))
    return st.builds(lambda some, rest: (*some, *rest), st.lists(st.one_of(applied), max_size=3), tail)


def flows(version: int, nicira: bool = False) -> st.SearchStrategy[stats.FlowStats]:
    more: dict[str, st.SearchStrategy[Any]] = {}
    if version >= 4:
        more["flags"] = u16
    if version >= 5:
        more["importance"] = u16
    if nicira:
        more |= {"idle_age_s": seconds, "hard_age_s": seconds}
    if version >= 6:
        more["idle_age_s"] = st.none() | st.integers(0, 0xFFFFFFFF)
    return st.builds(
        stats.FlowStats, matches(version), actions(version), u16, u8, u64, durations, counts, counts,
        idle_timeout_s=u16, hard_timeout_s=u16, **more,
    )  # fmt: skip


def bare_flows(version: int) -> st.SearchStrategy[stats.FlowStats]:
    return st.builds(
        stats.FlowStats, matches(version), st.just(()), u16, u8, st.just(0), durations, counts, counts,
        idle_age_s=st.none() | u32,
    )  # fmt: skip


def tables(version: int) -> st.SearchStrategy[stats.TableStats]:
    if version >= 4:
        return st.builds(stats.TableStats, u8, u32, u64, u64)
    sizes = {1: [u32], 2: [u32] * 6, 3: [u64, u64, u32, u32, u64, u64, u64, u64, u32, u32]}[version]
    return st.builds(stats.TableStats, u8, u32, u64, u64, words, u32, st.just(()) | st.tuples(*sizes))


def port_stats(version: int) -> st.SearchStrategy[stats.PortStats]:
    some = durations if version >= 4 else st.just(0)
    named = st.lists(st.tuples(words, u64), max_size=3).map(tuple) if version >= 5 else st.just(())
    return st.builds(stats.PortStats, ports, some, *[counts] * 4, *[optional_counts] * 8, custom=named)


def queue_stats(version: int) -> st.SearchStrategy[stats.QueueStats]:
    some = durations if version >= 4 else st.just(0)
    return st.builds(stats.QueueStats, ports, u32, u64, u64, u64, some)


def group_stats(version: int) -> st.SearchStrategy[stats.GroupStats]:
    some = st.just(0) if version in (2, 3) else durations
    buckets = st.lists(st.builds(stats.BucketStats, u64, u64), max_size=4).map(tuple)
    return st.builds(stats.GroupStats, u32, u32, u64, u64, some, buckets)


def group_descriptions(version: int) -> st.SearchStrategy[stats.GroupDescription]:
    outputs = st.lists(st.builds(act.Output, ports), max_size=3).map(tuple)
    ids = st.integers(0, 0xFF) if version >= 6 else st.none()
    buckets = st.lists(st.builds(Bucket, outputs, u16, any_ports, any_ports, ids), max_size=4).map(tuple)
    return st.builds(stats.GroupDescription, st.integers(0, 0xFFFFFF00), st.sampled_from(GroupType), buckets)


def meter_configs(version: int) -> st.SearchStrategy[stats.MeterConfig]:
    drop = st.builds(MeterBand, u32, u32)
    remark = st.builds(MeterBand, u32, u32, st.just("dscp_remark"), u8)
    bands = st.lists(drop | remark, max_size=3).map(tuple)
    return st.builds(stats.MeterConfig, u32, st.integers(0, 15), bands)


def port_descriptions(version: int) -> st.SearchStrategy[PortDescription]:
    return st.builds(PortDescription, ports, st.integers(0, (1 << 48) - 1), words)


def table_features(version: int) -> st.SearchStrategy[stats.TableFeatures]:
    items = st.lists(st.integers(0, 0xFFFE) | st.integers(0xFFFF0008 << 32, (0xFFFF0009 << 32) - 1), max_size=6)
    ids = st.lists(u8, max_size=9)
    headers = st.lists(st.integers(0, 0xFFFEFFFF) | st.integers(0xFFFF << 48, (1 << 64) - 1), max_size=6)
    shapes = {0: items, 1: items, 2: ids, 3: ids, 4: items, 6: items, 8: headers, 10: headers, 12: headers, 14: headers}
    if version >= 5:
        shapes[16] = ids
    if version >= 6:
        shapes |= {18: headers, 20: headers, 22: st.lists(u32, max_size=4)}
    shapes[0xFFFE] = shapes[0xFFFF] = st.lists(u32, min_size=2, max_size=4)
    drawn = st.lists(st.sampled_from(sorted(shapes)), unique=True).flatmap(
        lambda kinds: st.tuples(*(st.tuples(st.just(kind), shapes[kind].map(tuple)) for kind in kinds))
    )
    more = {"command": st.integers(0, 3), "features": u32} if version >= 6 else {}
    return st.builds(stats.TableFeatures, u8, words, u64, u64, u32, u32, drawn, **more)


def table_descriptions(version: int) -> st.SearchStrategy[stats.TableDescription]:
    percents = st.lists(st.integers(0, 100), min_size=2, max_size=2).map(sorted)
    return st.builds(
        lambda table, on, flags, vacancy, limits, now: stats.TableDescription(
            table, on, flags, vacancy, limits[0], limits[1], now
        ),
        u8, st.booleans(), u32, st.booleans(), percents, st.integers(0, 100),
    )  # fmt: skip


def bundle_times() -> st.SearchStrategy[Any]:
    times = st.integers(0, (1 << 64) * 1_000_000_000 - 1)
    return st.none() | st.tuples(times, times, times, times)


def updates(version: int) -> st.SearchStrategy[stats.FlowMonitorUpdate]:
    events = ["added", "modified"] + ["initial"] * (version >= 5)
    lists = actions(1) if version <= 3 else actions(version)  # Nicira's have no instructions
    full = [matches(version), lists, u16, u8, u64, u16, u16]
    kinds = [
        st.builds(stats.FlowMonitorUpdate, st.sampled_from(events), st.just(0), *full),
        st.builds(stats.FlowMonitorUpdate, st.just("removed"), st.just(0), *full, st.integers(0, 5)),
        st.builds(stats.FlowMonitorUpdate, st.just("abbreviated"), u32),
    ]
    if version >= 5:
        kinds.append(st.builds(stats.FlowMonitorUpdate, st.sampled_from(["paused", "resumed"])))
    return st.one_of(kinds)


def monitors(version: int) -> st.SearchStrategy[stats.FlowMonitorRequest]:
    own = {"out_group": u32, "command": st.integers(0, 2)} if version >= 5 else {}
    flags = st.integers(0, 0x7F if version >= 5 else 0x3F)
    return st.builds(stats.FlowMonitorRequest, u32, flags, matches(version), u8, any_ports, **own)


def several_monitors(version: int) -> st.SearchStrategy[stats.FlowMonitorRequests]:
    some = st.lists(monitors(version), max_size=3).filter(lambda drawn: len(drawn) != 1)
    return st.builds(stats.FlowMonitorRequests, some.map(tuple))


def flow_requests(version: int, kinds: list[str], nicira: bool = False) -> st.SearchStrategy[stats.FlowStatsRequest]:
    cookies = st.just((0, 0)) | st.tuples(u64, u64).map(lambda pair: (pair[0] & pair[1], pair[1]))
    if version == 1 and not nicira:
        cookies = st.just((0, 0))
    groups = st.just(ANY_GROUP) if version == 1 else u32
    return st.builds(
        lambda kind, match, table, port, group, cookie: stats.FlowStatsRequest(
            kind, match, table, port, group, cookie[0], cookie[1], nicira
        ),
        st.sampled_from(kinds), matches(version), u8, any_ports, groups, cookies,
    )  # fmt: skip


def _entries(version: int) -> dict[str, tuple[int, st.SearchStrategy[Any]]]:
    """kind -> (first version that has it, its entries)."""
    dropped = st.lists(st.tuples(u64, u64), max_size=3).map(tuple)
    return {
        "flow": (1, bare_flows(version) if version >= 6 else flows(version)),
        "flow_description": (6, flows(version)),
        "table": (1, tables(version)),
        "port": (1, port_stats(version)),
        "queue": (1, queue_stats(version)),
        "group": (2, group_stats(version)),
        "group_description": (2, group_descriptions(version)),
        "meter": (4, st.builds(stats.MeterStats, u32, u32, u64, u64, durations, dropped)),
        "meter_config": (4, meter_configs(version)),
        "table_features": (4, table_features(version)),
        "port_description": (1, port_descriptions(version)),
        "table_description": (5, table_descriptions(version)),
        "queue_description": (5, st.builds(stats.QueueDescription, u32, u32, rates, rates)),
        "flow_monitor": (1, updates(version)),
        "controller_status": (6, st.builds(stats.ControllerStatus, u16, st.integers(0, 3), u8, st.booleans(), words)),
    }  # fmt: skip


def _single(version: int) -> dict[str, tuple[int, st.SearchStrategy[Any]]]:
    four = st.tuples(u32, u32, u32, u32)
    extra = {"features": u32} if version >= 6 else {}
    return {
        "description": (1, st.builds(stats.Description, words, words, words, words, words)),
        "aggregate": (1, st.builds(stats.AggregateStats, u64, u64, u32)),
        "group_features": (3, st.builds(stats.GroupFeatures, u32, u32, four, four)),
        "meter_features": (4, st.builds(stats.MeterFeatures, u32, u32, u32, u8, u8, **extra)),
        "bundle_features": (6, st.builds(stats.BundleFeatures, u16, bundle_times())),
    }


def replies(version: int) -> dict[str, st.SearchStrategy[Any]]:
    found: dict[str, st.SearchStrategy[Any]] = {}
    for kind, (since, entry) in _entries(version).items():
        if since <= version:
            some = st.lists(entry, max_size=4).map(tuple)
            found[kind] = st.builds(stats.MultipartReply, st.just(kind), some, st.booleans())
    for kind, (since, entry) in _single(version).items():
        if since <= version:
            found[kind] = st.builds(stats.MultipartReply, st.just(kind), st.tuples(entry), st.booleans())
    if version == 1:
        groups = st.lists(group_stats(1), max_size=4).map(tuple)
        found["nicira group"] = st.builds(stats.MultipartReply, st.just("group"), groups, st.booleans())
        some = st.lists(flows(1, nicira=True), max_size=4).map(tuple)
        found["nicira flow"] = st.builds(stats.MultipartReply, st.just("flow"), some, st.booleans(), st.just(True))
        one = st.tuples(st.builds(stats.AggregateStats, u64, u64, u32))
        found["nicira aggregate"] = st.builds(
            stats.MultipartReply, st.just("aggregate"), one, st.booleans(), st.just(True)
        )
    found["experimenter"] = st.builds(
        stats.ExperimenterMultipart, st.integers(0x100000, 0x1FFFFF), u32, st.binary(max_size=20), st.just(True)
    )
    return found


def requests(version: int) -> dict[str, st.SearchStrategy[Any]]:
    numbered = st.builds(stats.StatsRequest, st.just("group"), u32)
    by_port = st.builds(stats.StatsRequest, st.just("port"), any_ports)
    found: dict[str, st.SearchStrategy[Any]] = {
        "empty": st.builds(stats.StatsRequest, st.sampled_from(["description", "table"])),
        "port": by_port,
        "queue": st.builds(stats.StatsRequest, st.just("queue"), any_ports, u32),
        "flows": flow_requests(version, ["flow", "aggregate"] + ["flow_description"] * (version >= 6)),
        "flow_monitor": monitors(version),
        "flow_monitors": several_monitors(version),
    }
    if version == 1:
        found["nicira flows"] = flow_requests(version, ["flow", "aggregate"], nicira=True)
    if version >= 2:
        found["group"] = numbered
    if version >= 4:
        found["table_features"] = st.builds(
            stats.TableFeaturesRequest, st.lists(table_features(version), max_size=3).map(tuple), st.booleans()
        )
        found["meters"] = st.builds(stats.StatsRequest, st.sampled_from(["meter", "meter_config"]), u32)
    if version >= 5:
        found["queue_description"] = st.builds(stats.StatsRequest, st.just("queue_description"), any_ports, u32)
    if version >= 6:
        found["described"] = st.builds(
            stats.StatsRequest, st.sampled_from(["group_description", "port_description"]), u32
        )
        found["bundle_features"] = st.builds(stats.BundleFeaturesRequest, u32, bundle_times())
    return found


def table_mods(version: int) -> st.SearchStrategy[TableMod]:
    if version < 4:
        return st.builds(TableMod, u8, st.sampled_from(["controller", "continue", "drop"]))
    if version == 4:
        return st.builds(TableMod, u8)
    limits = st.lists(st.integers(1, 100), min_size=2, max_size=2).map(sorted)
    quiet = st.builds(TableMod, u8, st.none(), st.booleans(), u32, st.just(False))
    events = st.builds(
        lambda table, on, flags, two: TableMod(table, None, on, flags, True, two[0], two[1]),
        u8, st.booleans(), u32, limits,
    )  # fmt: skip
    return quiet | events


def queue_configs(version: int) -> st.SearchStrategy[QueueConfigReply]:
    def at_one_port(port: int, queues: list[tuple[int, int, int, int]]) -> QueueConfigReply:
        told = tuple((queue, low, high, own if version >= 3 else port) for queue, low, high, own in queues)
        return QueueConfigReply(port, told)

    return st.builds(at_one_port, ports, st.lists(st.tuples(u32, rates, rates, ports), max_size=3))


# ---- requests that are refused

NO_MATCH = "0001000400000000"
REQUEST_11 = "ff000000 ffffffff ffffffff 00000000 0000000000000000 0000000000000000"
REFUSED: list[tuple[int, str, str]] = [
    (1, "00", "bad_request.bad_len"),
    (4, "00000000000000", "bad_request.bad_len"),
    (1, "00140000", "bad_request.bad_multipart"),
    (3, "000900000000000000000000 00000000", "bad_request.bad_multipart"),
    (4, "000e000000000000", "bad_request.bad_multipart"),
    (4, "0000000000000000 00", "bad_request.bad_len"),
    (4, "0001000000000000" + REQUEST_11, "bad_match.bad_len"),
    (4, "0001000000000000" + REQUEST_11 + "0002000400000000", "bad_match.bad_type"),
    (4, "0001000000000000" + REQUEST_11 + "0001000a 80000a02080000000000", "bad_match.bad_len"),
    (4, "0001000000000000" + REQUEST_11 + "0001000a 8000fc0208000000 00000000", "bad_match.bad_field"),
    (4, "0001000000000000" + REQUEST_11 + NO_MATCH + "00", "bad_request.bad_len"),
    (4, "0001000000000000 ff000000", "bad_request.bad_len"),
    (4, "0001000100000000" + REQUEST_11 + NO_MATCH, "bad_request.multipart_buffer_overflow"),
    (4, "0004000000000000 00000001", "bad_request.bad_len"),
    (6, "000d000000000000", "bad_request.bad_len"),
    (1, "ffff0000 0000", "bad_request.bad_len"),
    (1, "ffff0000 00123456 00000001", "bad_request.bad_experimenter"),
    (4, "ffff000000000000 00123456 00000001", "bad_request.bad_experimenter"),
    (1, "ffff0000 00002320 00000063 00000000", "bad_request.bad_exp_type"),
    (4, "ffff000000000000 00002320 00000000", "bad_request.bad_exp_type"),
    (1, "ffff0000 00002320 00000000 00000000 ffff00ff ff000000", "bad_request.bad_len"),
    (4, "000c000000000000 0040", "bad_request.bad_len"),
    (4, "000c000000000000 0048" + "00" * 62 + "0000000500000000", "bad_property.bad_len"),
    (4, "000c000000000000 0048" + "00" * 62 + "0016000400000000", "bad_property.bad_type"),
    (5, "000c000000000000 0048" + "00" * 62 + "0063000400000000", "bad_property.bad_type"),
    (4, "000c000000000000 0050" + "00" * 62 + "0000000400000000" * 2, "bad_property.dup_type"),
    (6, "000c000000000000 004000 04" + "00" * 60, "table_features_failed.bad_command"),
    (5, "0010000000000000 00000001 ffffffff ffffffff 0080 ff 00" + NO_MATCH, "flow_monitor_failed.bad_flags"),
    (5, "0010000000000000 00000001 ffffffff ffffffff 0002 ff 03" + NO_MATCH, "flow_monitor_failed.bad_command"),
    (1, "ffff0000 00002320 00000002 00000000 00000001 0040 ffff 0000 ff 0000000000", "flow_monitor_failed.bad_flags"),
]  # fmt: skip
"""Bad requests: version, body, and the error that names what is wrong."""
