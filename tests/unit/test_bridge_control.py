"""The control socket of a bridge at work: order, formats, bounds, and clients that do not behave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.bridges import Served, serving
from tests.lab import patience, wait_until
from tests.membership_frames import igmp, mld
from vswitch import Bridge, BridgeOptions, ConfigError, McastSnooping
from vswitch.bridge import control
from vswitch.bridge.pidfile import pid_file
from vswitch.cli.appctl import main, running
from vswitch.cli.main import main as vswitch
from vswitch.control.jsonrpc import MAX_MESSAGE_BYTES, Splitter, request


class Client:
    """Who asks; blocking."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20 * patience())
        self.socket.connect(str(path))
        self._splitter = Splitter(1 << 28)
        self._answers: list[Any] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, command: str, *words: str, number: int = 0) -> None:
        self.socket.sendall(request(command, words, number))

    def answer(self) -> Any:
        """The next one; None if the connection ends."""
        while not self._answers:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._answers += self._splitter.receive(data)
        return self._answers.pop(0)

    def call(self, command: str, *words: str) -> Any:
        self.ask(command, *words)
        return self.answer()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "br0.ctl"


@pytest.fixture
def served(path: Path) -> Iterator[Served]:
    with (
        Bridge.simulate(3, fail_mode="secure", name="br0", control=f"punix:{path}") as bridge,
        serving(bridge) as served,
    ):
        yield served
    assert not path.exists()


def test_requests_are_answered_in_order(served: Served, path: Path) -> None:
    with Client(path) as client:
        client.socket.sendall(b"".join(request("ofproto/list", (), number) for number in range(50)))
        assert [client.answer()["id"] for _ in range(50)] == list(range(50))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_refusal_is_an_error_and_the_connection_goes_on(served: Served, path: Path) -> None:
    with Client(path) as client:
        assert client.call("fdb/show", "br1") == {"id": 0, "result": None, "error": "no such bridge\n"}
        assert client.call("nope")["error"].startswith('"nope" is not a valid command')
        assert client.call("ofproto/list") == {"id": 0, "result": "br0\n", "error": None}


def test_json_is_asked_for_by_each_connection(served: Served, path: Path) -> None:
    with Client(path) as one, Client(path) as other:
        assert one.call("set-options", "--format", "json")["result"] == {"reply-format": "plain", "reply": ""}
        assert one.call("ofproto/list")["result"] == ["br0"]
        assert one.call("dpif/show")["result"]["reply-format"] == "plain"
        assert one.call("ofproto/trace", "br0", "in_port=1")["result"]["datapath_actions"] == "drop"
        assert one.call("nope")["error"].startswith('"nope"')
        assert other.call("ofproto/list")["result"] == "br0\n"
        assert one.call("set-options", "--format", "text")["result"] == ""
        assert one.call("ofproto/list")["result"] == "br0\n"
        assert one.call("set-options", "--format", "xml")["error"] == "option format has invalid value xml\n"
        assert "takes --format" in one.call("set-options")["error"]


@pytest.mark.parametrize(
    "data", [b"garbage", b'{"id": 0}', b"[" * 20, b'{"id": 0, "method": "version", "params": "x"}', b"{" * 20]
)
def test_who_sends_no_requests_is_disconnected(served: Served, path: Path, data: bytes) -> None:
    with Client(path) as client:
        client.socket.sendall(data)
        assert client.answer() is None
    with Client(path) as client:
        assert client.call("coverage/read-counter", "control_refused")["result"] == "1\n"


def test_a_request_without_end_is_cut_off(served: Served, path: Path) -> None:
    with Client(path) as client:
        with contextlib.suppress(ConnectionError):
            client.socket.sendall(b'{"' + bytes(10 * MAX_MESSAGE_BYTES))
        assert client.answer() is None


