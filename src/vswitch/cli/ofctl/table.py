"""The commands of `vswitch ofctl`: one row each, as ovs-ofctl(8) has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vswitch.cli.arguments import Argument, Command, Group, argument

__all__ = ["OFCTL"]

_OPTIONAL = {"--color": "always", "--sort": "priority", "--rsort": "priority", "-v": "dbg", "--verbose": "dbg"}
"""Options whose value is optional, and what they mean without: it follows behind `=`, never as a word of its own."""


def _prepare(line: Sequence[str]) -> list[str]:
    """The line with the values that ovs-ofctl's options may leave out."""
    words = list(line)
    for at, word in enumerate(words):
        if word == "--":
            break
        if word in _OPTIONAL:
            words[at] = f"{word}={_OPTIONAL[word]}" if word.startswith("--") else word + _OPTIONAL[word]
    return words


def _criterion(descending: bool) -> Callable[[str], tuple[str, bool]]:
    def read(text: str) -> tuple[str, bool]:
        return text, descending

    return read


def _flag(*names: str, help: str, dest: str = "") -> Argument:
    settings: dict[str, Any] = {"action": "store_true", "help": help}
    return argument(*names, **settings, **({"dest": dest} if dest else {}))


_COMMON = (
    argument("-O", "--protocols", metavar="VERSIONS", help="what may be spoken: OpenFlow10 (default), ..., OpenFlow15"),
    argument("-F", "--flow-format", metavar="FORMATS", help="how flows may be sent: any (default), OpenFlow10, NXM, "
             "OXM, ..."),
    argument("-m", "--more", action="count", default=0, help="say more; again for still more"),
    argument("-t", "--timeout", type=int, metavar="SECONDS", help="give up after that time"),
    argument("--names", action="store_true", dest="names", default=None, help="ports and tables by name (default on "
             "a terminal)"),
    argument("--no-names", action="store_false", dest="names", default=None, help="by number, names not even accepted"),
    argument("-p", "--private-key", metavar="FILE", help="for ssl:"),
    argument("-c", "--certificate", metavar="FILE", help="for ssl:, of the private key"),
    argument("-C", "--ca-cert", metavar="FILE", help="for ssl:, of who has signed the switch's; none checks nothing"),
    argument("-v", "--verbose", metavar="SPEC", help="has no effect"),
    _flag("--strict", help="flows that are just so, priority included"),
    _flag("--bundle", help="all or nothing, as a bundle of OpenFlow 1.4"),
    _flag("--readd", help="replace-flows: flows that are there already, too"),
    _flag("--may-create", help="mod-group: make it if it is not there"),
    _flag("--read-only", help="refuse commands that change something"),
    argument("--stats", action="store_true", dest="stats", default=None, help="dump-flows: with counters (default)"),
    argument("--no-stats", action="store_false", dest="stats", default=None, help="dump-flows: without what changes by "
             "itself"),
    argument("--sort", action="append", dest="order", type=_criterion(False), metavar="FIELD",
             help="dump-flows: in ascending order of a field (default priority)"),
    argument("--rsort", action="append", dest="order", type=_criterion(True), metavar="FIELD",
             help="dump-flows: in descending order"),
    argument("--color", metavar="WHEN", choices=("always", "never", "auto"), default="auto",
             help="dump-flows: always, never or auto"),
    _flag("--timestamp", help="monitor, snoop: when each message came"),
    argument("-P", "--packet-in-format", metavar="FORMAT", help="monitor: standard, nxt_packet_in or nxt_packet_in2"),
)  # fmt: skip

_SWITCH = argument("switch", metavar="SWITCH", help="a bridge, unix:FILE, tcp:HOST[:PORT] or ssl:HOST[:PORT]")
_TARGET = argument("switch", metavar="TARGET", help="a switch, or a controller that listens")
_PORT = argument("port", metavar="PORT", help="number or name of a port")
_ANY_PORT = argument("port", metavar="PORT", nargs="?", help="number or name of a port (default: all)")
_FILE = argument("file", metavar="FILE", help="one a line; - is the standard input")
_FLOW = argument("flow", metavar="FLOW", help="fields and actions: tcp,nw_dst=10.0.0.0/8,actions=output:2; - reads "
                 "lines from the standard input")  # fmt: skip
