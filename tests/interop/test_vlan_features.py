"""Modes of ports, priority tags, protected ports, mirrors: our translation beside Open vSwitch's trace, at random."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.openvswitch import BRIDGE, OpenVswitch
from tests.pipeline import LOCAL, PlainView
from vswitch.bridge.vlans import port_vlan
from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.messages import actions as a
from vswitch.messages.match import FlowMatch
from vswitch.model import actions as dp
from vswitch.ofproto.settings import PlacedMirror
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import Config
from vswitch.packet import build
from vswitch.packet.parse import parse

PORTS = (1, 2, 3, 4, 5)
DESTINATION, SOURCE = 0x00000000000B, 0x00000000000A
BODY = build.ethernet(DESTINATION, SOURCE, 0x88B5, b"x" * 46)
Tags = tuple[tuple[int, int, int], ...]
"""(protocol, VLAN, priority), the outermost first."""
Sent = Counter[tuple[int, Tags, int]]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenVswitch]:
    with OpenVswitch(tmp_path_factory.mktemp("ovs")) as found:
        found.vsctl("set", "open_vswitch", ".", "other_config:vlan-limit=2")
        for number in PORTS[2:]:
            found.vsctl(
                *f"add-port {BRIDGE} p{number} -- set interface p{number} type=dummy ofport_request={number}".split()
            )
        found.ofctl(4, "del-flows")
        found.ofctl(4, "add-flow", "priority=0,actions=NORMAL")
        yield found


def asked(peer: OpenVswitch, *words: str) -> str:
    (control,) = Path(peer.folder).glob("ovs-vswitchd.*.ctl")
    return peer.run("ovs-appctl", "-t", str(control), *words)


def numbers(peer: OpenVswitch) -> dict[int, int]:
    """Ports of the datapath -> those of OpenFlow."""
    found = re.findall(r"^\s+(\S+) (\d+)/(\d+):", asked(peer, "dpif/show"), re.MULTILINE)
    return {int(inner): LOCAL if outer == "65534" else int(outer) for _, outer, inner in found}


def theirs(text: str, tags: Tags, ports: dict[int, int]) -> Sent:
    """What their datapath's actions send."""
    sent: Sent = Counter()
    longest = 0
    for word in re.findall(r"(?:[a-z_]+\([^)]*\)|[^,]+)", text):
        if word == "drop":
            continue
        if word == "pop_vlan":
            tags = tags[1:]
        elif word.startswith("push_vlan"):
            given = {key: int(value, 0) for key, value in re.findall(r"(\w+)=(\w+)", word)}
            tags = ((given.get("tpid", 0x8100), given["vid"], given["pcp"]), *tags)
        elif word.startswith("trunc"):
            longest = int(word[6:-1])
        else:
            sent[ports[int(word)], tags, longest] += 1
            longest = 0
    return sent


def ours(actions: Iterable[dp.Action], tags: Tags) -> Sent:
    """What our datapath's actions send."""
    sent: Sent = Counter()
    longest = 0
    for action in actions:
        match action:
            case dp.Clone(inner):
                sent += ours(inner, tags)
            case dp.PopVlan():
                tags = tags[1:]
            case dp.PushVlan(vid, pcp, tpid):
                tags = ((tpid, vid, pcp), *tags)
            case dp.SetField("vlan_vid", value):
                tags = ((tags[0][0], value, tags[0][2]), *tags[1:])
            case dp.Truncate(length):
                longest = length
            case dp.Output(port):
                sent[port or LOCAL, tags, longest] += 1
                longest = 0
            case _:
                raise AssertionError(action)
    return sent


