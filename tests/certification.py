"""The switch certification tests of os-ken, run against a switch: ours, or Debian's Open vSwitch.

    controller (os-ken's tester) --- target, the switch that is tested
               |                      1 | | 2 | 3
               +----- tester switch:  1 | | 2 | 3      Debian's Open vSwitch, with the userspace datapath, or ours

All of it lives in the namespace of a lab. `python -m tests.certification ours of13/group of13/match` prints what passes
(`ovs` instead of `ours`: what Debian's does); `python -m tests.certification --tester ...` is the controller.

Invariant: a test is the tester's own, unchanged, and so is its judgement. Ours are: where its results go; a second
chance for what does not come in time (ATTEMPTS); and that its sender keeps up. It counts its turns and not the time,
and on a busy machine sent too little for any switch: here it catches up when it was held up (CATCH_UP_S). With a
packet-out for each packet it cannot send what the largest meters want to see: here one is for several (COPIES).
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from tests.datapaths import remove_all
from tests.lab import Lab, patience, wait_until
from tests.running import Running

__all__ = ["HAS_TESTS", "Verdict", "certify", "certify_some", "files", "folders"]

ROOT = Path(__file__).parents[1]
TARGET_ID, TESTER_ID = 1, 2
PORT = 6653
PORTS = (1, 2, 3)
ATTEMPTS = 3
"""For what does not come in time: Open vSwitch, as the tester, may still drop by the megaflow of the test before; and
on a busy machine three seconds are soon over."""

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
TESTER_SPEAKS = "OpenFlow13"
_VERSIONS = {"of10": "OpenFlow10", "of13": "OpenFlow13", "of14": "OpenFlow14"}
CATCH_UP_S = 0.5
"""No more than was to be sent in that time."""
COPIES, COPIES_FROM_PPS = 25, 1000
"""So many outputs has one packet-out, where more packets of the same bytes are to be sent in a second."""


def _tests() -> Path:
    found = importlib.util.find_spec("os_ken.tests.switch") if importlib.util.find_spec("os_ken") else None
    return Path(found.origin).parent if found and found.origin else Path("/nonexistent")


def _version(name: str) -> str:
    return _VERSIONS[name.partition("/")[0]]


HAS_TESTS = (_tests() / "of13").is_dir()


def folders(version: str) -> list[str]:
    """The folders of tests of a version (of10, of13, of14)."""
    return sorted(f"{version}/{each.name}" for each in (_tests() / version).glob("*/"))


def files(folder: str) -> list[str]:
    """The files of tests in a folder."""
    return sorted(f"{folder}/{each.name}" for each in (_tests() / folder).glob("*.json"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one test: `result` is OK, or what went wrong."""

    folder: str
    file: str
    test: str
    result: str

    @property
    def passed(self) -> bool:
        return self.result == "OK"


# The switches


class OpenVswitch:
    """Debian's, with the userspace datapath: database, daemon and sockets in a folder, and bridges of some names."""

    def __init__(self, folder: Path, bridges: Mapping[str, tuple[int, str]]) -> None:
        self.folder = folder
        self.environment = {
            **os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C",
            **{f"OVS_{kind}DIR": str(self.folder) for kind in ("RUN", "LOG", "DB", "SYSCONF")},
        }  # fmt: skip
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self._start(bridges)
        except BaseException:
            self.close()
            raise

    def _start(self, bridges: Mapping[str, tuple[int, str]]) -> None:
        self._run("ovsdb-tool", "create", str(self.folder / "conf.db"), SCHEMA)
        self._spawn("ovsdb-server", str(self.folder / "conf.db"), f"--remote=punix:{self.folder}/db.sock")
        wait_until((self.folder / "db.sock").exists, "ovsdb-server", 20)
        self.vsctl("--no-wait", "init")
        self._spawn("ovs-vswitchd", f"unix:{self.folder}/db.sock", "--disable-system")
        for name, (datapath_id, version) in bridges.items():
            words = ["add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", "fail_mode=secure",
                     f"protocols={version}", f"other-config:datapath-id={datapath_id:016x}",
                     "other-config:disable-in-band=true"]  # fmt: skip
            for number in PORTS:
                port = f"{name}{number}"
                words += ["--", "add-port", name, port, "--", "set", "interface", port, f"ofport_request={number}"]
            words += ["--", "set-controller", name, f"tcp:127.0.0.1:{PORT}"]
            self.vsctl(*words, "--", "set", "controller", name, "max_backoff=1000")

    def _spawn(self, program: str, *arguments: str) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", "--", program, *arguments, "-vconsole:off", "--no-chdir",
                   f"--log-file={self.folder / program}.log"]  # fmt: skip
        self.processes.append(
            subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        )  # fmt: skip

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=60 * patience())  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def vsctl(self, *arguments: str) -> str:
        return self._run("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", "--timeout=30", *arguments)

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


