"""A firewall between two devices, from a YAML file that may be changed at any time without a packet lost.

    sudo python examples/firewall.py sw0 veth1 veth2 rules.yaml

makes the switch sw0, a cable that lets pass what the file allows those at the first device to ask of those at the
second, and the answers; Ctrl-C ends and removes it.

    allow:
      - arp: true
      - {to: 10.0.0.2, tcp: 80}
      - {from: 10.0.0.0/24, icmp: true}

Rules are laid down ahead of time, and replaced as one transaction when the file changes: a packet sees the old ones or
the new ones, never some of each. A file that is wrong changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from vswitch import ConfigError, Datapath, Drop, Match, Output, Rule

LOOK_EVERY_S = 0.2
"""How often to look whether the file has changed."""

KEYS = {"from", "to", "tcp", "udp", "icmp", "arp"}


def main(name: str, one: str, other: str, file: str) -> None:
    """Make a datapath and follow the file until Ctrl-C."""
    with Datapath.create(name, ports=[one, other], local=False) as dp, suppress(KeyboardInterrupt):
        known = Path(file).read_text()
        dp.flows.replace(rules(known))
        print(f"{dp} lets pass what {file} allows; Ctrl-C ends it", flush=True)
        follow(dp, Path(file), known)


def follow(dp: Datapath, file: Path, known: str) -> None:
    """Replace the rules whenever the file changes."""
    while True:
        dp.run(timeout_s=LOOK_EVERY_S)
        try:
            text = file.read_text()
            if text != known:
                known = text
                dp.flows.replace(rules(text))
                print(f"{len(dp.flows)} rules", flush=True)
        except (OSError, ConfigError, yaml.YAMLError) as problem:
            print(f"the rules stay as they were: {problem}".replace("\n", " "), flush=True)


def rules(text: str) -> list[Rule]:
    """What the file allows, the first entry with the highest priority; all else is dropped."""
    read = yaml.safe_load(text)
    entries = read.get("allow") if isinstance(read, dict) else None
    if not isinstance(entries, list):
        raise ConfigError("the file has no list `allow`")
    found = [Rule(Match(), (Drop(),), 0)]
    for priority, entry in enumerate(reversed(entries), 1):
        for match, in_port in matches(entry):
            found.append(Rule(Match(in_port=in_port, **match), (Output(3 - in_port),), priority))
    return found


def matches(entry: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """What an entry allows to come in by a port: what it says, and, from the other side, the answers."""
    if not isinstance(entry, dict) or not entry or entry.keys() - KEYS:
        raise ConfigError(f"{entry!r} does not consist of {', '.join(sorted(KEYS))}")
    if entry.get("arp"):
        yield {"eth_type": 0x0806}, 1
        yield {"eth_type": 0x0806}, 2
        return
    there: dict[str, Any] = {"eth_type": 0x0800}
    back = dict(there)
    for key, forth, backward in (("from", "ipv4_src", "ipv4_dst"), ("to", "ipv4_dst", "ipv4_src")):
        if key in entry:
            there[forth] = back[backward] = entry[key]
    for key in ("tcp", "udp"):
        if key in entry:
            there[f"{key}_dst"] = back[f"{key}_src"] = entry[key]
    if entry.get("icmp"):
        there["ip_proto"] = back["ip_proto"] = 1
    yield there, 1
    yield back, 2


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
