"""The commands of `vswitch dpctl`: one row each, as ovs-dpctl has them where it has them."""

from __future__ import annotations

from collections.abc import Callable

from vswitch.cli.arguments import Argument, Command, Group, argument

__all__ = ["DPCTL"]

_COMMON = (
    argument("-m", "--more", action="store_true", help="say more"),
    argument("--names", action="store_true", dest="names", default=None,
             help="ports by name (default on a terminal, and with -m)"),
    argument("--no-names", action="store_false", dest="names", default=None, help="ports by number"),
)  # fmt: skip
_STATISTICS = argument("-s", "--statistics", action="store_true", help="counters too")
_JSON = argument("--json", action="store_true", help="the output as JSON")

_DP = argument("dp", metavar="DP", help="the datapath")
_ANY_DP = argument("dp", metavar="DP", nargs="?", help="the datapath; not needed if there is only one")
_PORTS = argument("interfaces", metavar="IFACE", nargs="+",
                  help="a device, with options after commas: port_no=N, type=system|internal|tap, "
                  "peer_redirect=true|false")  # fmt: skip
_FLOW = argument("flow", metavar="FLOW", help="a match as dump-flows prints it; also priority(N), idle_timeout(S), "
                 "hard_timeout(S)")  # fmt: skip
_ACTIONS = argument("actions", metavar="ACTIONS", help="actions as dump-flows prints them, such as 2 or drop")
_METER = argument("settings", metavar="KEY=VALUE", nargs="+",
                  help="id=N, rate=N, unit=kbps|pktps (default kbps), burst=N (kbit or packets, default a tenth of a "
                  "second's worth, at least the longest packet)")  # fmt: skip

_TIMEOUTS = "Megaflows time out only while some process takes the upcalls of the datapath; without one, they stay."


def _sizes() -> tuple[Argument, ...]:
    """An option for each size of a datapath, with what its documentation says."""
    import re
    from dataclasses import fields

    from vswitch.datapath.ebpf.state import Options

    meanings = dict(re.findall(r"`(\w+)`: (.+?)\.(?:\s|$)", " ".join((Options.__doc__ or "").split())))
    return tuple(
        argument(
            f"--{each.name.replace('_', '-')}", type=int, metavar="N",
            help=f"{meanings.get(each.name, '')} (default {each.default})".replace("%", "%%"),
        )
        for each in fields(Options)
    )  # fmt: skip


def _command(
    name: str, room: str, summary: str, *arguments: Argument, example: str, description: str = "",
    aliases: tuple[str, ...] = (), more: Callable[[], tuple[Argument, ...]] = tuple,
) -> Command:  # fmt: skip
    """`room`: the module whose function of that name it runs, or `module:function`."""
    run = f"vswitch.cli.dpctl.{room}" if ":" in room else f"vswitch.cli.dpctl.{room}:{name.replace('-', '_')}"
    return Command(
        name, summary, run, (*arguments, *_COMMON), f"vswitch dpctl {example}", description, aliases, more
    )  # fmt: skip


