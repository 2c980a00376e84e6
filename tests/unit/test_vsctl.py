"""vsctl: words and values, and its transactions on our server. What ovs-vsctl says to the same is in tests/interop."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vswitch
from tests.certificates import make_certificates
from tests.lab import patience
from tests.vsctl import PATIENCE_S, Answer, Server, content, environment, lines, ours
from vswitch.cli.vsctl import CommandError, json
from vswitch.cli.vsctl import main as program
from vswitch.cli.vsctl.client import Client, connect
from vswitch.cli.vsctl.options import parse_line
from vswitch.cli.vsctl.run import Runner
from vswitch.cli.vsctl.schema import Type
from vswitch.cli.vsctl.table import COMMANDS
from vswitch.cli.vsctl.values import bare_text, encode, from_json, parse, value_text
from vswitch.ovsdb.text import value_text as text_of_ovsdb
from vswitch.ovsdb.types import Type as OvsdbType
from vswitch.ovsdb.values import parse as parse_ovsdb

STRINGS: Any = {"key": "string", "min": 0, "max": "unlimited"}
INTEGERS: Any = {"key": {"type": "integer", "minInteger": 0, "maxInteger": 4095}, "min": 0, "max": 4096}
MAP: Any = {"key": "string", "value": "string", "min": 0, "max": "unlimited"}
MODES: Any = {"key": {"type": "string", "enum": ["set", ["secure", "standalone"]]}, "min": 0}

VALUES = [
    ("integer", "5", (5,), "5"),
    ("integer", "-5", (-5,), "-5"),
    ("real", "1e3", (1000.0,), "1000"),
    ("boolean", "yes", (True,), "true"),
    ("string", "br-0.1", ("br-0.1",), "br-0.1"),
    ("string", '"a b"', ("a b",), '"a b"'),
    ("string", r'"\u00e9\n"', ("é\n",), r'"é\n"'),
    ("string", "true", ("true",), '"true"'),
    ("uuid", "AAAAAAAA-0000-4000-8000-000000000000", ("aaaaaaaa-0000-4000-8000-000000000000",), None),
    (STRINGS, "b,a", ("a", "b"), "[a, b]"),
    (STRINGS, "[]", (), "[]"),
    (INTEGERS, "1-3,7", (1, 2, 3, 7), "[1, 2, 3, 7]"),
    (MAP, "{b=2, a=x}", (("a", "x"), ("b", "2")), '{a=x, b="2"}'),
    (MODES, "secure", ("secure",), "secure"),
]


def resolve(name: str, base: object) -> str:
    raise AssertionError(f"{name} names no row here")


@pytest.mark.parametrize(("kind", "text", "value", "printed"), VALUES, ids=[text for _, text, _, _ in VALUES])
def test_values_are_read_and_printed_as_the_database_has_them(
    kind: Any, text: str, value: tuple[Any, ...], printed: str | None
) -> None:
    found = Type.parse(kind)
    assert parse(found, text, resolve) == value
    if printed is not None:
        assert value_text(found, value) == printed
        assert text_of_ovsdb(OvsdbType.parse(kind), value) == printed
    sent = json.scan(json.dumps(encode(found, value, lambda uuid: ["uuid", uuid])), 0)[0]
    assert from_json(found, sent) == parse_ovsdb(OvsdbType.parse(kind), sent) == value


WRONG = [
    ("integer", "x", '"x" is not a valid integer or range'),
    ("integer", "1_0", '"1_0" is not a valid integer or range'),
    ("integer", "9223372036854775808", "is not a valid integer or range"),
    ("real", "nan", '"nan" is not a valid real number'),
    ("boolean", "TRUE", 'use "true" or "false"'),
    ("string", '"a', "quoted string extends past end of argument"),
    ("string", "a\\", "backslash at end of argument"),
    ("uuid", "1234", '"1234" is not a valid UUID'),
    (INTEGERS, "0-4096", "4096 is not in the valid range 0 to 4095"),
    (INTEGERS, "3-1", "Range end cannot be before start"),
    (INTEGERS, "1,,2", 'unexpected "," parsing set of up to 4096 integers'),
    (INTEGERS, "1,1", "set contains duplicate value"),
    (MAP, "a", "syntax error at"),
    (MAP, "a=b,a=c", "map contains duplicate key"),
    (MAP, "{a=b", 'missing "}" at end of data'),
    (MODES, "x", "x is not one of the allowed values ([secure, standalone])"),
    (MODES, "[secure,standalone]", "2 value(s) specified but the maximum number is 1"),
]


@pytest.mark.parametrize(("kind", "text", "problem"), WRONG, ids=[text for _, text, _ in WRONG])
def test_wrong_values_are_refused_with_a_reason(kind: Any, text: str, problem: str) -> None:
    with pytest.raises(CommandError) as refused:
        parse(Type.parse(kind), text, resolve)
    assert problem in str(refused.value)


def test_bare_text_has_neither_quotes_nor_brackets() -> None:
    assert bare_text(Type.parse(MAP), (("a", "x y"), ("b", ""))) == "a=x y b="
    assert bare_text(Type.parse(INTEGERS), (1, 2)) == "1 2"


def test_options_of_the_first_command_may_stand_among_those_of_the_whole() -> None:
    options, calls = parse_line(
        ["--one", "--if-exists", "-t5", "del-br", "b", "--", "--may-exist", "add-br", "c", "--"]
    )
    assert (options.oneline, options.timeout_s) == (True, 5)
    assert [call.text for call in calls] == ["--if-exists del-br b", "--may-exist add-br c"]


def test_by_its_other_name_it_looks_for_open_vswitch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_line(["show"])[0].db == "unix:/var/run/openvswitch/db.sock"
    assert parse_line(["show"], "vswitch vsctl")[0].db == "unix:/run/vswitch/db.sock"
    monkeypatch.setattr("posix.environ", {b"OVS_RUNDIR": b"/x", b"OVS_CTL_TIMEOUT": b"7"})
    for name in ("ovs-vsctl", "vswitch vsctl"):
        options, _ = parse_line(["show"], name)
        assert (options.db, options.timeout_s) == ("unix:/x/db.sock", 7)


def test_commands_are_shown_as_ovs_vsctl_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--commands"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == len(COMMANDS)
    assert "[--may-exist] ,add-port,!BRIDGE !NEW-PORT *COLUMN?:KEY=VALUE\n" in shown
    for name in COMMANDS:
        module, _, function = COMMANDS[name].run.partition(":")
        assert callable(getattr(importlib.import_module(f"vswitch.cli.vsctl.{module}"), function))


def test_json_is_the_same_without_the_parts_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"a": [1, 2.5, None, True], "é\n": ["set", []]}
    text = json.dumps(given)
    monkeypatch.setitem(sys.modules, "_json", None)
    spec = importlib.util.spec_from_file_location("json_again", str(json.__file__))
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.dumps(given) == text
    assert again.scan(text, 0) == (given, len(text)) == json.scan(text, 0)
    assert again.quoted("é\n") == json.quoted("é\n")


# ---- on our server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("vsctl") / "db", "new")
    yield found
    found.close()


@pytest.fixture
def server(shared: Server) -> Server:
    """With an empty database."""
    tables = ["Open_vSwitch", "QoS", "Queue", "Flow_Sample_Collector_Set"]
    shared.call("transact", "Open_vSwitch", *({"op": "delete", "table": table, "where": []} for table in tables))
    assert ours(shared, ["init"]) == (0, "", "")
    return shared


def test_bridges_and_ports_are_configured_and_shown(server: Server) -> None:
    line = (
        "add-br br0 -- add-port br0 p1 tag=5 -- set interface p1 type=patch options:peer=p2 -- set-fail-mode br0 secure"
    )
    assert ours(server, line.split()) == (0, "", "")
    status, out, err = ours(server, ["show"])
    head, *rest = out.splitlines()
    assert (status, len(head), err) == (0, 36, "")
    assert "    Bridge br0" in rest
    assert rest[rest.index("        Port p1") :][:5] == [
        "        Port p1",
        "            tag: 5",
        "            Interface p1",
        "                type: patch",
        "                options: {peer=p2}",
    ]
    assert ours(server, ["--bare", "--columns=name,tag", "find", "port", "tag=5"]) == (0, "p1\n5\n", "")
    assert ours(server, ["get", "mirror", "x", "filter"]) == (1, "", 'ovs-vsctl: no row "x" in table Mirror\n')


def test_nothing_is_done_and_nothing_printed_when_one_command_fails(server: Server) -> None:
    before = content(server)
    assert ours(server, ["add-br", "br0", "--", "list-br", "--", "get", "bridge", "nobody", "name"]) == (
        1,
        "",
        'ovs-vsctl: no row "nobody" in table Bridge\n',
    )
    assert content(server) == before


def test_every_line_of_the_scripts_ends_with_an_answer(server: Server) -> None:
    """None with a traceback; that the answers are right is compared with ovs-vsctl's."""
    for words in lines("vsctl_consumers.txt"):
        assert ours(server, words).status in (0, 1, 2), words


