"""vsctl beside ovs-vsctl, on ovsdb-server and on our server: the same lines, the same answers, the same databases."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import patience
from tests.vsctl import PATIENCE_S, Server, content, lines, ours, plain, theirs

LINES = 700
"""Random ones for each seed and each kind of server."""


@pytest.fixture(params=["theirs", "ours"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """One for each program, of the same kind."""
    found: list[Server] = []
    try:
        found += [Server(tmp_path / name, request.param) for name in ("a", "b")]
        yield found[0], found[1]
    finally:
        for server in found:
            server.close()


@pytest.mark.parametrize("script", ["vsctl.txt", "vsctl_consumers.txt"])
def test_scripts_have_the_same_answers(servers: tuple[Server, Server], script: str) -> None:
    different = []
    for number, words in enumerate(lines(script)):
        if words == ["--version"]:
            continue
        wanted, found = plain(theirs(servers[0], words)), plain(ours(servers[1], words))
        if found != wanted:
            different.append((words, found, wanted))
        if not number % 25:
            assert content(servers[1]) == content(servers[0]), words
    assert content(servers[1]) == content(servers[0])
    assert not different


BRIDGES, PORTS, IFACES = ["br0", "br1", "fk"], ["p0", "p1", "p2", "bond"], ["i0", "i1", "i2", "p0"]
VALUES = [
    "1",
    "0",
    "5",
    "a",
    "a=b",
    "a=b,c=d",
    "[]",
    "{}",
    "true",
    "secure",
    '"x y"',
    "1,2",
    "10-12",
    "x:y",
    "",
    "@a",
    "4096",
]
OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "{=}", "{!=}", "{<}", "{<=}", "{>}", "{>=}", "{in}", "{not-in}"]
COLUMNS = {
    "bridge": [
        "name",
        "fail_mode",
        "other_config",
        "other-config:a",
        "external_ids:a",
        "stp_enable",
        "protocols",
        "flood_vlans",
    ],
    "port": ["name", "tag", "trunk", "other_config", "external-ids:a", "qos", "vlan_mode", "protected", "bond_updelay"],
    "interface": ["name", "type", "options", "options:a", "ofport_request", "statistics", "cfm_remote_mpids", "mtu"],
    "qos": ["type", "other_config", "queues", "queues:1", "external_ids:a"],
    "queue": ["dscp", "other_config", "other_config:a"],
    "mirror": ["name", "select_all", "select_src_port", "output_vlan", "select_vlan"],
    "open": ["external_ids:a", "other_config", "ovs_version", "next_cfg", "datapath_types"],
}
RECORDS = {"bridge": BRIDGES, "port": [*PORTS, *BRIDGES], "interface": [*IFACES, *BRIDGES], "mirror": ["m"]}
RECORDS |= {"qos": PORTS, "queue": ["q", "."], "open": ["."]}


def command(chance: random.Random) -> list[str]:
    """One, which need not make sense."""

    def of(*choices: str) -> str:
        return chance.choice(choices)

    bridge, port, iface = of(*BRIDGES), of(*PORTS), of(*IFACES)
    table = of(*COLUMNS)
    record, column = of(*RECORDS[table], "nobody"), of(*COLUMNS[table])
    may_exist = ["--may-exist"] * (not chance.randrange(3))
    if_exists = ["--if-exists"] * (not chance.randrange(3))
    identity = [f"--id=@{of('a', 'b')}"] * (not chance.randrange(3))
    settings = [f"{of(*COLUMNS[table])}={of(*VALUES)}" for _ in range(chance.randrange(1, 3))]
    conditions = [f"{column}{of(*OPERATORS)}{of(*VALUES)}"]
    tags = [f"tag={of('1', '5', 'x')}"] * (not chance.randrange(3))
    rows: list[list[str]] = [
        [*may_exist, "add-br", bridge],
        [*may_exist, "add-br", of("fk", bridge), of("br0", "br1", "fk"), of("5", "6", "5000")],
        [*if_exists, "del-br", bridge],
        ["list-br"],
        ["br-exists", bridge],
        [of("br-to-vlan", "br-to-parent", "list-ports", "list-ifaces", "get-fail-mode", "get-controller"), bridge],
        [of("br-to-vlan", "br-to-parent", "list-ports", "list-ifaces", "del-controller", "del-fail-mode"), bridge],
        ["br-set-external-id", bridge, of("a", "b"), *([of("x", "y z")] * chance.randrange(2))],
        ["br-get-external-id", bridge, *(["a"] * chance.randrange(2))],
        [*may_exist, "add-port", bridge, of(port, iface), *tags],
        [*may_exist, "add-port", bridge, of(port, iface), *tags],
        [*may_exist, "add-bond", bridge, of("bond", port), iface, of(*IFACES), *tags],
        [*may_exist, "add-bond-iface", port, iface],
        [*if_exists, "del-bond-iface", *([port] * chance.randrange(2)), iface],
        [
            *if_exists,
            *(["--with-iface"] * chance.randrange(2)),
            "del-port",
            *([bridge] * chance.randrange(2)),
            of(port, iface),
        ],
        [of("port-to-br", "iface-to-br"), of(port, iface)],
        ["set-controller", bridge, *(["tcp:1.1.1.1", "ptcp:"][: chance.randrange(3)])],
        ["set-fail-mode", bridge, of("secure", "standalone", "x")],
        ["set-manager", of("ptcp:1", "tcp:2.2.2.2")],
        [of("get-manager", "del-manager", "get-ssl", "del-ssl", "init", "show")],
        ["set-ssl", "a", "b", of("c", "d")],
        [of("add-aa-mapping", "del-aa-mapping"), bridge, *of("1 3", "2 4", "x 3").split()],
        ["get-aa-mapping", bridge],
        [*if_exists, "list", table, *([record] * chance.randrange(2))],
        ["--columns=" + column.partition(":")[0], "find", table, *conditions],
        ["--columns=" + column.partition(":")[0], "find", table, *conditions],
        [*(if_exists or identity), "get", table, record, column],
        [*if_exists, "set", table, record, *settings],
        [*if_exists, "set", table, record, *settings],
        [*if_exists, "add", table, record, column, of(*VALUES)],
        [*if_exists, "remove", table, record, column, of(*VALUES)],
        [*if_exists, "clear", table, record, column],
        [*identity, "create", of("qos", "queue", "mirror"), *settings],
        [*if_exists, "destroy", of("qos", "queue"), *([of(*PORTS, "nobody")] if chance.randrange(4) else [])],
        ["set", "port", port, "qos=@a"],
        ["add", "bridge", bridge, "mirrors", "@a"],
        ["comment", "x"],
    ]
    return chance.choice(rows)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_lines_have_the_same_answers(servers: tuple[Server, Server], seed: int) -> None:
    chance = random.Random(seed)
    for number in range(LINES):
        words = [["--oneline"], ["-f", chance.choice(["table", "csv", "html", "json"])], [], [], []][
            chance.randrange(5)
        ]
        for at in range(chance.choice([1, 1, 1, 2, 3])):
            words = [*words, *(["--"] * (at > 0 or bool(chance.randrange(2)))), *command(chance)]
        if "add" in words and any(each in words for each in ("protected", "bond_updelay", "stp_enable", "next_cfg")):
            continue  # refused by a sentence of its own
        if "add" in words and any(each in words for each in ("1,2", "10-12")):
            continue  # more than one into a column that holds one is refused sooner or later, as it comes
        wanted, found = (plain(each, by_lines=True) for each in (theirs(servers[0], words), ours(servers[1], words)))
        assert found == wanted, (number, words)
        if not number % 20:
            assert content(servers[1]) == content(servers[0]), words
    assert content(servers[1]) == content(servers[0])


# ---- with a daemon that does it


@pytest.fixture
def switch(servers: tuple[Server, Server], tmp_path: Path) -> Iterator[Server]:
    """A server whose database ovs-vswitchd follows, on its dummy datapath."""
    server = servers[0]
    assert ours(server, ["init"]).status == 0
    folders = dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(tmp_path))
    command = ["ovs-vswitchd", server.place, "--disable-system", "--enable-dummy", "-vconsole:off"]
    daemon = subprocess.Popen(command, env=os.environ | folders)
    try:
        yield server
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE_S * patience())


WAITING = [
    "add-br br0 -- set bridge br0 datapath_type=dummy",
    "add-port br0 p1 -- set interface p1 type=dummy ofport_request=7",
    "get interface p1 ofport",
    "add-port br0 p2 -- set interface p2 type=patch",
    "add-port br0 p3 -- set interface p3 type=nonsense -- add-port br0 p4 -- set interface p4 type=vxlan",
    "get interface p3 ofport",
    "set interface p1 type=nonsense",
    "--may-exist add-port br0 p1",
    "add-bond br0 bond a b -- set interface a type=dummy -- set interface b type=patch",
    "wait-until interface p2 ofport=-1 -- --bare get interface p2 error",
    "del-port p2 -- del-port p3",
    "add-br none -- set bridge none datapath_type=none",
    "del-br br0 -- del-br none -- list-br",
]


def test_it_waits_for_the_daemon_and_says_what_went_wrong(switch: Server) -> None:
    """One program does it and the other one does it again, after everything was taken away."""
    answers = [
        [plain(ask(switch, ["--timeout=20", *line.split()], wait=True)) for line in WAITING] for ask in (theirs, ours)
    ]
    assert answers[1] == answers[0]
    errors = " ".join(error for _, _, error in answers[1])
    assert "Error detected while setting up 'p3': could not open network device p3" in errors
    assert answers[1][2] == (0, ["7"], "")


MAY_EXIST = ("--may-exist", "add-port")


def test_ten_at_once_add_ports_to_one_bridge(servers: tuple[Server, Server]) -> None:
    """Each by its own tool and all at the same time: nothing is lost, nothing is done twice."""
    server = servers[0]
    assert ours(server, ["add-br", "br0"]).status == 0
    vsctl = [sys.executable, "-m", "vswitch", "vsctl"]
    running = []
    for number in range(10):
        program = ["ovs-vsctl"] if number % 2 else vsctl
        words = " ".join(
            f"-- add-port br0 p{number}.{port} -- set port p{number}.{port} tag={port}" for port in range(5)
        )
        command = [*program, f"--db={server.place}", "--no-wait", "--timeout=60", *words.split()]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    for process in running:
        assert not process.communicate(timeout=60 * patience())[1]
        assert process.returncode == 0
    there = ["--may-exist", "add-br", "br1", *(word for name in "qr" for word in ("--", *MAY_EXIST, "br1", name))]
    running = []
    for program in (["ovs-vsctl"], vsctl) * 5:
        command = [*program, f"--db={server.place}", "--no-wait", "--timeout=60", *there]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    for process in running:
        assert not process.communicate(timeout=60 * patience())[1]
        assert process.returncode == 0
    names = sorted(f"p{number}.{port}" for number in range(10) for port in range(5))
    assert ours(server, ["list-ports", "br0"]).out.split() == names


def test_the_options_and_commands_are_those_of_ovs_vsctl(servers: tuple[Server, Server]) -> None:
    """As it lists them for shells: names, options, and how many words of which kind may follow. What it says of the
    commands on zones and datapaths alone is nothing."""
    wanted, found = (ask(servers[0], ["--options"]).out.splitlines() for ask in (theirs, ours))
    assert sorted(found) == sorted(wanted)
    wanted, found = (ask(servers[0], ["--commands"]).out.splitlines() for ask in (theirs, ours))
    silent = ("-zone-tp,", "list-dp-cap,")
    for lists in (wanted, found):
        lists[:] = sorted(_form(line) for line in lists if not any(each in line for each in silent))
    assert found == wanted


def _form(line: str) -> str:
    options, name, words = line.split(",", 2)
    return " ".join([name, *sorted(options.split()), *(word[0] for word in words.split())])


OSKEN = """
import json
import sys
import warnings

