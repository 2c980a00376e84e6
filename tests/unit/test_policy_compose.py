"""Policies made of policies: who decides, and what is read thereby."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policy import with_ports
from vswitch import (
    Action,
    ConfigError,
    Decision,
    Drop,
    Key,
    Match,
    Output,
    Packet,
    PushVlan,
    Reply,
    Userspace,
    by_port,
    by_vlan,
    drop,
    in_parallel,
    in_sequence,
    output,
    pass_on,
)
from vswitch.fields import SLOTS
from vswitch.policy.run import Run


def key(**fields: Any) -> Key:
    return Key(Match(**fields).value)


def firewall(packet: Packet) -> Any:
    return drop if packet.tcp_dst == 23 else pass_on


def switch(packet: Packet) -> Any:
    return output(2) if packet.in_port == 1 else output(1)


def mirror(packet: Packet) -> Any:
    return output(9) if packet.eth_type == 0x0800 else drop


def test_first_of_a_sequence_that_does_not_pass_on_decides() -> None:
    policy = in_sequence(firewall, switch)
    telnet, web = Run(policy, key(in_port=1, tcp_dst=23), 0), Run(policy, key(in_port=1, tcp_dst=80), 0)
    assert (telnet.actions, telnet.match) == ((drop,), with_ports(tcp_dst=23))
    assert web.actions == output(2)
    assert web.match == Match.from_ints(web.trace.key.value, with_ports(in_port=1, tcp_dst=(0, 0xFFC0)).mask)
    assert Run(in_sequence(firewall), key(tcp_dst=80), 0).actions == (Drop(),)
    assert Run(in_sequence(), key(), 0).match == Match()


def test_parallel_policies_all_have_their_way() -> None:
    policy = in_parallel(switch, mirror, switch)
    assert Run(policy, key(in_port=1, eth_type=0x0800), 0).actions == (Output(2), Output(9))
    assert Run(policy, key(in_port=1, eth_type=0x0806), 0).actions == (Output(2),)
    assert Run(in_parallel(mirror), key(eth_type=0x0806), 0).actions == (drop,)
    assert Run(policy, key(in_port=1, eth_type=0x0800), 0).match == Match(in_port=1, eth_type=0x0800)


def test_parallel_answer_holds_as_long_as_each() -> None:
    def one(_packet: Packet) -> Decision:
        return Decision(output(1), idle_timeout_s=5, hard_timeout_s=60)

    def other(_packet: Packet) -> Decision:
        return Decision([Output(2), Userspace(b"x")], hard_timeout_s=30)

    run = Run(in_parallel(one, other, switch), key(in_port=2), 0)
    assert (run.idle_timeout_s, run.hard_timeout_s) == (5, 30)
    assert run.actions == (Output(1), Output(2), Userspace(b"x"))


@pytest.mark.parametrize("answer", [None, pass_on, [PushVlan(5), Output(1)], 3])
def test_parallel_nonsense_is_refused(answer: Any) -> None:
    with pytest.raises(ConfigError):
        Run(in_parallel(switch, lambda packet: answer), key(in_port=1), 0)


def test_in_parallel_nobody_replies() -> None:
    with pytest.raises(ConfigError, match=r"^one of several policies in parallel replies: who replies decides alone$"):
        Run(in_parallel(switch, lambda _packet: Reply(bytes(60))), key(in_port=1), 0)


PORTS: list[tuple[int, tuple[Action, ...], Match]] = [
    (1, output(2), Match(in_port=1)),
    (4, output(5), Match(in_port=4)),
    (8, (drop,), Match.from_ints(8, 0xFFFFFFF8 << 8 * SLOTS["in_port"].offset)),
]


@pytest.mark.parametrize(("port", "actions", "match"), PORTS)
def test_port_chooses(port: int, actions: tuple[Action, ...], match: Match) -> None:
    policy = by_port({1: lambda packet: output(2), 4: lambda packet: output(5)})
    run = Run(policy, key(in_port=port), 0)
    assert (run.actions, run.match) == (actions, match)
    assert Run(by_port({}, switch), key(in_port=1), 0).actions == output(2)


def test_vlan_chooses() -> None:
    policy = by_vlan({10: lambda packet: output(1), None: lambda packet: output(2)}, lambda packet: output(3))
    assert Run(policy, key(vlan_vid=10), 0).actions == output(1)
    assert Run(policy, key(in_port=1), 0).actions == output(2)
    assert Run(policy, key(in_port=1), 0).match == Match(vlan_present=0)
    assert Run(policy, key(vlan_vid=11), 0).actions == output(3)
    assert Run(by_vlan({10: switch}), key(in_port=1), 0).actions == (drop,)


def test_parts_may_be_whole_trees() -> None:
    policy = in_sequence(firewall, by_port({1: in_parallel(switch, mirror)}, switch))
    run = Run(policy, key(in_port=1, tcp_dst=80, eth_type=0x0800), 0)
    assert run.actions == (Output(2), Output(9))


def test_in_parallel_nothing_behind_a_drop_is_done() -> None:
    policy = in_parallel(lambda _packet: (Output(2), Drop(), Output(3)), lambda _packet: output(4))
    assert Run(policy, key(), 0).actions == output(2, 4)