BEFORE = "add-br br0 -- add-bond br0 bond a b -- create qos type=x"
FASTER = [
    # the bond's last interface but one goes between the look at it and the change: then there is a last one
    ("del-bond-iface a", "del-bond-iface b", "cannot delete last interface from port bond"),
    ("add-br br1", "--may-exist add-br br1", ""),
    ("add-br br1", "add-br br1", "cannot create a bridge named br1 because a bridge named br1 already exists"),
    ("--may-exist add-port br0 p", "--may-exist add-port br0 p", ""),
    ("add-br fk br0 9", "add-br fk2 br0 9", "bridge br0 already has a child VLAN bridge fk on VLAN 9"),
    ("del-br br0", "add-port br0 p", "no bridge named br0"),
    ("del-port bond", "add-bond-iface bond c", "no port named bond"),
    ("set-controller br0 tcp:1.1.1.1", "set-controller br0 tcp:2.2.2.2", ""),
    ("add-port br0 x", "add-port br0 y", ""),
    ("--all destroy qos", "-- --id=@q get qos . -- set port bond qos=@q", 'no row "." in table QoS'),
]


@pytest.mark.parametrize(("first", "second", "problem"), FASTER, ids=[second for _, second, _ in FASTER])
def test_commands_run_again_when_somebody_was_faster(
    server: Server, monkeypatch: pytest.MonkeyPatch, first: str, second: str, problem: str
) -> None:
    assert ours(server, BEFORE.split()).status == 0
    commit, runs = Runner._commit, []

    def late(self: Runner, plan: Any) -> None:
        runs.append(plan)
        if len(runs) == 1:
            assert ours(server, first.split()).status == 0
        commit(self, plan)

    monkeypatch.setattr(Runner, "_commit", late)
    status, _, err = ours(server, second.split())
    assert (status, err) == ((1, f"ovs-vsctl: {problem}\n") if problem else (0, ""))
    assert len(ours(server, ["list", "controller"]).out.split("\n\n")) == 1