def test_a_client_that_does_not_read_keeps_nobody_waiting(served: Served, path: Path) -> None:
    flows = [f"reg0={number},actions=output:1" for number in range(5000)]
    served.call(lambda bridge: bridge.add_flows(flows))
    with Client(path) as stuck, Client(path) as client:
        for _ in range(control.MAX_WAITING // 2):  # some 10 MB, of which it takes nothing
            stuck.ask("bridge/dump-flows", "br0")
        assert client.call("ofproto/list")["result"] == "br0\n"
        text = client.call("bridge/dump-flows", "br0")["result"]
        assert text.count("\n") == 5000
        assert stuck.answer()["result"].count("\n") == 5000  # what it gets, when it takes it, is whole
        for _ in range(control.MAX_WAITING + 1):
            stuck.ask("bridge/dump-flows", "br0")
        while stuck.answer() is not None:
            pass
        assert client.call("coverage/read-counter", "control_refused")["result"] == "1\n"


def test_a_client_more_takes_the_place_of_the_one_that_was_silent_for_longest(served: Served, path: Path) -> None:
    clients = [Client(path) for _ in range(control.MAX_CLIENTS)]
    try:
        for client in clients:
            assert client.call("ofproto/list")["result"] == "br0\n"
        assert clients[0].call("ofproto/list")["result"] == "br0\n"
        with Client(path) as late:
            assert late.call("ofproto/list")["result"] == "br0\n"
            assert clients[1].answer() is None
            assert clients[0].call("coverage/read-counter", "control_displaced")["result"] == "1\n"
    finally:
        for client in clients:
            client.socket.close()


def test_exit_ends_the_switch(path: Path) -> None:
    with Bridge.simulate(3, name="br0", control=f"punix:{path}") as bridge, serving(bridge) as served:
        with Client(path) as client:
            assert client.call("exit", "--now")["error"] == "--now: unknown option\n"
            assert client.call("exit") == {"id": 0, "result": "", "error": None}
            assert client.answer() is None
        wait_until(lambda: not served._thread.is_alive(), "the bridge ends", 20)
        assert not path.exists()


def test_a_failure_of_ours_is_told_and_the_switch_goes_on(
    served: Served, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.bridge.datapath, "stats", lambda: 1 // 0)
    with Client(path) as client:
        assert client.call("dpif/show")["error"].startswith("dpif/show failed: ZeroDivisionError")
        assert client.call("ofproto/list")["result"] == "br0\n"


def test_it_is_of_this_machine_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"control 'ptcp:6640' is no punix:FILE"):
        BridgeOptions(control="ptcp:6640")
    (tmp_path / "file").touch()
    options = BridgeOptions(control=f"punix:{tmp_path}/file")
    with Bridge.simulate(3, options=options) as bridge, pytest.raises(ConfigError, match="is no socket"):
        asyncio.run(bridge.serve())


# ---- addresses


def call(bridge: Bridge, command: str, *words: str) -> str:
    text = bridge._commands.commands.call(command, words).text
    return text if isinstance(text, str) else "".join(text)


def test_addresses_are_shown_put_there_and_taken_away() -> None:
    frame = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(46)
    back = bytes.fromhex("020000000007 020000000001 88b5") + bytes(46)
    with Bridge.simulate(3, name="br0") as bridge:
        bridge.receive(frame, 2)
        bridge.advance(seconds=3)
        assert [sent.port for sent in bridge.receive(back, 2)] == [1, 3]
        call(bridge, "fdb/add", "br0", "port3", "0", "02:00:00:00:00:07")
        bridge.advance(seconds=1)
        assert call(bridge, "fdb/show", "br0") == (
            " port  VLAN  MAC                Age\n"
            "    2     0  02:00:00:00:00:01    1\n"
            "    3     0  02:00:00:00:00:07  static\n"
        )
        assert [sent.port for sent in bridge.receive(back, 2)] == [3]  # the megaflow of before is gone
        shown = call(bridge, "fdb/stats-show", "br0").splitlines()
        assert [line.rpartition(" ")[2] for line in shown[1:]] == ["2/8192", "1", "1", "0", "0", "0"]
        call(bridge, "fdb/del", "br0", "0", "02:00:00:00:00:07")
        assert call(bridge, "fdb/flush") == "table successfully flushed\n"
        assert call(bridge, "fdb/show", "br0").count("\n") == 1
        assert [sent.port for sent in bridge.receive(back, 2)] == [1, 3]
        assert call(bridge, "fdb/stats-clear") == "statistics successfully cleared\n"


def test_what_a_change_meant_for_megaflows_is_told() -> None:
    frames = [bytes.fromhex(f"0200000000{number:02x} 020000000001 88b5") + bytes(46) for number in range(20)]
    with Bridge.simulate(3, name="br0", fail_mode="secure") as bridge:
        bridge.add_flow("priority=1,actions=output:2")
        bridge.add_flow("priority=2,dl_dst=02:00:00:00:00:03,actions=output:3")
        for frame in frames:
            bridge.receive(frame, 1)
        bridge.add_flow("priority=3,dl_dst=02:00:00:00:00:05,actions=output:3")
        answer = bridge._commands.commands.call("upcall/show", ())
        assert answer.value is not None
        last = answer.value()["last_change"]
        assert last == {"affected": 1, "looked_at": 1, "withdrawn": 1}
        assert "  last change   : (affected 1) (looked at 1) (withdrawn 1)\n" in str(answer.text)
        assert answer.value()["flows"]["current"] == bridge.stats()["megaflows"]
        call(bridge, "revalidator/purge")
        assert bridge.stats()["megaflows"] == 0
        assert call(bridge, "dpctl/dump-flows") == ""


def test_the_datapath_is_shown() -> None:
    with Bridge.simulate(2, name="br0") as bridge:
        bridge.receive(bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(46), 1)
        assert call(bridge, "dpctl/dump-dps") == call(bridge, "dpif/dump-dps") == "vswitch@br0\n"
        assert call(bridge, "dpctl/show", "-s", "vswitch@br0") == (
            "vswitch@br0:\n  lookups: hit:1 missed:1 lost:0\n  flows: 1\n  masks: hit:1 total:1\n"
            "  port 1: port1\n    RX packets:1 errors:0 dropped:0\n    TX packets:0 errors:0 dropped:0\n"
            "    RX bytes:60  TX bytes:0\n"
            "  port 2: port2\n    RX packets:0 errors:0 dropped:0\n    TX packets:1 errors:0 dropped:0\n"
            "    RX bytes:0  TX bytes:60\n"
        )
        assert "\nMax VLAN headers: 2\n" in call(bridge, "dpif/show-dp-features", "br0")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("dpctl/show br1", "no such bridge"),
        ("fdb/show br1", "no such bridge"),
        ("fdb/add br0 port9 0 02:00:00:00:00:07", "port9: no such port"),
        ("fdb/add br0 9 0 02:00:00:00:00:07", "9: no such port"),
        ("fdb/add br0 1 4096 02:00:00:00:00:07", "VLAN 4096 is outside 0..4095"),
        ("fdb/add br0 1 0 zz", "bad MAC address"),
        ("fdb/add br0 1 0 03:00:00:00:00:07", "03:00:00:00:00:07 is the address of a group"),
        ("fdb/del br0 0 02:00:00:00:00:07", "could not find static mac entry"),
        ("bridge/dump-flows br1", "Unknown bridge"),
        ("bridge/reconnect br1", "Unknown bridge"),
        ("dpctl/dump-flows br1", "no such bridge"),
        ("coverage/read-counter nope", "No such counter"),
    ],
)
def test_commands_refuse_what_is_not_there(words: str, text: str) -> None:
    with Bridge.simulate(3, name="br0") as bridge, pytest.raises(Exception, match=text):
        call(bridge, *words.split())


