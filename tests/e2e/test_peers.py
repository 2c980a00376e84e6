"""Controllers of others drive `vswitch run`: a slice of `make interop` that every run of the tests can afford.

Applications of os-ken, and some of its certification tests; `ovs-ofctl` is in test_bridge_run.py and in
tests/unit/test_ofctl_peer.py.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.certification import certify_some
from tests.lab import Host, wait_until
from tests.osken import Application, ask, knows, told
from tests.running import Running

NUMBER = 1
"""The datapath id."""

ACTIONS = (
    "00_OUTPUT", "15_SET_MPLS_TTL", "16_DEC_MPLS_TTL", "17_PUSH_VLAN", "17_PUSH_VLAN_multiple", "18_POP_VLAN",
    "20_POP_MPLS", "23_SET_NW_TTL_IPv4", "23_SET_NW_TTL_IPv6", "24_DEC_NW_TTL_IPv4", "24_DEC_NW_TTL_IPv6",
    "25_SET_FIELD/03_ETH_DST", "25_SET_FIELD/06_VLAN_VID", "25_SET_FIELD/12_IPV4_DST", "25_SET_FIELD/14_TCP_DST_IPv6",
    "25_SET_FIELD/22_ARP_SPA", "25_SET_FIELD/31_IPV6_ND_TARGET", "25_SET_FIELD/34_MPLS_LABEL",
)  # fmt: skip
MATCHES = ("06_VLAN_VID_Mask", "14_TCP_DST_IPv6")


@pytest.fixture
def words(pair: tuple[Host, Host]) -> list[str]:
    ports = [word for host in pair for word in ("--port", host.port)]
    return [*ports, "--datapath-id", f"{NUMBER:016x}", "--no-local", "--fail-mode", "secure", "--max-backoff", "1",
            "--protocols", "OpenFlow13"]  # fmt: skip


def reaches(one: Host, two: Host, count: int = 1) -> bool:
    return one.ping(two.ip, count=count, interval_s=0.05).received == count


def test_a_learning_switch_of_os_ken(name: str, tmp_path: Path, words: list[str], pair: tuple[Host, Host]) -> None:
    one, two = pair
    with ExitStack() as stack:
        application = stack.enter_context(Application("os_ken.app.simple_switch_13"))
        running = stack.enter_context(Running(name, tmp_path, *words, "--controller", application.target))
        wait_until(lambda: reaches(one, two), "the first ping", 20)
        assert reaches(two, one, 10)
        flows = running.ofctl("dump-flows")
        assert flows.count(f"dl_dst={two.mac}") == flows.count(f"dl_dst={one.mac}") == 1, flows


def test_flows_groups_and_meters_by_ofctl_rest(
    name: str, tmp_path: Path, words: list[str], pair: tuple[Host, Host]
) -> None:
    one, two = pair
    with ExitStack() as stack:
        application = stack.enter_context(Application("os_ken.app.ofctl_rest"))
        stack.enter_context(Running(name, tmp_path, *words, "--controller", application.target))
        wait_until(lambda: knows(NUMBER), "ofctl_rest has met the switch", 20)
        band = {"type": "DROP", "rate": 100}
        ask("POST", "/stats/meterentry/add", {"dpid": NUMBER, "flags": "PKTPS", "meter_id": 7, "bands": [band]})
        bucket = {"actions": [{"type": "OUTPUT", "port": 2}]}
        ask("POST", "/stats/groupentry/add", {"dpid": NUMBER, "type": "ALL", "group_id": 5, "buckets": [bucket]})
        there = [{"type": "METER", "meter_id": 7}, {"type": "GROUP", "group_id": 5}]
        for port, actions in ((1, there), (2, [{"type": "OUTPUT", "port": 1}])):
            ask("POST", "/stats/flowentry/add", {"dpid": NUMBER, "match": {"in_port": port}, "actions": actions})
        wait_until(lambda: reaches(one, two), "the first ping", 10)
        assert reaches(two, one, 10)
        assert [each["packet_count"] > 10 for each in told("flow", NUMBER)] == [True, True]
        assert [each["group_id"] for each in told("groupdesc", NUMBER)] == [5]
        assert told("group", NUMBER)[0]["packet_count"] > 10
        assert told("meter", NUMBER)[0]["packet_in_count"] > 10
        ask("DELETE", f"/stats/flowentry/clear/{NUMBER}")
        wait_until(lambda: not ask("GET", f"/stats/flow/{NUMBER}")[str(NUMBER)], "no flows")
        assert not reaches(one, two)


def test_some_of_the_certification_tests_of_os_ken() -> None:
    """All but those with provider backbone bridging, which is refused."""
    chosen = [f"of13/action/{each}.json" for each in ACTIONS] + [f"of13/match/{each}.json" for each in MATCHES]
    verdicts = list(certify_some(chosen, wait_s=5))
    failed = {(each.file, each.test, each.result) for each in verdicts if not each.passed and "itag" not in each.test}
    assert not failed
    refused = {each.result for each in verdicts if "itag" in each.test}
    assert refused == {"Failed to add flows: OFPErrorMsg[type=0x02, code=0x00]"}  # bad_action.bad_type
    assert sum(each.passed for each in verdicts) == 72
