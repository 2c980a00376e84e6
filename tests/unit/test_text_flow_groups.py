"""Groups, meters, bundles, packets to send and tunnel options in the text of ovs-ofctl."""

from __future__ import annotations

import pytest

from vswitch.base.errors import ConfigError, TextError
from vswitch.messages.actions import Output
from vswitch.messages.control import TlvMap, TlvTableMod, TlvTableReply
from vswitch.messages.flows import (
    Bucket,
    FlowCommand,
    FlowMod,
    GroupCommand,
    GroupMod,
    GroupType,
    MeterBand,
    MeterCommand,
    MeterMod,
    PacketOut,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import BucketStats, GroupStats, MeterConfig, MeterFeatures, MeterStats
from vswitch.text.flow_files import (
    LineError,
    format_tlv_mod,
    format_tlv_table,
    parse_bundle,
    parse_flows,
    parse_groups,
    parse_packet_out,
    parse_tlv_maps,
)
from vswitch.text.flow_groups import (
    LAST_BUCKET,
    format_group,
    format_group_mod,
    format_group_stats,
    parse_group,
    parse_group_id,
)
from vswitch.text.flow_meters import (
    format_meter,
    format_meter_features,
    format_meter_mod,
    format_meter_stats,
    parse_meter,
    parse_meter_id,
)

SELECT = (
    "group_id=1,type=select,selection_method=hash,selection_method_param=5,fields(ip_src,ip_dst=255.255.255.0),"
    "bucket=bucket_id:1,weight:5,watch_port:2,actions=output:1,output:2,bucket=weight:0,watch_group:3,actions=output:4"
)


def test_a_select_group() -> None:
    group = parse_group(SELECT.replace("fields(ip_src,ip_dst=255.255.255.0)", "fields(ip_dst=255.255.255.0,ip_src)"))
    assert group.type is GroupType.SELECT
    assert (group.selection, group.selection_param) == ("hash", 5)
    assert dict(group.fields) == {"ipv4_src": 0xFFFFFFFF, "ipv4_dst": 0xFFFFFF00}
    assert group.buckets == (
        Bucket((Output(1), Output(2)), 5, 2, id=1),
        Bucket((Output(4),), 0, watch_group=3),
    )
    assert format_group(group) == SELECT


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("group_id=1 type=all bucket=output:1 output:2", "group_id=1,type=all,bucket=actions=output:1,output:2"),
        ("group_id=1,type=all,bucket=actions(output:1)", "group_id=1,type=all,bucket=actions=output:1"),
        ("group_id=1,type=all,bucket=actions=", "group_id=1,type=all,bucket=actions=drop"),
        ("group_id=1,type=select,bucket=output:1", "group_id=1,type=select,bucket=actions=output:1"),
        ("group_id=1,type=ff,bucket=watch_port:1,2", "group_id=1,type=ff,bucket=watch_port:1,actions=output:2"),
        ("group_id=1,type=indirect,bucket=weight:0,2", "group_id=1,type=indirect,bucket=actions=output:2"),
        ("group_id=7,type=all", "group_id=7,type=all"),
    ],
)
def test_how_a_group_is_printed(text: str, printed: str) -> None:
    assert format_group(parse_group(text)) == printed


def test_commands_on_buckets() -> None:
    mod = parse_group("group_id=2,command_bucket_id=last,bucket=bucket_id:9,output:3", GroupCommand.INSERT_BUCKET)
    assert (mod.bucket_id, mod.buckets) == (LAST_BUCKET, (Bucket((Output(3),), id=9),))
    printed = "INSERT_BUCKET command_bucket_id:last,group_id=2,bucket=bucket_id:9,actions=output:3"
    assert format_group_mod(mod) == printed
    mod = parse_group("group_id=2", GroupCommand.REMOVE_BUCKET)
    assert format_group_mod(mod) == "REMOVE_BUCKET command_bucket_id:all,group_id=2"


def test_all_groups_are_deleted() -> None:
    assert parse_group("", GroupCommand.DELETE).id == 0xFFFFFFFC
    assert format_group_mod(parse_group("group_id=all", GroupCommand.DELETE)) == "DEL group_id=4294967292,type=all"
    assert parse_group_id("3") == parse_group_id("group_id=3") == 3


