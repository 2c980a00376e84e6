"""What Open vSwitch dumps is read here and written again to the letter: flows, groups, meters and tunnel options.

The switch is Debian's ovs-vswitchd with a bridge of dummies, in a directory of its own; it touches no interface.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.openflow_texts import matches, plain_actions
from vswitch.messages.control import TlvTableReply
from vswitch.messages.flows import MeterMod
from vswitch.messages.stats import MeterConfig
from vswitch.text.flow import format_flow, parse_flow_stats
from vswitch.text.flow_actions_format import format_flow_actions
from vswitch.text.flow_colors import paint_flow
from vswitch.text.flow_files import format_tlv_table, parse_tlv_maps
from vswitch.text.flow_groups import format_group, parse_group
from vswitch.text.flow_match import format_flow_match
from vswitch.text.flow_meters import format_meter, parse_meter

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
pytestmark = pytest.mark.skipif(
    shutil.which("ovs-vswitchd") is None or not SCHEMA.exists(), reason="Open vSwitch is not installed"
)
VERSIONS = "protocols=OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"


class Peer:
    """A running switch, and how it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")
        self.environment = {**os.environ, **dict.fromkeys(names, str(folder))}

    def run(self, *command: str) -> str:
        result = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )  # fmt: skip
        assert result.returncode == 0, f"{command}: {result.stderr}"
        return result.stdout

    def ofctl(self, version: str, command: str, *arguments: str) -> list[str]:
        """The lines that ovs-ofctl prints, the name of the message left out."""
        target = f"unix:{self.folder}/br0.mgmt"
        options = ["--no-names"] if "--names" not in arguments else []
        lines = self.run("ovs-ofctl", "-vwarn", *options, "-O", version, command, target, *arguments).splitlines()
        return [line for line in lines if "(xid=" not in line]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("ovs")
    found = Peer(folder)
    database, socket = folder / "conf.db", f"unix:{folder}/db.sock"
    found.run("ovsdb-tool", "create", str(database), str(SCHEMA))
    common = ["--detach", "--no-chdir", "-vconsole:off"]
    pids = []
    try:
        found.run("ovsdb-server", str(database), f"--remote=p{socket}", f"--pidfile={folder}/db.pid",
                  f"--unixctl={folder}/db.ctl", f"--log-file={folder}/db.log", *common)  # fmt: skip
        pids.append(int((folder / "db.pid").read_text()))
        found.run("ovs-vswitchd", socket, "--disable-system", "--enable-dummy=override", f"--pidfile={folder}/vs.pid",
                  f"--unixctl={folder}/vs.ctl", f"--log-file={folder}/vs.log", *common)  # fmt: skip
        pids.append(int((folder / "vs.pid").read_text()))
        vsctl = ["ovs-vsctl", f"--db={socket}", "--timeout=20"]
        found.run(
            *vsctl, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "fail-mode=secure", VERSIONS
        )
        found.run(*vsctl, "add-port", "br0", "p1", "--", "set", "interface", "p1", "type=dummy", "ofport_request=1")
        yield found
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)


