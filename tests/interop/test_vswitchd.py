"""Debian's ovs-vsctl and ovs-ofctl at our daemon and at Open vSwitch's, which follow the same commands: their answers
are the same. Both have devices of their own, in a namespace; Open vSwitch's datapath is the one in userspace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path

import pytest

from tests.datapaths import remove_all, remove_remains
from tests.lab import Lab, patience, wait_until
from tests.vswitchd import Daemon, add_bridge, add_port
from vswitch.datapath.ebpf.netdev import Netdev

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")

SCRIPT = """
ovs-vsctl add-br BR -- set bridge BR datapath_type=netdev
ovs-vsctl add-port BR p0 -- add-port BR p1 -- set Interface p1 ofport_request=1
ovs-vsctl get Interface p0 ofport -- get Interface p1 ofport
ovs-vsctl set Interface p0 ofport_request=5
ovs-vsctl get Interface p0 ofport -- get Interface p1 ofport
ovs-vsctl add-port BR p2 -- set Interface p2 ofport_request=5
ovs-vsctl get Interface p0 ofport -- get Interface p1 ofport -- get Interface p2 ofport
ovs-vsctl set Interface p0 ofport_request=1 -- set Interface p1 ofport_request=6
ovs-vsctl get Interface p0 ofport -- get Interface p1 ofport
ovs-vsctl get Interface p0 mac_in_use admin_state link_state mtu duplex link_speed error
ovs-vsctl get Interface BR ofport admin_state link_state type
ovs-vsctl --timeout=5 add-port BR nosuch 2>&1 | grep -o "setting up 'nosuch'"
ovs-vsctl get Interface nosuch ofport
ovs-vsctl get Interface nosuch ifindex mac_in_use admin_state link_state statistics status mtu
ovs-vsctl del-port nosuch
ovs-vsctl add-port BR pp -- set Interface pp type=patch options:peer=nobody
ovs-vsctl del-port pp
ovs-ofctl dump-flows BR --no-stats
ovs-vsctl set-fail-mode BR secure
ovs-ofctl dump-flows BR --no-stats
ovs-ofctl add-flow BR actions=normal
ovs-vsctl set-controller BR tcp:127.0.0.1:1
ovs-ofctl dump-flows BR --no-stats
ovs-ofctl add-flow BR priority=7,actions=normal
ovs-vsctl set-controller BR tcp:127.0.0.1:2
ovs-ofctl dump-flows BR --no-stats
ovs-vsctl set-fail-mode BR standalone
ovs-ofctl dump-flows BR --no-stats
ovs-vsctl del-controller BR
ovs-ofctl dump-flows BR --no-stats
ovs-vsctl set-controller BR ptcp:0:127.0.0.1
ovs-ofctl dump-flows BR --no-stats
ovs-vsctl set-controller BR punix:/tmp/vswitch-not-there.sock
test -e /tmp/vswitch-not-there.sock || echo none
ovs-vsctl del-controller BR
ovs-vsctl set bridge BR other_config:datapath-id=0x1234
ovs-vsctl get Bridge BR datapath_id
ovs-vsctl set bridge BR other_config:datapath-id=0000000000001235
ovs-vsctl get Bridge BR datapath_id
ovs-vsctl remove bridge BR other_config datapath-id
ovs-vsctl set Interface p0 mtu_request=1400
ovs-vsctl get Interface p0 mtu -- get Interface BR mtu
ovs-vsctl add-port BR int0 -- set Interface int0 type=internal
ovs-vsctl get Interface int0 mtu type
ovs-vsctl set bridge BR protocols=OpenFlow13
ovs-ofctl dump-flows BR 2>&1 | grep -c "version negotiation failed"
ovs-ofctl -O OpenFlow13 dump-flows BR --no-stats
ovs-vsctl clear bridge BR protocols
ovs-vsctl set bridge BR other_config:dp-desc=hello other_config:dp-sn=123
ovs-ofctl dump-desc BR | grep -E "DP|Serial"
ovs-vsctl remove bridge BR other_config dp-desc
ovs-ofctl dump-desc BR | grep -E "DP|Serial"
ovs-vsctl -- --id=@t create flow_table name=xx flow_limit=2 -- set bridge BR flow_tables:0=@t >/dev/null
ovs-ofctl del-flows BR; for i in 1 2 3; do ovs-ofctl add-flow BR priority=$i,actions=drop; done 2>&1 | grep -o _FULL
ovs-ofctl dump-aggregate BR | grep -o flow_count=.
ovs-vsctl set interface p0 type=internal 2>&1 | grep -o "setting up 'p0'"
ovs-vsctl get Interface p0 ofport
ovs-vsctl set interface p0 type=system
ovs-vsctl get Interface p0 ofport
ovs-vsctl add-br BRv BR 7; ovs-vsctl list-br; ovs-vsctl get port BRv tag fake_bridge; ovs-vsctl get interface BRv type
ip link set p0 down; sleep 1; ovs-vsctl get interface p0 admin_state link_state ofport
ip link set p0 up; sleep 1; ovs-vsctl get interface p0 admin_state
ovs-vsctl -- set port p0 qos=@q -- --id=@q create qos type=linux-htb other-config:max-rate=10000000 \
    queues=0=@a,7=@b -- --id=@a create queue other-config:min-rate=1000000 \
    -- --id=@b create queue other-config:max-rate=5000000 other-config:priority=3 >/dev/null