class Chosen:
    """A random configuration, ours and theirs."""

    def __init__(self, chance: Random) -> None:
        self.commands: list[str] = []
        vlans = {}
        shielded: set[int] = set()
        for number in PORTS:
            mode = chance.choice(("none", "none", "access", "native-untagged", "native-tagged", "dot1q-tunnel"))
            tags = chance.choice(("no", "no", "always", "if-nonzero"))
            carried = chance.choice(([], [], [20], [10, 20]))
            self.commands.append(f"-- clear port p{number} tag vlan_mode trunks cvlans other_config")
            ethertype = chance.choice(("802.1ad", "802.1q"))
            protected = number in (1, 2) and chance.random() < 0.4
            if protected:
                shielded.add(number)
            words = f"other_config:priority-tags={tags} other_config:qinq-ethtype={ethertype} "
            words += f"protected={str(protected).lower()}"
            if mode == "none":
                vlans[number] = port_vlan(None, carried, priority_tags=tags)
                words += f" trunks={carried}"
            elif mode == "dot1q-tunnel":
                vlans[number] = port_vlan(10, (), mode, cvlans=carried, qinq_ethtype=ethertype, priority_tags=tags)
                words += f" vlan_mode={mode} tag=10 cvlans={carried}"
            else:
                trunks = [] if mode == "access" else carried
                vlans[number] = port_vlan(10, trunks, mode, priority_tags=tags)
                words += f" vlan_mode={mode} tag=10 trunks={trunks}"
            self.commands.append(f"-- set port p{number} {words.replace(', ', ',')}")
        mirrors: tuple[PlacedMirror, ...] = ()
        self.commands.append(f"-- clear bridge {BRIDGE} mirrors")
        if chance.random() < 0.6:
            mirrors = (self._mirror(chance),)
        self.config = Config(vlans=vlans, protected=frozenset(shielded), mirrors=mirrors)

    def _mirror(self, chance: Random) -> PlacedMirror:
        everything = chance.random() < 0.3
        sources = frozenset(chance.sample((1, 2, 3, 4), chance.choice((0, 1, 2))))
        destinations = frozenset(chance.sample((1, 2, 3, 4), chance.choice((0, 1))))
        vlans = frozenset(chance.choice(((), (), (10,), (0, 20))))
        output = chance.choice((5, 5, None))
        snaplen = chance.choice((0, 100))
        names = [f"-- --id=@p{number} get port p{number}" for number in PORTS]
        words = f"select_all={str(everything).lower()} select_vlan=[{','.join(map(str, sorted(vlans)))}]"
        for key, ports in (("src", sources), ("dst", destinations)):
            words += f" select_{key}_port=[{','.join(f'@p{number}' for number in sorted(ports))}]"
        words += " output_vlan=10" if output is None else f" output_port=@p{output}"
        words += f" snaplen={snaplen}" if snaplen else ""
        self.commands += [*names, f"-- --id=@m create mirror name=m {words}", f"-- set bridge {BRIDGE} mirrors=@m"]
        if everything:
            return PlacedMirror("m", None, None, vlans, output, 10 if output is None else None, snaplen)
        return PlacedMirror("m", sources, destinations, vlans, output, 10 if output is None else None, snaplen)


FRAMES: tuple[tuple[Tags, str], ...] = (
    ((), ""),
    (((0x8100, 10, 3),), ",dl_vlan=10,dl_vlan_pcp=3"),
    (((0x8100, 20, 0),), ",dl_vlan=20,dl_vlan_pcp=0"),
    (((0x8100, 0, 3),), ",dl_vlan=0,dl_vlan_pcp=3"),
)


@pytest.mark.parametrize("block", range(3))
def test_packets_go_out_as_with_open_vswitch(peer: OpenVswitch, block: int) -> None:
    compared = 0
    for seed in range(12 * block, 12 * block + 12):
        chance = Random(seed)
        chosen = Chosen(chance)
        peer.vsctl(*" ".join(chosen.commands).split()[1:])
        ports = numbers(peer)
        view = PlainView(5, chosen.config)
        view.add(0, FlowMatch(), a.Output(OPENFLOW_PORTS["NORMAL"]))
        for in_port in PORTS[:4]:
            for tags, words in FRAMES:
                frame = BODY
                for tpid, vid, pcp in reversed(tags):
                    frame = build.vlan(frame, vid, pcp)
                    assert tpid == 0x8100
                flow = f"in_port={in_port},dl_src=00:00:00:00:00:0a,dl_dst=00:00:00:00:00:0b,dl_type=0x88b5{words}"
                text = asked(peer, "ofproto/trace", BRIDGE, flow).split("Datapath actions: ")[1].splitlines()[0]
                answer = translate(view, parse(frame, in_port), frame, 0)
                what = (seed, in_port, tags, chosen.config, text)
                assert ours(answer.actions, tags) == theirs(text, tags, ports), what
                compared += 1
    assert compared == 192