def test_it_waits_for_the_daemon_and_says_what_is_wrong(server: Server) -> None:
    """A daemon of the test's own: it finds fault with each interface that is called bad."""
    options, _ = parse_line([f"--db={server.place}", "init"])
    seen: list[Any] = []

    def daemon() -> None:
        with connect(options) as client:
            watched = {"Open_vSwitch": {"columns": ["next_cfg"]}, "Interface": {"columns": ["name"]}}
            client.call("monitor", ["Open_vSwitch", "d", watched])
            while not seen:
                client.wait()
                update = client.updates.pop(0)[1]
                if "Open_vSwitch" in update:
                    seen.append(done(client))

    def done(client: Client) -> Any:
        bad = [["name", "==", "bad"]]
        (row,) = client.call("transact", ["Open_vSwitch", {"op": "select", "table": "Open_vSwitch", "where": []}])[0][
            "rows"
        ]
        return client.call(
            "transact",
            [
                "Open_vSwitch",
                {"op": "update", "table": "Interface", "where": [], "row": {"ofport": 1}},
                {"op": "update", "table": "Interface", "where": bad, "row": {"ofport": -1, "error": "no such thing"}},
                {"op": "update", "table": "Open_vSwitch", "where": [], "row": {"cur_cfg": row["next_cfg"]}},
            ],
        )

    thread = threading.Thread(target=daemon)
    thread.start()
    line = ["--timeout=30", "add-br", "br0", "--", "add-port", "br0", "good", "--", "add-port", "br0", "bad"]
    status, out, err = ours(server, line, wait=True)
    thread.join(PATIENCE_S)
    assert (status, out) == (0, "")
    assert err.startswith(
        "ovs-vsctl: Error detected while setting up 'bad': no such thing.  See ovs-vswitchd log for details.\n"
    )
    assert "good" not in err