ovs-appctl -t $(ls $OVS_RUNDIR/*vswitchd.*.ctl) qos/show p0
ovs-appctl -t $(ls $OVS_RUNDIR/*vswitchd.*.ctl) qos/show p1
ovs-appctl -t $(ls $OVS_RUNDIR/*vswitchd.*.ctl) qos/show nosuch 2>&1 | head -1
ovs-appctl -t $(ls $OVS_RUNDIR/*vswitchd.*.ctl) qos/show-types nosuch 2>&1 | head -1
ovs-vsctl -- clear port p0 qos -- --all destroy qos -- --all destroy queue
ovs-vsctl get open_vswitch . dpdk_initialized datapath_types
ovs-vsctl --timeout=5 -- --if-exists del-port p2 -- add-port BR p2 tag=7 trunk=8,9 vlan_mode=native-untagged \
    -- set Interface p2 external-ids:attached-mac=\\"52:54:00:00:00:01\\" \
    -- set Interface p2 external-ids:iface-id=\\"a-b\\" -- set Interface p2 external-ids:vm-id=\\"c-d\\" \
    -- set Interface p2 external-ids:iface-status=active
ovs-vsctl get port p2 tag trunks vlan_mode -- get interface p2 external_ids:iface-id error
ovs-vsctl --timeout=5 set Interface p2 external_ids:PortData=0011
ovs-vsctl --if-exists get Interface p2 external_ids:PortData
ovs-vsctl --if-exists get Interface p2 external_ids:none
sleep 6; ovs-vsctl --timeout=5 get Interface p2 statistics:rx_packets statistics:rx_bytes statistics:rx_errors \
    statistics:rx_dropped statistics:tx_packets statistics:tx_bytes statistics:tx_errors statistics:tx_dropped \
    | grep -c .
ovs-vsctl --data=bare --no-heading --columns=name find interface external_ids:vm-id=c-d
ovs-vsctl set port p2 tag=4095; ovs-vsctl get port p2 tag; ovs-vsctl --timeout=5 -- --if-exists del-port p2
ovs-vsctl list-ports BR; ovs-vsctl del-br BR; ovs-vsctl list-br
"""
"""BR is the bridge's name. What is not here differs for a reason (docs/compatibility.md), or by chance."""


def environment(folder: Path) -> dict[str, str]:
    places = dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(folder))
    return {**os.environ, **places, "LC_ALL": "C"}


def said(lines: list[str], folder: Path, bridge: str) -> list[str]:
    answers = []
    for line in lines:
        done = subprocess.run(
            line.replace("BR", bridge), shell=True, env=environment(folder), capture_output=True, text=True,
            timeout=30 * patience(), check=False,
        )  # fmt: skip
        answers.append((done.stdout + done.stderr).replace(bridge, "BR").replace(str(folder), "FOLDER"))
    return answers


@contextmanager
def theirs(folder: Path) -> Iterator[None]:
    """Open vSwitch."""
    settings = environment(folder)
    subprocess.run(["ovsdb-tool", "create", f"{folder}/conf.db", str(SCHEMA)], env=settings, check=True)
    processes = []
    with (folder / "log").open("wb") as log:
        try:
            server = ["ovsdb-server", f"{folder}/conf.db", f"--remote=punix:{folder}/db.sock"]
            processes.append(subprocess.Popen(server, env=settings, stdout=log, stderr=log))
            wait_until((folder / "db.sock").exists, "the database is served", 10)
            subprocess.run(["ovs-vsctl", "--no-wait", "init"], env=settings, check=True)
            daemon = ["ovs-vswitchd", f"unix:{folder}/db.sock"]
            processes.append(subprocess.Popen(daemon, env=settings, stdout=log, stderr=log))
            yield
        finally:
            for process in reversed(processes):
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10 * patience())
                process.kill()
                process.wait()


def make_devices() -> None:
    with Netdev() as devices:
        for number in range(3):
            mac = f"02:00:00:00:0{number}:0"
            devices.create_veth(f"p{number}", f"q{number}", mac=f"{mac}1", peer_mac=f"{mac}2")
            devices.set_up(f"p{number}")
            devices.set_up(f"q{number}")


def test_the_same_commands_have_the_same_answers(tmp_path: Path) -> None:
    lines = SCRIPT.strip().splitlines()
    answers = {}
    remove_remains()
    for who in ("ours", "theirs"):
        folder = tmp_path / who
        folder.mkdir()
        with Lab() as lab:
            make_devices()
            try:
                with Daemon(folder) if who == "ours" else theirs(folder):
                    answers[who] = said(lines, folder, lab.name)
            finally:
                remove_all(lab.name)
    rows = zip(lines, answers["ours"], answers["theirs"], strict=True)
    differences = [(line, ours, others) for line, ours, others in rows if ours != others]
    assert not differences, "\n".join(
        f"{line}\n  ours: {ours}\n  theirs: {others}" for line, ours, others in differences
    )


@pytest.fixture
def name(lab: Lab) -> Iterator[str]:
    remove_remains()
    yield lab.name
    remove_all(lab.name)


def test_a_database_of_open_vswitchs_server_is_followed(lab: Lab, name: str, tmp_path: Path) -> None:
    """With its schema, which lacks columns that ours has."""
    one, two = lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")
    with Daemon(tmp_path, ("ovsdb-server",), schema=SCHEMA) as daemon:
        daemon.configure(*add_bridge(name), *add_port(name, one.port), *add_port(name, two.port))
        assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
        assert daemon.ofports() == {name: 65534, one.port: 1, two.port: 2}
        daemon.kill()
        daemon.restart_server()
        daemon.start()
        assert daemon.ofports() == {name: 65534, one.port: 1, two.port: 2}
        show = said(["ovs-vsctl show"], tmp_path, name)[0]
        assert 'ovs_version: "3.1.0"' in show
        assert "error" not in show


def test_they_do_not_both_follow_one_database(lab: Lab, name: str, tmp_path: Path) -> None:
    with theirs(tmp_path):
        settings = environment(tmp_path)
        subprocess.run(["ovs-vsctl", "add-br", name, "--", "set", "bridge", name, "datapath_type=netdev"],
                       env=settings, check=True)  # fmt: skip
        second = Daemon(tmp_path, ())
        second.start(wait=False)
        try:
            wait_until(lambda: "another process has the lock" in second.said(), "the other waits", 10)
            time.sleep(0.5)
            assert name not in [folder.name for folder in Path("/sys/fs/bpf/vswitch").glob("*")]
        finally:
            assert second.end() == 0
            second.errors.close()


def migration() -> list[str]:
    """The commands of docs/migrate.md, in order."""
    page = (Path(__file__).parents[2] / "docs/migrate.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^   ```\n(.*?)^   ```$", page, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines()]


def test_a_machine_moves_as_the_page_says(lab: Lab, name: str, tmp_path: Path) -> None:
    one, two, three = (lab.host(f"h{n}", ip=f"10.0.0.{n}/24") for n in (1, 2, 3))
    old, new, kept = (tmp_path / each for each in ("old", "new", "kept"))
    for folder in (old, new, kept):
        folder.mkdir()
    words = {"/etc/openvswitch": str(old), "/var/lib/vswitch": str(new), "br0": name}
    lines = [reduce(lambda line, word: line.replace(word, words[word]), words, line) for line in migration()]
    stop = next(index for index, line in enumerate(lines) if "vswitch" in line.split()[0] or str(new) in line)

    def run(line: str, folder: Path) -> str:
        settings = {**environment(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(line, shell=True, cwd=kept, env=settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "grep" in line, f"{line}\n{done.stderr}"
        return done.stdout

    with theirs(old):
        ports = " -- ".join(f"add-port {name} {host.port}" for host in (one, two, three))
        run(f"ovs-vsctl add-br {name} -- set bridge {name} datapath_type=netdev fail_mode=secure -- {ports}", old)
        run(f"ovs-vsctl set port {three.port} tag=7 -- set interface {two.port} ofport_request=20", old)
        run(f"ovs-ofctl -O OpenFlow15 add-group {name} group_id=3,type=all,bucket=actions=normal", old)
        run(f"ovs-ofctl add-flow {name} priority=5,arp,actions=normal", old)
        run(f"ovs-ofctl -O OpenFlow15 add-flow {name} priority=5,ip,actions=group:3", old)
        before = run(f"ovs-ofctl --no-stats dump-flows {name}", old)
        said = [run(line, old) for line in lines[:stop]]
        assert name in "".join(said)
    for line in lines[stop:]:
        run(line, new)
    try:
        assert run(f"ovs-ofctl --no-stats dump-flows {name}", new) == before
        assert run(f"vswitch vsctl get interface {two.port} ofport", new) == "20\n"
        assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
        assert one.ping(three.ip, count=1, interval_s=0.05).received == 0, "it is in another VLAN"
    finally:
        run("vswitch stop", new)