DPCTL = Group(
    "dpctl",
    "make datapaths, change them and look at them",
    (
        _command("add-dp", "datapaths", "make a datapath, with a port 0 of its name for the host, and add IFACEs",
                 _DP, argument("interfaces", metavar="IFACE", nargs="*", default=(), help=_PORTS.settings["help"]),
                 argument("--no-local", action="store_true", help="without the port 0"),
                 example="add-dp dp0 veth1 veth2,port_no=7 --max-flows 1000000", more=_sizes,
                 description="Sizes are fixed for the life of the datapath, and memory for them is taken at once."),
        _command("del-dp", "datapaths", "remove a datapath, with all that was made for it", _DP, example="del-dp dp0"),
        _command("list", "datapaths:dump_dps", "names of the datapaths", _JSON, aliases=("dump-dps",), example="list"),
        _command("show", "datapaths", "what a datapath, or each of them, consists of and has counted",
                 argument("dps", metavar="DP", nargs="*", help="the datapath (default: all)"), _STATISTICS, _JSON,
                 example="show -s dp0",
                 description="Of upcalls, packets that came up, each that arrived is released, dropped or waiting.\n"
                 "handled: the program was asked about them. joined: it was not, as a rule takes them that was\n"
                 "installed for another one. failed: times that it raised, or that its answer was refused. waits:\n"
                 "from arrival to release. A port is held back while its packets that wait have used up its share of\n"
                 "the buffer."),
        _command("add-if", "ports", "make each IFACE a port", _DP, _PORTS, example="add-if dp0 veth1,port_no=1",
                 description="All of them or, if one cannot be added, none."),
        _command("set-if", "ports", "change ports", _DP, _PORTS, example="set-if dp0 veth1,peer_redirect=true",
                 description="Only peer_redirect can be changed. The port is taken out and put back for it: its "
                 "counters begin anew, and packets that come meanwhile are not switched."),
        _command("del-if", "ports", "take ports, by name or number, out of the datapath", _DP,
                 argument("interfaces", metavar="IFACE", nargs="+", help="name or number of a port"),
                 example="del-if dp0 veth1"),
        _command("add-flow", "flows", "install a megaflow", _ANY_DP, _FLOW, _ACTIONS, description=_TIMEOUTS,
                 example="add-flow dp0 'priority(10),in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/8)' 2"),
        _command("add-flows", "flows", "install the megaflows in FILE, all or none", _ANY_DP,
                 argument("file", metavar="FILE", help="lines as dump-flows prints them, blank ones and # comments; "
                 "- is the standard input"), description=_TIMEOUTS, example="add-flows dp0 flows.txt"),
        _command("mod-flow", "flows", "change the actions of a megaflow", _ANY_DP, _FLOW, _ACTIONS, _STATISTICS, _JSON,
                 argument("--may-create", action="store_true", help="install it if it is not there"),
                 argument("--clear", action="store_true", help="let its counters begin anew"),
                 description=_TIMEOUTS, example="mod-flow dp0 'in_port(1)' drop"),
        _command("del-flow", "flows", "remove a megaflow", _ANY_DP, _FLOW, _STATISTICS, _JSON,
                 example="del-flow dp0 'priority(10),in_port(1)'"),
        _command("del-flows", "flows", "remove all megaflows", _ANY_DP, example="del-flows dp0"),
        _command("get-flow", "flows", "print a megaflow", _ANY_DP, _FLOW, _JSON, example="get-flow dp0 'in_port(1)'"),
        _command("dump-flows", "flows", "print the megaflows", _ANY_DP,
                 argument("filters", metavar="filter=MATCH", nargs="*", help="only those whose packets are all in "
                 "MATCH; type=ovs or type=all, the only types there are, changes nothing"), _JSON,
                 example="dump-flows -m dp0 filter='in_port(1)'"),
        _command("monitor", "packets", "print what packets come up to a program", _ANY_DP,
                 argument("-c", "--count", type=int, metavar="COUNT", help="end after so many packets"),
                 argument("--timeout", type=float, metavar="SECONDS", help="end after that time"),
                 argument("-x", "--hex", action="store_true", help="the packet, too, as execute takes it"), _JSON,
                 description="Looks on if a process controls the datapath. If none does, takes control for as long, "
                 "and drops what comes up. Ends cleanly on Ctrl-C.",
                 example="monitor -x -c 10 dp0"),
        _command("execute", "packets", "send a packet into the datapath", _DP,
                 argument("packet", metavar="PACKET", help="the frame in hexadecimal, Ethernet header first"),
                 argument("actions", metavar="ACTIONS", nargs="?", help="what to do with it (default: look it up)"),
                 argument("in_port", metavar="IN_PORT", nargs="?", help="the port that it seems to come in by, by "
                 "number or name (default 0)"),
                 argument("--in-port", metavar="PORT", dest="in_port_option", help="the same"),
                 example="execute dp0 ffffffffffff02000000000108060001 1 --in-port 2"),
        _command("add-meter", "meters", "make a meter", _ANY_DP, _METER,
                 example="add-meter dp0 id=1 rate=1000 unit=kbps burst=100"),
        _command("mod-meter", "meters", "change a meter; its counters begin anew", _ANY_DP, _METER,
                 example="mod-meter dp0 id=1 rate=2000"),
        _command("del-meter", "meters", "remove a meter; its packets pass from then on", _ANY_DP,
                 argument("meter", metavar="ID", help="its number"), example="del-meter dp0 1"),
        _command("dump-meters", "meters", "print the meters and what they have counted", _ANY_DP, _JSON,
                 example="dump-meters dp0"),
    ),
    (*_COMMON, _STATISTICS),
    description="Datapaths live in the kernel: what is set up here goes on when the command has ended. Whoever changes "
    "a\ndatapath must be the only one to control it; to look at it needs no control.",
    example="""
vswitch dpctl add-dp dp0
vswitch dpctl add-if dp0 veth1,port_no=1
vswitch dpctl add-flow dp0 'in_port(1)' 2
""",
)  # fmt: skip