def test_large_answers_come_in_pieces(server: Server) -> None:
    text = "{" * 1000 + "é" * 100_000
    assert ours(server, ["set", "open", ".", f"external_ids:big={text}"]).status == 0
    assert ours(server, ["get", "open", ".", "external_ids:big"]) == (0, f'"{text}"\n', "")


def test_nobody_at_the_socket_is_an_error(tmp_path: Path) -> None:
    assert program.main([f"--db=unix:{tmp_path}/none", "show"]) == 1


# ---- as a process


def vsctl(server: Server, *words: str, program: tuple[str, ...] = (sys.executable, "-m", "vswitch", "vsctl")) -> Answer:
    command = [*program, f"--db={server.place}", "--no-wait", *words]
    path = {"PYTHONPATH": str(Path(vswitch.__file__).parents[1])}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60 * patience(), env=environment() | path, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def test_the_time_is_limited_by_a_signal(server: Server) -> None:
    status, out, err = vsctl(server, "--timeout=1", "wait-until", "bridge", "nobody")
    assert (status, out) == (-14, "")
    assert err.endswith("|fatal_signal|WARN|terminating with signal 14 (Alarm clock)\n")


def test_large_answers_come_in_pieces_to_who_has_loaded_nothing_else(server: Server) -> None:
    """Pieces that end in a bracket, within a string: that it is not all there shows when it is read."""
    text = "}" * 1_500_000
    for number in range(4):
        assert server.call(
            "transact",
            "Open_vSwitch",
            {
                "op": "mutate",
                "table": "Open_vSwitch",
                "where": [],
                "mutations": [["external_ids", "insert", ["map", [[f"big{number}", text]]]]],
            },
        ) == [{"count": 1}]
    code = "import sys; from vswitch.cli.vsctl.main import main; sys.exit(main(sys.argv[1:]))"
    found = vsctl(server, "get", "open", ".", "external_ids:big3", program=(sys.executable, "-S", "-c", code))
    assert found == (0, f'"{text}"\n', "")


def test_words_that_are_no_text_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["set", "bridge", "b", "datapath_id=\udcff"]) == 1
    assert capsys.readouterr().err == "ovs-vsctl: 'datapath_id=\\udcff': invalid UTF-8 sequence\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">/dev/full"])
def test_outputs_that_are_closed_or_full_are_no_traceback(server: Server, closed: str) -> None:
    start = "import sys; from vswitch.cli.vsctl.main import start; start('ovs-vsctl', sys.argv[1:])"
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-S", "-c", start)
    status, out, err = vsctl(server, "show", program=shell)
    assert "Traceback" not in err
    if closed in (">&-", ">/dev/full"):
        assert (status, out) == (1, "")
        assert err.startswith("ovs-vsctl: output: ")
    else:
        assert status == 0
        assert len(out) == 37