@pytest.mark.parametrize(
    ("text", "command", "position"),
    [
        ("group_id=1,bucket=output:1", GroupCommand.ADD, 0),
        ("type=all,bucket=output:1", GroupCommand.ADD, 0),
        ("group_id=0xffffff01,type=all", GroupCommand.ADD, 9),
        ("group_id=1,type=foo", GroupCommand.ADD, 16),
        ("group_id=1,type=all,foo=1", GroupCommand.ADD, 20),
        ("group_id=1,type=all,bucket=", GroupCommand.ADD, 27),
        ("group_id=1,type=all,bucket:1,bucket=2", GroupCommand.ADD, 20),
        ("group_id=1,type=all,bucket(output:1)", GroupCommand.ADD, 20),
        ("group_id=1,type=all,bucket=foo", GroupCommand.ADD, 27),
        ("group_id=1,type=all,bucket=weight:1,output:1", GroupCommand.ADD, 27),
        ("group_id=1,type=ff,bucket=output:1", GroupCommand.ADD, 26),
        ("group_id=1,type=indirect,bucket=output:1,bucket=output:2", GroupCommand.ADD, 41),
        ("group_id=1,type=select,selection_method_param=3", GroupCommand.ADD, 23),
        ("group_id=1,type=select,fields(ip_dst)", GroupCommand.ADD, 23),
        ("group_id=1,type=select,selection_method=hash,fields(foo)", GroupCommand.ADD, 52),
        ("group_id=1,type=all,command_bucket_id=1", GroupCommand.ADD, 20),
        ("group_id=1,command_bucket_id=all,bucket=output:1", GroupCommand.INSERT_BUCKET, 11),
        ("group_id=1,bucket=output:1", GroupCommand.INSERT_BUCKET, 0),
        ("group_id=1,bucket=output:1", GroupCommand.DELETE, 11),
        ("group_id=1,type=all", GroupCommand.DELETE, 11),
    ],
)
def test_faults_of_groups(text: str, command: GroupCommand, position: int) -> None:
    with pytest.raises(TextError) as caught:
        parse_group(text, command)
    assert caught.value.position == position


def test_statistics_of_a_group() -> None:
    stats = GroupStats(3, 1, 2, 120, 140_000_000, (BucketStats(1, 60), BucketStats(1, 60)))
    buckets = "bucket0:packet_count=1,byte_count=60,bucket1:packet_count=1,byte_count=60"
    rest = f"ref_count=1,packet_count=2,byte_count=120,{buckets}"
    assert format_group_stats(stats) == f"group_id=3,duration=0.140s,{rest}"
    assert format_group_stats(stats, duration=False) == f"group_id=3,{rest}"


def test_meters() -> None:
    bands = "type=drop rate=10 burst_size=5,type=dscp_remark,rate=9,burst_size=4,prec_level=1"
    mod = parse_meter(f"meter=3 pktps burst stats bands= {bands}")
    assert mod == MeterMod(MeterCommand.ADD, 3, 14, (MeterBand(10, 5), MeterBand(9, 4, "dscp_remark", 1)))
    assert format_meter(mod) == (
        "meter=3 pktps burst stats bands=\ntype=drop rate=10 burst_size=5\n"
        "type=dscp_remark rate=9 burst_size=4 prec_level=1"
    )
    assert format_meter_mod(parse_meter("", MeterCommand.DELETE)) == "DEL meter=all bands="
    assert parse_meter_id("meter=slowpath") == 0xFFFFFFFD
    assert format_meter(MeterConfig(0xFFFFFFFE, 1, (MeterBand(3),))) == "meter=controller kbps bands=\ntype=drop rate=3"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("meter=7,bands=type=drop,rate=3", 0),
        ("meter=9,kbps", 12 - 12),
        ("kbps,bands=type=drop,rate=3", 0),
        ("meter=1,kbps,bands=rate=3", 19),
        ("meter=1,kbps,bands=type=drop", 19),
        ("meter=0,kbps,bands=type=drop,rate=5", 6),
        ("meter=1,foo,bands=type=drop,rate=3", 8),
        ("meter=1,kbps,bands=type=drop,rate=3,foo=4", 36),
        ("meter=1,kbps,bands=type=foo,rate=3", 24),
        ("meter=4294901761,kbps,bands=type=drop,rate=3", 6),
        ("meter=1,kbps,bands=type=drop,rate=3,burst_size=4", 19),
    ],
)
def test_faults_of_meters(text: str, position: int) -> None:
    with pytest.raises(TextError) as caught:
        parse_meter(text)
    assert caught.value.position == (len(text) if text == "meter=9,kbps" else position)


