"""The programs in docs/programming.md work as they are written there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab import Host
from tests.reactive import running
from vswitch import Datapath, Policy

TEXT = (Path(__file__).parents[2] / "docs" / "programming.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
REACHES = {"web_goes_to_three": False, "learning_switch": True, "firewall": False, "until_closing": False}
"""Whether hosts 1 and 2 can ping each other."""


def test_every_program_is_tried() -> None:
    functions = [re.findall(r"def (\w+)", program) for program in PROGRAMS]
    assert functions == [*([name] for name in REACHES), ["policy", "frame"]]


def test_the_program_without_a_network_works() -> None:
    exec(PROGRAMS[-1], {})


@pytest.mark.parametrize("name_of_policy", REACHES)
def test_program_works(name_of_policy: str, name: str, hosts: tuple[Host, Host, Host]) -> None:
    names: dict[str, Policy] = {}
    exec(PROGRAMS[list(REACHES).index(name_of_policy)], names)
    with Datapath.create(name, ports=[host.port for host in hosts], local=False) as dp:
        dp.policy(names[name_of_policy])
        with running(dp):
            ping = hosts[0].ping(hosts[1].ip, count=3, interval_s=0.05)
        assert (ping.received == 3) is REACHES[name_of_policy]
        assert dp.upcall_stats.failed == 0
        assert 0 < len(dp.flows) <= dp.upcall_stats.installed <= 6