def _cables() -> None:
    with IPRoute() as route:
        for number in PORTS:
            route.link("add", ifname=f"target{number}", kind="veth", peer={"ifname": f"tester{number}"})
            for name in (f"target{number}", f"tester{number}"):
                route.link("set", index=route.link_lookup(ifname=name)[0], state="up")


@contextmanager
def _network(version: str, target: str, tester: str) -> Iterator[None]:
    """Target, of that version, and tester switch, each `ours` or `ovs`, connected, in the namespace of a lab, which the
    thread is in."""
    switches = {"target": (target, TARGET_ID, version), "tester": (tester, TESTER_ID, TESTER_SPEAKS)}
    with Lab() as lab, ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vs-cert-")))
        _cables()
        stack.callback(remove_all, lab.name)
        for role, (kind, number, speaks) in switches.items():
            if kind == "ours":
                words = ["--datapath-id", f"{number:016x}", "--no-local", "--fail-mode", "secure", "--max-backoff", "1",
                         "--protocols", speaks, "--controller", f"tcp:127.0.0.1:{PORT}"]  # fmt: skip
                words += [word for port in PORTS for word in ("--port", f"{role}{port}")]
                stack.enter_context(Running(f"{lab.name}{role[-1]}", folder, *words))
        # One daemon for both of its bridges: two would quarrel about the name of a device.
        bridges = {role: (number, speaks) for role, (kind, number, speaks) in switches.items() if kind != "ours"}
        if bridges:
            stack.callback(OpenVswitch(folder, bridges).close)
        yield


def certify(kind: str, chosen: Sequence[str], wait_s: float = 3.0) -> Iterator[Verdict]:
    """Runs the tests in folders or files (such as of13/action) against `kind` (ours or ovs).

    `wait_s`: how long the tester waits for a packet that does not come.
    """
    for name in chosen:
        with _network(_version(name), kind, "ovs"):
            yield from _controller(name, _tests() / name, wait_s)


def certify_some(chosen: Sequence[str], wait_s: float = 3.0) -> Iterator[Verdict]:
    """Runs the tests in files of one version against ours; ours is the tester switch, too, not Open vSwitch."""
    with tempfile.TemporaryDirectory(prefix="vs-cert-") as folder, _network(_version(chosen[0]), "ours", "ours"):
        for number, name in enumerate(chosen):
            (Path(folder) / f"{number:02}.json").symlink_to(_tests() / name)
        yield from _controller(chosen[0], Path(folder), wait_s)


def _controller(name: str, tests: Path, wait_s: float) -> Iterator[Verdict]:
    environment = {
        **os.environ,
        "OSKEN_HUB_TYPE": "eventlet",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.certification",
        "--tester",
        _version(name),
        str(tests),
        str(wait_s),
    ]
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        env=environment,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            for line in process.stdout:
                if line.startswith("{"):
                    yield Verdict(folder=name, **json.loads(line))
        finally:
            process.kill()


# The controller, in a process of its own