warnings.simplefilter("ignore")
from os_ken.lib.ovs.vsctl import VSCtl, VSCtlCommand

vsctl = VSCtl(sys.argv[1])
for name, *words in json.loads(sys.argv[2]):
    command = VSCtlCommand(name, words)
    vsctl.run_command([command], timeout_sec=20)
    if isinstance(command.result, (list, str, int)) and name.startswith(("list-", "get-", "br-", "port-", "iface-")):
        print(name, command.result)
"""

# Its `set` fails by itself with the newer `ovs` that it installs.
OSKEN_COMMANDS = [
    ["add-br", "br0"],
    ["add-port", "br0", "p1"],
    ["add-port", "br0", "p2"],
    ["list-br"],
    ["list-ports", "br0"],
    ["port-to-br", "p2"],
    ["set-controller", "br0", "tcp:127.0.0.1:6653"],
    ["get-controller", "br0"],
    ["del-controller", "br0"],
    ["set-fail-mode", "br0", "secure"],
    ["get-fail-mode", "br0"],
    ["br-exists", "br0"],
    ["del-port", "br0", "p2"],
]


def test_the_library_of_osken_configures_what_vsctl_then_shows(switch: Server) -> None:
    command = [sys.executable, "-W", "ignore", "-c", OSKEN, switch.place, json.dumps(OSKEN_COMMANDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 * patience())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "list-br ['br0']",
        "list-ports ['p1', 'p2']",
        "port-to-br br0",
        "get-controller ['tcp:127.0.0.1:6653']",
        "get-fail-mode secure",
        "br-exists True",
    ]
    assert ours(switch, ["list-ports", "br0", "--", "get-fail-mode", "br0", "--", "get-controller", "br0"]) == (
        0,
        "p1\nsecure\n",
        "",
    )