def test_statistics_of_a_meter() -> None:
    assert format_meter_stats(MeterStats(1, 2, 3, 4, 96_000_000, ((5, 6),))) == (
        "meter:1 flow_count:2 packet_in_count:3 byte_in_count:4 duration:0.096s bands:\n0: packet_count:5 byte_count:6"
    )
    assert format_meter_features(MeterFeatures(262144, 2, 15, 8, 0)) == (
        "max_meter:262144 max_bands:8 max_color:0\nband_types: drop\ncapabilities: kbps pktps burst stats"
    )


FRAME = bytes.fromhex("ffffffffffff0000000000010800")


def test_a_bundle() -> None:
    lines = [
        "# what it does",
        "",
        "flow table=1,actions=drop",
        " flow delete_strict table=1,priority=3 # gone",
        "group delete group_id=3",
        f"packet-out in_port=1,packet={FRAME.hex()},reg0=5,actions=output:2",
    ]
    assert list(parse_bundle(lines)) == [
        FlowMod(FlowCommand.ADD, table=1),
        FlowMod(FlowCommand.DELETE_STRICT, priority=3, table=1),
        GroupMod(GroupCommand.DELETE, 3),
        PacketOut(FRAME, (Output(2),), FlowMatch(in_port=1, reg0=5)),
    ]


@pytest.mark.parametrize(
    ("line", "position"),
    [
        ("flow add table=1,foo=3,actions=drop", 17),
        ("meter add meter=1", 0),
        ("flow foo actions=drop", 5),
        ("group", 5),
        ("packet-out packet=ff,in_port=1", 18),
        ("packet-out in_port=1", 10),
        ("packet-out packet=ffffffffffff0000000000010800", 10),
        ("packet-out in_port=1,nw_src=1.2.3.4", 21),
    ],
)
def test_a_fault_in_a_bundle_has_its_line(line: str, position: int) -> None:
    with pytest.raises(LineError) as caught:
        list(parse_bundle(["# comment", line]))
    assert caught.value.line == 2
    assert isinstance(caught.value.error, TextError)
    assert caught.value.error.position == position
    assert str(caught.value).startswith("line 2: ")


def test_files_of_flows_and_groups() -> None:
    flows = list(parse_flows(["priority=1,actions=1", "delete table=3", "modify_strict actions=drop # x"]))
    assert [mod.command for mod in flows] == [FlowCommand.ADD, FlowCommand.DELETE, FlowCommand.MODIFY_STRICT]
    groups = list(parse_groups(["group_id=1,type=all", "add_or_mod group_id=1,type=all"], GroupCommand.MODIFY))
    assert [mod.command for mod in groups] == [GroupCommand.MODIFY, GroupCommand.ADD_OR_MODIFY]


def test_a_packet_without_actions_is_dropped() -> None:
    assert parse_packet_out(f"in_port=LOCAL packet={FRAME.hex()}").actions == ()


def test_tunnel_options() -> None:
    text = "{class=0xffff,type=1,len=8}->tun_metadata1, {class=1,type=2,len=4}->tun_metadata5"
    maps = parse_tlv_maps(text)
    assert maps == (TlvMap(0xFFFF, 1, 8, 1), TlvMap(1, 2, 4, 5))
    table = [
        " mapping table:",
        "  class  type  length  match field",
        " ------  ----  ------  --------------",
        " 0xffff   0x1       8  tun_metadata1",
        "    0x1   0x2       4  tun_metadata5",
    ]
    head = [" max option space=256 max fields=64", " allocated option space=12", ""]
    assert format_tlv_table(TlvTableReply(256, 64, maps)).splitlines() == [*head, *table]
    assert format_tlv_mod(TlvTableMod(0, maps)).splitlines() == [" ADD mapping table:", *table[1:]]
    assert format_tlv_mod(TlvTableMod(2)) == " CLEAR"


@pytest.mark.parametrize(
    "text", ["class=1,type=3,len=4->tun_metadata8", "{class=1,type=3,len=5}->tun_metadata8",
             "{class=1,type=3,len=4}->tun_metadata99", "{class=1,type=3,len=4}", "{class=x,type=3,len=4}->tun_metadata"]
)  # fmt: skip
def test_faults_of_tunnel_options(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_tlv_maps(text)