def _tester(version: str, tests: str, wait_s: float) -> None:
    from os_ken.lib import hub

    hub.patch(thread=False)
    import importlib

    from os_ken import cfg, flags, log  # noqa: F401 - they have the options
    from os_ken.base.app_manager import AppManager
    from os_ken.controller import controller  # noqa: F401 - it has the options

    tester = importlib.import_module("os_ken.tests.switch.tester")
    options = {"ofp-listen-host": "127.0.0.1", "ofp-tcp-listen-port": PORT}
    options |= {"test-switch-target-version": version, "test-switch-tester-version": TESTER_SPEAKS}
    options |= {"test-switch-dir": tests, "test-switch-interval": 0}
    cfg.CONF([f"--{option}={value}" for option, value in options.items()], project="os_ken")
    tester.WAIT_TIMER = wait_s  # type: ignore[attr-defined]
    problems: list[str] = []
    check, execute = tester.OfTester._test, tester.OfTester._test_execute

    def checked(self: object, state: int, *arguments: object) -> object:
        try:
            return check(self, state, *arguments)
        except Exception as problem:
            problems.append(str(problem))
            raise

    def executed(self: object, test: object, description: str) -> object:
        for _ in range(ATTEMPTS):
            problems.clear()
            self.tester_sw.copies = 1  # type: ignore[attr-defined]
            result = execute(self, test, description)
            if "timeout" not in (problems or [""])[-1]:
                break
        names = {"file": executed.file, "test": test.description}  # type: ignore[attr-defined]
        print(json.dumps({**names, "result": "OK" if result == "OK" else (problems or [result])[-1]}), flush=True)
        return result

    def of_file(self: object, file: object) -> object:
        executed.file = file.description  # type: ignore[attr-defined]
        return execute_file(self, file)

    send = tester.OfTester._send_packet_thread

    def sent(self: object, turn: dict[str, float]) -> None:
        now = time.monotonic()
        if "rate" not in turn:
            rate = turn["packet_counter_inc"] / tester.CONTINUOUS_THREAD_INTVL
            copies = COPIES if rate > COPIES_FROM_PPS and not turn["randomize"] else 1
            self.tester_sw.copies = copies  # type: ignore[attr-defined]
            turn |= {"rate": rate / copies, "since": now - tester.CONTINUOUS_THREAD_INTVL}
        turn["packet_counter_inc"], turn["since"] = turn["rate"] * min(now - turn["since"], CATCH_UP_S), now
        send(self, turn)

    def packet_out(self: Any, data: bytes) -> object:
        protocol, parser = self.dp.ofproto, self.dp.ofproto_parser
        outputs = [parser.OFPActionOutput(self.tester_send_port)] * self.copies
        message = parser.OFPPacketOut(self.dp, protocol.OFP_NO_BUFFER, protocol.OFPP_CONTROLLER, outputs, data)
        return self.send_msg(message)

    tester.OfTester._send_packet_thread = sent
    tester.OpenFlowSw.send_packet_out = packet_out
    execute_file = tester.OfTester._test_file_execute
    tester.OfTester._test, tester.OfTester._test_execute = checked, executed
    tester.OfTester._test_file_execute = of_file
    if os.environ.get("CERTIFICATION_LOG"):
        logging.basicConfig(level=logging.DEBUG)
    manager = AppManager.get_instance()
    manager.load_apps(["os_ken.tests.switch.tester", "os_ken.controller.ofp_handler"])
    hub.joinall(manager.instantiate_apps(**manager.create_contexts()))


def main() -> None:
    if sys.argv[1] == "--tester":
        _tester(sys.argv[2], sys.argv[3], float(sys.argv[4]))
        return
    passed, all_of = Counter[str](), Counter[str]()
    for verdict in certify(sys.argv[1], sys.argv[2:], float(os.environ.get("CERTIFICATION_WAIT_S", "3"))):
        all_of[verdict.folder] += 1
        passed[verdict.folder] += verdict.passed
        print(f"{'ok  ' if verdict.passed else 'FAIL'} {verdict.file} | {verdict.test} | {verdict.result}", flush=True)
    for folder, count in all_of.items():
        print(f"{folder}: {passed[folder]} of {count}")


if __name__ == "__main__":
    main()
