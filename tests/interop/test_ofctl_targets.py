"""How `vswitch ofctl` gets at a switch: over TCP and TLS, and beside its controller."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.test_ofctl import plain
from tests.lab import wait_until
from tests.ofctl_peer import BRIDGE, OpenVswitch
from vswitch.messages.control import EchoRequest, Hello
from vswitch.openflow.codec import encode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def controllers(ovs: OpenVswitch) -> Iterator[OpenVswitch]:
    yield ovs
    ovs.vsctl("del-controller", BRIDGE)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_switch_is_reached_over_tcp(controllers: OpenVswitch) -> None:
    port = free_port()
    controllers.vsctl("set-controller", BRIDGE, f"ptcp:{port}:127.0.0.1")
    wait_until(lambda: listens(port), "the switch's port", 20)
    target = f"tcp:127.0.0.1:{port}"
    assert controllers.ofctl("add-flow", target, "in_port=1,actions=2") == (0, "", "")
    theirs, ours = (each("dump-flows", target) for each in (controllers.ovs_ofctl, controllers.ofctl))
    assert plain(ours.out) == plain(theirs.out) != ""
    done = controllers.ofctl("-O", "OpenFlow13", "show", f"tcp:127.0.0.1:{free_port()}")
    assert (done.status, "cannot connect (Connection refused)" in done.err) == (1, True)


def certificates(folder: Path) -> dict[str, tuple[str, str]]:
    """(key, certificate) of an authority, and of those that it has signed."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("switch", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj",
                f"/CN={name}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.pem")  # fmt: skip
    return {name: (str(folder / f"{name}.key"), str(folder / f"{name}.pem")) for name in ("ca", "switch", "client")}


def test_a_switch_is_reached_over_tls_if_its_certificate_is_good(controllers: OpenVswitch, tmp_path: Path) -> None:
    files, port = certificates(tmp_path), free_port()
    authority = files["ca"][1]
    controllers.vsctl("set-ssl", *files["switch"], authority)
    controllers.vsctl("set-controller", BRIDGE, f"pssl:{port}:127.0.0.1")
    wait_until(lambda: listens(port), "the switch's port", 20)
    key, certificate = files["client"]
    own = ["--private-key", key, "--certificate", certificate, "--ca-cert"]
    assert controllers.ofctl(*own, authority, "probe", f"ssl:127.0.0.1:{port}") == (0, "", "")
    done = controllers.ofctl(*own, certificate, "probe", f"ssl:127.0.0.1:{port}")
    assert (done.status, "certificate verify failed" in done.err) == (1, True)
    controllers.vsctl("del-ssl")


def test_what_the_controller_says_can_be_listened_to(controllers: OpenVswitch, tmp_path: Path) -> None:
    said, listener = tmp_path / "said", socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def control() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(encode(Hello(frozenset({4})), 4, 1))
            while not ended.wait(0.2):
                connection.sendall(encode(EchoRequest(b"are you there"), 4, 5))

    thread = threading.Thread(target=control)
    thread.start()
    controllers.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{listener.getsockname()[1]}")
    try:
        wait_until(lambda: "true" in controllers.vsctl("get", "controller", BRIDGE, "is_connected"), "connection", 20)
        with said.open("wb") as output:
            command = [sys.executable, "-m", "vswitch", "ofctl", "snoop", BRIDGE]
            process = subprocess.Popen(command, env=controllers.environment, stderr=output, stdin=subprocess.DEVNULL)
        wait_until(lambda: "OFPT_ECHO_REPLY (OF1.3) (xid=0x5)" in said.read_text(), "an answer to the controller", 20)
        process.terminate()
        process.wait(20)
    finally:
        ended.set()
        controllers.vsctl("del-controller", BRIDGE)
        thread.join(20)
        listener.close()