FEW = settings(
    max_examples=4, derandomize=True, deadline=None, phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
flows = st.builds(
    lambda match, actions, table, priority: ",".join(
        part for part in (f"table={table},priority={priority}", match, f"actions={actions}") if part
    ),
    matches().map(format_flow_match),
    st.lists(plain_actions(), max_size=3).map(tuple).map(format_flow_actions),
    st.integers(0, 253),
    st.integers(0, 65535),
)


@pytest.mark.parametrize("version", ["OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"])
@FEW
@given(texts=st.lists(flows.filter(lambda text: "group:" not in text), min_size=40, max_size=40, unique=True))
def test_dumped_flows_are_written_to_the_letter(peer: Peer, version: str, texts: list[str]) -> None:
    peer.ofctl("OpenFlow13", "del-flows")
    for text in texts:
        command = [
            "ovs-ofctl",
            "-vwarn",
            "--no-names",
            "-OOpenFlow13",
            "add-flow",
            f"unix:{peer.folder}/br0.mgmt",
            text,
        ]
        subprocess.run(command, env=peer.environment, capture_output=True, timeout=60, check=False)  # some it refuses
    lines = peer.ofctl(version, "dump-flows")
    assert lines
    for line in lines:
        flow = parse_flow_stats(line)
        assert format_flow(flow) == line
    for line in peer.ofctl(version, "dump-flows", "--no-stats"):
        assert format_flow(parse_flow_stats(line), stats=False) == line


def test_flows_with_all_properties(peer: Peer) -> None:
    peer.ofctl("OpenFlow13", "del-flows")
    properties = "cookie=0x12,idle_timeout=300,hard_timeout=500,importance=3,send_flow_rem,check_overlap,reset_counts"
    peer.ofctl("OpenFlow14", "add-flow", f"table=3,{properties},no_packet_counts,no_byte_counts,tcp6,actions=drop")
    peer.ofctl("OpenFlow14", "add-flow", "in_port=1,actions=output:1,LOCAL,in_port")
    for version in ("OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"):
        for line in peer.ofctl(version, "dump-flows"):
            assert format_flow(parse_flow_stats(line)) == line
    line = peer.ofctl("OpenFlow13", "dump-flows", "--names")[0]
    assert format_flow(parse_flow_stats(line, ports={"p1": 1}), {1: "p1"}) == line


GROUPS = [
    "group_id=1,type=select,selection_method=hash,selection_method_param=5,bucket=bucket_id:1,weight:5,output:1",
    "group_id=6,type=select,bucket=watch_port:1,output:1,output:2,bucket=weight=0,watch_group=3,output:4",
    "group_id=2,type=all,bucket=output:1,bucket=weight:0,output:2",
    "group_id=3,type=ff,bucket=watch_port:1,output:1,bucket=watch_group:2,actions=output:2",
    "group_id=4,type=indirect,bucket=actions=drop",
    "group_id=5,type=select,selection_method=dp_hash,bucket=output:1",
    "group_id=7,type=all",
    "group_id=8,type=select,selection_method=hash,fields(reg0=5,eth_type,nw_proto,tcp_src=0xff,eth_src),bucket=output:1",
]


def test_dumped_groups_are_written_to_the_letter(peer: Peer) -> None:
    for text in GROUPS:
        peer.ofctl("OpenFlow15", "add-group", text)
    for version in ("OpenFlow10", "OpenFlow13", "OpenFlow15"):
        lines = peer.ofctl(version, "dump-groups")
        assert len(lines) == len(GROUPS)
        for line in lines:
            assert f" {format_group(parse_group(line))}" == line
    peer.ofctl("OpenFlow15", "del-groups")


def test_dumped_meters_are_written_to_the_letter(peer: Peer) -> None:
    texts = [
        "meter=1,kbps,band=type=drop,rate=100",
        "meter=2,pktps,burst,stats,bands=type=drop,rate=100,burst_size=5,type=drop,rate=9,burst_size=3",
        "meter=controller,pktps,bands=type=drop,rate=3",
    ]
    for text in texts:
        peer.ofctl("OpenFlow13", "add-meter", text)
        mod = parse_meter(text)
        assert isinstance(mod, MeterMod)
        number = text.partition(",")[0]
        printed = "\n".join(peer.ofctl("OpenFlow13", "dump-meters", number))
        assert printed == format_meter(MeterConfig(mod.id, mod.flags, mod.bands))
        assert parse_meter(printed) == mod
    peer.ofctl("OpenFlow13", "del-meters")


def test_tunnel_options_that_it_takes(peer: Peer) -> None:
    text = "{class=0xffff,type=0,len=4}->tun_metadata0,{class=1,type=2,len=8}->tun_metadata5"
    assert len(parse_tlv_maps(text)) == 2
    peer.ofctl("OpenFlow10", "add-tlv-map", text)
    lines = peer.ofctl("OpenFlow10", "dump-tlv-map")
    table = TlvTableReply(256, 64, parse_tlv_maps(text))
    assert lines == format_tlv_table(table).splitlines()


PAINTED = [
    "table=3,cookie=0x12,idle_timeout=300,send_flow_rem,priority=7,tcp6,in_port=1,dl_vlan=5,ipv6_src=fe80::/10,actions=drop",
    "table=4,ip,actions=output:1,output(port=2,max_len=100),NORMAL,controller:128,controller(reason=no_match,pause),LOCAL",
    "table=5,ip,actions=load:5->NXM_NX_REG0[],set_field:5->reg1,move:NXM_NX_REG0[]->NXM_NX_REG1[],dec_ttl,push:reg0",
    "table=6,actions=resubmit(,7),resubmit:3,resubmit(3,4),clone(output:1,resubmit(,3)),note:00.01,sample(probability=5)",
    "table=7,actions=learn(table=5,idle_timeout=10,cookie=0x12,NXM_OF_VLAN_TCI[0..11],load:NXM_OF_IN_PORT[]->reg0[0..15])",
    "table=8,tcp,actions=bundle(eth_src,0,hrw,ofport,members:4,8),fin_timeout(idle_timeout=5),goto_table:9",
    "table=9,actions=clear_actions,write_actions(output:1),write_metadata:5/7,goto_table:11",
    "table=10,icmp6,ipv6_label=3,nw_ecn=1,icmp_type=135,icmp_code=0,nd_target=::1,actions=set_queue:3,exit",
]


def test_colours_are_those_of_ovs_ofctl(peer: Peer) -> None:
    peer.ofctl("OpenFlow13", "del-flows")
    for text in PAINTED:
        peer.ofctl("OpenFlow13", "add-flow", text)
    for version in ("OpenFlow13", "OpenFlow14"):
        plain = peer.ofctl(version, "dump-flows", "--no-stats")
        painted = peer.ofctl(version, "dump-flows", "--no-stats", "--color=always")
        for line, expected in zip(plain, painted, strict=True):
            assert paint_flow(line) == expected