_FLOWS = argument("flow", metavar="FLOW", nargs="?", help="only flows that match: table=1,tcp (default: all)")
_GROUP = argument("group", metavar="GROUP", help="group_id=1,type=all,bucket=output:1; - reads lines from the standard "
                  "input")  # fmt: skip
_ANY_GROUP = argument("group", metavar="GROUP", nargs="?", help="group_id=N (default: all)")
_METER = argument("meter", metavar="METER", help="meter=1,kbps,band=type=drop,rate=1000")
_ANY_METER = argument("meter", metavar="METER", nargs="?", help="meter=N (default: all)")


def _command(
    name: str, room: str, summary: str, *arguments: Argument, example: str = "", description: str = "",
    aliases: tuple[str, ...] = (),
) -> Command:  # fmt: skip
    """`room`: the module whose function of that name it runs, or `module:function`."""
    run = f"vswitch.cli.ofctl.{room}" if ":" in room else f"vswitch.cli.ofctl.{room}:{name.replace('-', '_')}"
    operands = " ".join([name, *(each.usage.replace("SWITCH", "br0") for each in arguments)])
    example = f"vswitch ofctl {example or operands}"
    return Command(name, summary, run, (*arguments, *_COMMON), example, description, aliases)


OFCTL = Group(
    "ofctl",
    "program OpenFlow switches and look at them, as ovs-ofctl does",
    (
        _command("show", "show", "what a switch is, and its ports", _SWITCH),
        _command("dump-desc", "show", "who made it", _SWITCH),
        _command("dump-tables", "show", "how its tables are used", _SWITCH),
        _command("dump-table-features", "show", "what its tables can do", _SWITCH),
        _command("dump-table-desc", "show", "how its tables are configured", _SWITCH),
        _command("mod-table", "show", "configure a table", _SWITCH,
                 argument("table", metavar="TABLE", help="its number or name"),
                 argument("setting", metavar="SETTING", help="drop, continue, controller; name:NAME; evict, noevict, "
                 "vacancy:LOW,HIGH, novacancy"), example="mod-table -O OpenFlow14 br0 1 evict"),
        _command("dump-ports", "show", "what ports have counted", _SWITCH, _ANY_PORT),
        _command("dump-ports-desc", "show", "what ports are", _SWITCH, _ANY_PORT),
        _command("mod-port", "show", "configure a port", _SWITCH, _PORT,
                 argument("action", metavar="ACTION", help="up, down, [no-]receive, [no-]forward, [no-]flood, "
                 "[no-]packet-in, [no-]stp, [no-]receive-stp"), example="mod-port br0 1 no-flood"),
        _command("get-frags", "show", "how fragments are treated", _SWITCH),
        _command("set-frags", "show", "let them be treated otherwise", _SWITCH,
                 argument("mode", metavar="MODE", help="normal, drop, reassemble or nx-match"),
                 example="set-frags br0 nx-match"),
        _command("dump-flows", "flows", "flows", _SWITCH, _FLOWS, example="dump-flows --sort br0 table=1"),
        _command("dump-aggregate", "flows", "what flows have counted together", _SWITCH, _FLOWS),
        _command("add-flow", "flows", "add a flow", _SWITCH, _FLOW,
                 example="add-flow br0 'table=1,tcp,nw_dst=10.0.0.0/8,actions=output:2'"),
        _command("add-flows", "flows", "add, change and delete the flows of a file", _SWITCH, _FILE,
                 description="A line is a flow that is added, or begins with add, modify, modify_strict, delete or "
                 "delete_strict.", example="add-flows --bundle br0 flows.txt"),
        _command("mod-flows", "flows", "give flows other actions", _SWITCH, _FLOW,
                 example="mod-flows br0 'tcp,actions=drop'"),
        _command("del-flows", "flows", "delete flows", _SWITCH, _FLOWS, example="del-flows br0 table=1"),
        _command("replace-flows", "flows", "make the flows those of a file", _SWITCH, _FILE,
                 example="replace-flows --bundle br0 flows.txt"),
        _command("diff-flows", "flows", "how two sets of flows differ; status 2 if they do",
                 argument("source1", metavar="SOURCE1", help="a switch or a file"),
                 argument("source2", metavar="SOURCE2", help="a switch or a file"),
                 example="diff-flows br0 flows.txt"),
        _command("queue-stats", "show", "what queues have counted", _SWITCH, _ANY_PORT,
                 argument("queue", metavar="QUEUE", nargs="?", help="its number (default: all)")),
        _command("queue-get-config", "show", "which queues there are", _SWITCH, _ANY_PORT,
                 argument("queue", metavar="QUEUE", nargs="?", help="its number (default: all)")),
        _command("add-group", "groups", "make a group", _SWITCH, _GROUP,
                 example="add-group br0 'group_id=1,type=all,bucket=output:1,bucket=output:2'"),
        _command("add-groups", "groups", "make the groups of a file", _SWITCH, _FILE),
        _command("mod-group", "groups", "make a group another one", _SWITCH, _GROUP,
                 example="mod-group --may-create br0 'group_id=1,type=all,bucket=output:1'"),
        _command("del-groups", "groups", "remove a group, or all", _SWITCH, _ANY_GROUP),
        _command("insert-buckets", "groups", "put buckets into a group", _SWITCH, _GROUP,
                 aliases=("insert-bucket",),
                 example="insert-buckets -O OpenFlow15 br0 'group_id=1,command_bucket_id=last,bucket=output:3'"),
        _command("remove-buckets", "groups", "take buckets out of a group", _SWITCH, _GROUP,
                 aliases=("remove-bucket",),
                 example="remove-buckets -O OpenFlow15 br0 'group_id=1,command_bucket_id=first'"),
        _command("dump-groups", "show", "what groups are", _SWITCH, _ANY_GROUP),
        _command("dump-group-stats", "show", "what groups have counted", _SWITCH, _ANY_GROUP),
        _command("dump-group-features", "show", "what groups there can be", _SWITCH),
        _command("add-meter", "groups", "make a meter", _SWITCH, _METER,
                 example="add-meter -O OpenFlow13 br0 'meter=1,kbps,band=type=drop,rate=1000'"),
        _command("mod-meter", "groups", "make a meter another one", _SWITCH, _METER,
                 example="mod-meter -O OpenFlow13 br0 'meter=1,kbps,band=type=drop,rate=2000'"),
        _command("del-meters", "groups", "remove a meter, or all", _SWITCH, _ANY_METER,
                 aliases=("del-meter",), example="del-meters -O OpenFlow13 br0 meter=1"),
        _command("dump-meters", "show", "what meters are", _SWITCH, _ANY_METER, aliases=("dump-meter",),
                 example="dump-meters -O OpenFlow13 br0"),
        _command("meter-stats", "show", "what meters have counted", _SWITCH, _ANY_METER,
                 example="meter-stats -O OpenFlow13 br0"),
        _command("meter-features", "show", "what meters there can be", _SWITCH,
                 example="meter-features -O OpenFlow13 br0"),
        _command("bundle", "groups", "send what a file lists as one change", _SWITCH, _FILE,
                 description="A line begins with what it changes, as `flow add in_port=1,actions=2`, `group delete "
                 "group_id=1`, `packet-out in_port=1,packet=00,actions=2`.", example="bundle br0 changes.txt"),
        _command("packet-out", "packets", "have the switch send a packet", _SWITCH,
                 argument("words", metavar="PACKET", nargs="+", help="in_port=PORT,packet=HEX,actions=ACTIONS; or "
                 "IN_PORT ACTIONS HEX..."),
                 example="packet-out br0 'in_port=controller,packet=ffffffffffff0200000000010806,actions=flood'"),
        _command("add-tlv-map", "tunnels", "make tunnel options fields", _SWITCH,
                 argument("map", metavar="MAP", help="{class=0xffff,type=0,len=4}->tun_metadata0"),
                 example="add-tlv-map br0 '{class=0xffff,type=0,len=4}->tun_metadata0'"),
        _command("del-tlv-map", "tunnels", "make tunnel options, or all, fields no more", _SWITCH,
                 argument("map", metavar="MAP", nargs="?", help="as for add-tlv-map")),
        _command("dump-tlv-map", "tunnels", "which tunnel options are fields", _SWITCH),
        _command("ct-flush-zone", "tunnels", "forget the tracked connections of a zone", _SWITCH,
                 argument("zone", metavar="ZONE", help="its number"), example="ct-flush-zone br0 1"),
        *(
            _command(name, "tunnels:refused", "not supported", _SWITCH,
                     argument("words", metavar="WORD", nargs="*", help="as ovs-ofctl takes them"))
            for name in ("ct-flush", "dump-ipfix-bridge", "dump-ipfix-flow")
        ),
        _command("monitor", "packets", "print what the switch tells, until Ctrl-C", _SWITCH,
                 argument("words", metavar="WORD", nargs="*", help="MISS_LEN: so many bytes of packets that no flow "
                 "takes; invalid_ttl: those with no time left; resume: let paused ones go on; watch:[!initial,!add,"
                 "!delete,!modify,!own,!actions,FLOW]: changes of flows"), example="monitor br0 65535 watch:table=1"),
        _command("snoop", "packets", "print what the switch and its controller say, until Ctrl-C", _SWITCH),
        _command("probe", "packets", "whether it answers", _TARGET, example="probe -t 5 tcp:127.0.0.1:6653"),
        _command("ping", "packets", "time ten echoes", _TARGET,
                 argument("size", metavar="N", nargs="?", type=int, default=64, help="bytes of each (default 64)"),
                 example="ping br0"),
        _command("benchmark", "packets", "echoes in a second", _TARGET,
                 argument("size", metavar="N", type=int, help="bytes of each"),
                 argument("count", metavar="COUNT", type=int, help="how many"), example="benchmark br0 64 10000"),
        _command("ofp-print", "offline", "print the message that hexadecimal digits are",
                 argument("message", metavar="HEX", help="the message"),
                 argument("verbosity", metavar="VERBOSITY", nargs="?", type=int, help="0 to 3 (default 2)"),
                 example="ofp-print 0405000800000001"),
        _command("ofp-parse", "offline", "print the messages of a file, as they stand on a connection", _FILE,
                 example="ofp-parse messages.bin"),
        _command("ofp-parse-pcap", "capture", "print the messages that tcpdump has recorded",
                 argument("file", metavar="FILE", help="as tcpdump -w writes it"),
                 argument("ports", metavar="PORT", nargs="*", default=(), help="of TCP (default 6633 and 6653)"),
                 example="ofp-parse-pcap openflow.pcap 6653"),
        _command("parse-flow", "offline:parse_flow_command", "what a flow becomes", _FLOW,
                 example="parse-flow 'tcp,actions=drop'"),
        _command("parse-flows", "offline:parse_flows_command", "what the flows of a file become", _FILE,
                 example="parse-flows flows.txt"),
        _command("parse-group", "offline:parse_group_command", "what a group becomes", _GROUP,
                 example="parse-group 'group_id=1,type=all,bucket=output:1'"),
    ),
    _COMMON,
    description="SWITCH is a bridge of vswitch or of Open vSwitch on this machine, or where one listens. Options may "
    "stand before\nand behind the command.",
    example="""
vswitch ofctl show br0
vswitch ofctl add-flow br0 'in_port=1,actions=output:2'
vswitch ofctl -O OpenFlow13 dump-flows br0
""",
    prepare=_prepare,
)  # fmt: skip
