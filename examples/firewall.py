"""A firewall between two devices, from a YAML file that may be changed at any time without a packet lost.

    sudo python examples/firewall.py sw0 veth1 veth2 rules.yaml

makes the switch sw0, a cable that lets pass what the file allows those at the first device to ask of those at the
second, and the answers; Ctrl-C ends and removes it.

    allow:
      - arp: true
      - {to: 10.0.0.2, tcp: 80}
      - {from: 10.0.0.0/24, ping: true}

Rules are laid down ahead of time, and replaced as one transaction when the file changes: a packet sees the old ones or
the new ones, never some of each. A file that is wrong changes nothing.

It is stateless: what an answer is, it tells from the packet alone. Of TCP that is what does not open a connection, of
UDP all that comes from the port that may be asked, asked or not. IPv6, errors (ICMP) and later fragments do not pass.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from vswitch import ConfigError, Datapath, Drop, Match, Output, Rule, VswitchError

LOOK_EVERY_S = 0.2
"""How often to look whether the file has changed."""

WRONG = (OSError, RecursionError, VswitchError, yaml.YAMLError)
"""What reading a file and laying down its rules may raise."""

ARP, ECHO_REPLY, ECHO, RST, ACK = 0x0806, 0, 8, 4, 16


def main(name: str, one: str, other: str, file: str) -> None:
    """Make a datapath and follow the file until Ctrl-C."""
    with Datapath.create(name, ports=[one, other], local=False) as dp, suppress(KeyboardInterrupt):
        try:
            known = Path(file).read_bytes()
            dp.flows.replace(rules(known))
        except WRONG as problem:
            sys.exit(f"{file}: {problem}")
        print(f"{dp} lets pass what {file} allows; Ctrl-C ends it", flush=True)
        follow(dp, Path(file), known)


def follow(dp: Datapath, file: Path, known: bytes) -> None:
    """Replace the rules whenever the file changes. What is wrong is told once."""
    told = ""
    while True:
        dp.run(timeout_s=LOOK_EVERY_S)
        try:
            text = file.read_bytes()
            if text != known:
                known, told = text, ""
                dp.flows.replace(rules(text))
                print(f"{len(dp.flows)} rules", flush=True)
        except WRONG as problem:
            if str(problem) != told:
                told = str(problem)
                print(f"the rules stay as they were: {told}".replace("\n", " "), flush=True)


def rules(text: bytes) -> list[Rule]:
    """What the file allows; all else is dropped. Who passes goes to the other port, whichever entry allows it, so no
    entry comes before another. Only rules that look at other bits may overlap: each such kind has its priority."""
    read = yaml.load(text, yaml.BaseLoader)  # to which all is text: `no` and 0123 are what is written
    entries = read["allow"] if isinstance(read, dict) and read.keys() == {"allow"} else None
    if not isinstance(entries, list):
        raise ConfigError("the file is not one list, `allow`")
    allowed = dict.fromkeys(match for entry in entries for match in matches(entry))  # each once
    priorities: dict[int, int] = {}
    found = [Rule(Match(), (Drop(),), 0)]
    for match, in_port in allowed:
        found.append(Rule(match, (Output(3 - in_port),), priorities.setdefault(match.mask, len(priorities) + 1)))
    return found


def matches(entry: Any) -> Iterator[tuple[Match, int]]:
    """What an entry allows, and the port it is to come in by: what it says and, from the other side, the answers."""
    rest: dict[str, Any] = dict(entry) if isinstance(entry, dict) else {}
    source, target = (rest.pop(side, "0.0.0.0/0") for side in ("from", "to"))
    match list(rest.items()):
        case [("udp", port)]:
            question, answers = {"udp_dst": port}, [{"udp_src": port}]
        case [("tcp", port)]:
            question, answers = {"tcp_dst": port}, [{"tcp_src": port, "tcp_flags": (flag, flag)} for flag in (ACK, RST)]
        case [("ping", "true")]:
            question, answers = {"icmpv4_type": ECHO}, [{"icmpv4_type": ECHO_REPLY}]
        case [("arp", "true")] if rest == entry:
            yield from ((Match(in_port=port, eth_type=ARP), port) for port in (1, 2))
            return
        case _:
            raise ConfigError(f"{entry!r} is not `arp: true`, nor one of `ping: true`, tcp and udp, with from and to")
    yield Match(in_port=1, ipv4_src=source, ipv4_dst=target, **question), 1
    for answer in answers:
        yield Match(in_port=2, ipv4_src=target, ipv4_dst=source, **answer), 2


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
