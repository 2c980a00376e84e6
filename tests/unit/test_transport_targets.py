"""Where controllers are, as text."""

from __future__ import annotations

import re

import pytest

from vswitch import ConfigError
from vswitch.transport.targets import Target, Tls, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("tcp:127.0.0.1:6633", Target("tcp:127.0.0.1:6633", "tcp", False, "127.0.0.1", 6633)),
        ("tcp:controller", Target("tcp:controller", "tcp", False, "controller", 6653)),
        ("tcp:[::1]:6633", Target("tcp:[::1]:6633", "tcp", False, "::1", 6633)),
        ("tcp:[fe80::1%eth0]", Target("tcp:[fe80::1%eth0]", "tcp", False, "fe80::1%eth0", 6653)),
        ("ssl:10.0.0.1", Target("ssl:10.0.0.1", "ssl", False, "10.0.0.1", 6653)),
        ("unix:/run/c.sock", Target("unix:/run/c.sock", "unix", False, path="/run/c.sock")),
        ("ptcp:", Target("ptcp:", "tcp", True, "", 6653)),
        ("ptcp:6654", Target("ptcp:6654", "tcp", True, "", 6654)),
        ("ptcp:0:127.0.0.1", Target("ptcp:0:127.0.0.1", "tcp", True, "127.0.0.1", 0)),
        ("pssl:6654:[::1]", Target("pssl:6654:[::1]", "ssl", True, "::1", 6654)),
        ("punix:/run/x.mgmt", Target("punix:/run/x.mgmt", "unix", True, path="/run/x.mgmt")),
    ],
)
def test_read(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert parse_target(text, passive=target.passive) == target


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "begins with none of"),
        ("tcp", "begins with none of"),
        ("udp:1.2.3.4", "begins with none of"),
        ("tcp:", "not of the form tcp:HOST"),
        ("tcp:a:b", "not of the form tcp:HOST"),
        ("tcp:1.2.3.4:0", "port 0 is outside"),
        ("tcp:1.2.3.4:65536", "port 65536 is outside"),
        ("ptcp:99999", "port 99999 is outside"),
        ("ptcp:x", "not of the form ptcp:"),
        ("tcp:[::zz]:1", "no IPv6 address"),
        ("tcp:[1:2:3]", "no IPv6 address"),
        ("unix:", "a path of 0 bytes"),
        ("punix:" + "x" * 108, "a path of 108 bytes"),
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        parse_target(text)


def test_which_of_both_it_has_to_be() -> None:
    with pytest.raises(ConfigError, match="none that can be connected to"):
        parse_target("ptcp:1", passive=False)
    with pytest.raises(ConfigError, match="none that can be listened at"):
        parse_target("tcp:1.2.3.4:1", passive=True)


def test_files_that_are_not_there_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no file '/nowhere/key\.pem'"):
        Tls("/nowhere/key.pem", "/nowhere/cert.pem", "/nowhere/ca.pem").context(server=False)