def test_it_loads_nothing_that_loads_slowly(server: Server) -> None:
    code = (
        "import sys; from vswitch.cli.vsctl.main import main; "
        "status = main(sys.argv[1:]); "
        "slow = {'re', 'typing', 'dataclasses', 'enum', 'json', 'socket', 'argparse', 'importlib', 'collections'}; "
        "print(sorted(slow & set(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    status, _, err = vsctl(server, "show", program=(sys.executable, "-S", "-c", code))
    assert (status, err) == (0, "[]\n")


@pytest.mark.parametrize(("name", "first"), [("vswitch", ("vsctl",)), ("ovs-vsctl", ())])
def test_the_launcher_finds_the_package_beside_it(
    server: Server, tmp_path: Path, name: str, first: tuple[str, ...]
) -> None:
    source = Path(vswitch.__file__).parents[1]
    packages = tmp_path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "_editable_impl_vswitch.pth").write_text(f"{source}\n")
    (tmp_path / "bin").mkdir()
    launcher = tmp_path / "bin" / "vswitch"
    shutil.copy(source / "vswitch" / "cli" / "launcher", launcher)
    launcher.chmod(0o755)
    (tmp_path / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / name
    link.symlink_to(launcher)
    assert vsctl(server, "list-br", program=(str(link), *first)) == (0, "", "")
    said = "ovs-vsctl" if name == "ovs-vsctl" else "vswitch vsctl"
    assert vsctl(server, "frob", program=(str(link), *first)) == (
        1,
        "",
        f"{said}: unknown command 'frob'; use --help for help\n",
    )


# ---- over the network


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_servers_elsewhere_are_asked_by_tcp_and_tls_and_may_come_themselves(tmp_path: Path) -> None:
    tls = make_certificates(tmp_path)
    ports = [free_port(), free_port()]
    keys = ["-p", tls["switch"].private_key, "-c", tls["switch"].certificate, "-C", tls["switch"].ca_certificate]
    remotes = [
        f"--remote=ptcp:{ports[0]}:127.0.0.1",
        f"--remote=pssl:{ports[1]}:127.0.0.1",
        f"--remote=unix:{tmp_path}/p",
    ]
    server = Server(tmp_path / "db", "new", keys, remotes)
    own = ["-p", tls["controller"].private_key, "-c", tls["controller"].certificate]
    authority = tls["controller"].ca_certificate
    try:
        for place, more in (
            (f"tcp:127.0.0.1:{ports[0]}", []),
            (f"unix:{tmp_path}/none,tcp:127.0.0.1:{ports[0]}", []),
            (f"ssl:127.0.0.1:{ports[1]}", [*own, "-C", authority]),
            (f"ssl:127.0.0.1:{ports[1]}", [*own, f"--bootstrap-ca-cert={authority}"]),
            (f"ssl:127.0.0.1:{ports[1]}", [*own, "-C", "none"]),
            (f"punix:{tmp_path}/p", []),
        ):
            line = [f"--db={place}", "--no-syslog", "--no-wait", "--timeout=30", *more, "--may-exist", "add-br", "br0"]
            assert program.main(line) == 0, place
        stranger = [
            "-p",
            tls["stranger"].private_key,
            "-c",
            tls["stranger"].certificate,
            "-C",
            str(tmp_path / "theirs.pem"),
        ]
        for wrong in ([], [*own, "--bootstrap-ca-cert=/nowhere"], stranger):
            assert program.main([f"--db=ssl:127.0.0.1:{ports[1]}", *wrong, "list-br"]) == 1
        assert ours(server, ["list-br"]) == (0, "br0\n", "")
    finally:
        server.close()