# ---- vswitch appctl


def test_the_command_finds_the_bridge_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VSWITCH_RUNDIR", str(tmp_path))
    assert vswitch(["appctl", "version"]) == 1
    assert f"no bridge is at work in {tmp_path}" in capsys.readouterr().err
    with ExitStack() as stack:
        path = stack.enter_context(pid_file(tmp_path, "br0"))
        bridge = stack.enter_context(Bridge.simulate(3, name="br0", control=f"punix:{path}"))
        with serving(bridge):
            assert main(["ofproto/trace", "br0", "in_port=1", "-generate"]) == 0
            assert capsys.readouterr().out.startswith("Flow: in_port=1,")
            assert main(["-t", "br0", "-f", "json", "ofproto/list"]) == 0
            assert json.loads(capsys.readouterr().out) == ["br0"]
            assert main(["-t", str(path), "-f", "json", "--pretty", "fdb/stats-show", "br0"]) == 0
            assert '\n  "maximum": 8192,\n' in capsys.readouterr().out
            assert main(["-T", "20", "revalidator/wait"]) == 0
            assert capsys.readouterr().out == ""
            assert vswitch(["appctl", "fdb/show", "br1"]) == 1
            assert capsys.readouterr().err == "vswitch: no such bridge\n"
            assert vswitch(["appctl", "-t", "br1", "version"]) == 1
            assert "br1: there is no process of this name" in capsys.readouterr().err
            with pid_file(tmp_path, "br1") as other:
                other.touch()
                assert vswitch(["appctl", "version"]) == 1
                assert "several bridges are at work (br0, br1)" in capsys.readouterr().err
                assert main(["fdb/show", "br0"]) == 0
                capsys.readouterr()
                assert vswitch(["appctl", "fdb/show", "br1"]) == 1
                assert "br1" in capsys.readouterr().err
    assert not running()


HOLD = """
import sys
from pathlib import Path
from vswitch.bridge.pidfile import pid_file
print(Path(sys.argv[1], "br0.pid").read_text(), end="", flush=True)
with pid_file(Path(sys.argv[1]), "br0"):
    pass
"""
"""In a process of its own: the lock is the process's, and goes when that closes the file, for whatever reason."""


def test_a_pid_file_is_held_by_one_and_clears_up_behind_those_that_were_killed(tmp_path: Path) -> None:
    for name in ("br0.4194305.ctl", "br0.x.ctl", "br01.7.ctl", "br0.7.pid"):
        (tmp_path / name).touch()
    with pid_file(tmp_path, "br0") as path:
        assert path == tmp_path / f"br0.{os.getpid()}.ctl"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["br0.7.pid", "br0.pid", "br0.x.ctl", "br01.7.ctl"]
        done = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stdout == f"{os.getpid()}\n"
        assert done.stderr.endswith("br0.pid is held by another process: br0 is at work already\n")
    assert not (tmp_path / "br0.pid").exists()


def test_groups_are_shown_and_forgotten() -> None:
    with Bridge.simulate(3, name="br0", mcast_snooping=McastSnooping()) as bridge:
        bridge.receive(igmp(0x16), 1)
        bridge.receive(mld(131, 0xFF05 << 112 | 0x1234), 3)
        bridge.receive(igmp(0x11, 0xE0000001), 2)
        bridge.advance(seconds=1)
        assert call(bridge, "mdb/show", "br0") == (
            " port  VLAN  GROUP                Age\n"
            "    1     0  239.1.2.3           1\n"
            "    3     0  ff05::1234           1\n"
            "    2     0  querier               1\n"
        )
        assert call(bridge, "mdb/flush") == "table successfully flushed\n"
        assert call(bridge, "mdb/show", "br0").count("\n") == 1
