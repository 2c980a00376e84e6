"""The VLANs of ports, in the words of Open vSwitch's Port table: `tag`, `trunks`, `vlan_mode`.

    access            the port carries VLAN `tag` alone, without a tag
    trunk             it carries the VLANs `trunks`, all if there are none, each with its tag
    native-tagged     a trunk, on which packets that come in without a tag are of VLAN `tag`
    native-untagged   the same, and packets of that VLAN go out without one
    dot1q-tunnel      the port carries VLAN `tag` alone, without its tag: tags of packets there are the customer's

Without a mode a port with a `tag` is an access port, one without is a trunk. NORMAL, and so a bridge whose fail mode is
standalone, keeps to it; outputs that flows name do not ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vswitch.base.errors import ConfigError
from vswitch.base.limits import MAX_PORT
from vswitch.ofproto.translation import PortVlan

__all__ = ["MAX_VLAN", "MODES", "parse_port", "port_vlan", "vlan_set"]

MODES = ("access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel")
ETHERTYPES = {"802.1ad": 0x88A8, "802.1q": 0x8100}
PRIORITY_TAGS = ("no", "always", "if-nonzero")
MAX_VLAN = 4095

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)
_SETTINGS = ("port_no", "tag", "trunks", "vlan_mode", "cvlans", "qinq-ethtype", "priority-tags")
_LISTS = ("trunks", "cvlans")


def port_vlan(
    tag: int | None = None, trunks: Iterable[int] = (), vlan_mode: str | None = None, *, cvlans: Iterable[int] = (),
    qinq_ethtype: str = "802.1ad", priority_tags: str = "no",
) -> PortVlan:  # fmt: skip
    """How a port treats VLANs. ConfigError: a number is outside 0..4095, or the words contradict each other."""
    carried, customers = frozenset(trunks), frozenset(cvlans)
    mode = vlan_mode or ("trunk" if tag is None else "access")
    if mode not in MODES:
        raise ConfigError(f"vlan_mode {mode!r} is none of {', '.join(MODES)}")
    for name, vlan in (
        ("tag", 0 if tag is None else tag),
        *(("trunks", each) for each in sorted(carried)),
        *(("cvlans", each) for each in sorted(customers)),
    ):
        if not 0 <= vlan <= MAX_VLAN:
            raise ConfigError(f"{name}: VLAN {vlan} is outside 0..{MAX_VLAN}")
    if qinq_ethtype not in ETHERTYPES:
        raise ConfigError(f"qinq-ethtype {qinq_ethtype!r} is none of {', '.join(ETHERTYPES)}")
    if priority_tags not in PRIORITY_TAGS:
        raise ConfigError(f"priority-tags {priority_tags!r} is none of {', '.join(PRIORITY_TAGS)}")
    if mode == "dot1q-tunnel" and carried:
        raise ConfigError("a dot1q-tunnel port has a tag and cvlans, and no trunks")
    if mode != "dot1q-tunnel" and customers:
        raise ConfigError(f"cvlans are of vlan_mode dot1q-tunnel, not of {mode}")
    if mode == "access" and carried:
        raise ConfigError("an access port has a tag, and no trunks: those are of vlan_mode trunk and native")
    if mode == "trunk" and tag is not None:
        raise ConfigError("vlan_mode trunk has no tag: with one a port is access, native-tagged or native-untagged")
    if mode != "trunk" and tag is None:
        raise ConfigError(f"vlan_mode {mode} needs a tag")
    return PortVlan(mode, tag or 0, carried, customers, ETHERTYPES[qinq_ethtype], priority_tags)


def vlan_set(name: str, vlans: Iterable[int]) -> frozenset[int]:
    """These VLANs. ConfigError: one is outside 0..4095."""
    found = frozenset(vlans)
    for vlan in found:
        if not 0 <= vlan <= MAX_VLAN:
            raise ConfigError(f"{name}: VLAN {vlan} is outside 0..{MAX_VLAN}")
    return found


def parse_port(text: str) -> tuple[str, int | None, PortVlan | None]:
    """Name, number and VLANs of a port that is written `veth1,port_no=7,tag=10` or
    `veth2,vlan_mode=native-untagged,tag=1,trunks=10,20-29`; None for what is not said. ConfigError says what is wrong.
    """
    name, *words = text.split(",")
    if not name:
        raise ConfigError(f"port {text!r} has no name")
    given: dict[str, list[str]] = {}
    last = ""
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and last in _LISTS:  # one more of them
            given[last].append(word)
            continue
        if key not in _SETTINGS or not equals:
            raise ConfigError(f"port {text!r}: {word!r} is none of {', '.join(f'{each}=' for each in _SETTINGS)}")
        if key in given:
            raise ConfigError(f"port {text!r}: {key} is given twice")
        given[key], last = [value], key
    try:
        number = _number("port_no", given["port_no"][0], MAX_PORT) if "port_no" in given else None
        if given.keys() <= {"port_no"}:
            return name, number, None
        tag = _number("tag", given["tag"][0], MAX_VLAN) if "tag" in given else None
        trunks, cvlans = ([vlan for word in given.get(key, ()) for vlan in _vlans(key, word)] for key in _LISTS)
        return name, number, port_vlan(
            tag, trunks, given["vlan_mode"][0] if "vlan_mode" in given else None, cvlans=cvlans,
            qinq_ethtype=given.get("qinq-ethtype", ["802.1ad"])[0],
            priority_tags=given.get("priority-tags", ["no"])[0],
        )  # fmt: skip
    except ConfigError as problem:
        raise ConfigError(f"port {text!r}: {problem}") from None


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > most:
        raise ConfigError(f"{name}={text} is no number of 0..{most}")
    return int(text)


def _vlans(name: str, text: str) -> Iterable[int]:
    """`10`, or all of `10-19`."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{name}: {text!r} is neither a VLAN nor a range such as 10-19")
    first, last = int(found[1]), int(found[2] or found[1])
    if first > last or last > MAX_VLAN:
        raise ConfigError(f"{name}: {text} is no range within 0..{MAX_VLAN}")
    return range(first, last + 1)
