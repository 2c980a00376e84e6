"""The commands of `vswitch`."""

from __future__ import annotations

from vswitch import __version__
from vswitch.cli.arguments import Command, Group, Program, argument
from vswitch.cli.dpctl.table import DPCTL
from vswitch.cli.ofctl.table import OFCTL
from vswitch.cli.ovsdb.table import OVSDB
from vswitch.cli.vsctl.program import VSCTL

__all__ = ["RUN", "SHELLS", "VSWITCH"]

SHELLS = ("bash", "zsh", "fish")

_TARGETS = "tcp:HOST[:PORT], ssl:HOST[:PORT] or unix:FILE"
_PLACES = "ptcp:[PORT][:HOST], pssl:[PORT][:HOST] or punix:FILE"

RUN = Command(
    "run",
    "be an OpenFlow switch, until Ctrl-C",
    "vswitch.cli.run:run",
    (
        argument("bridge", metavar="BRIDGE", help="its name, and that of its local port"),
        argument("--port", action="append", default=[], metavar="IFACE", dest="ports",
                 help="a device to be a port (may be given again); behind commas its number, if that is to be other "
                 "than 1, 2, ..., and its VLANs: port_no=7, tag=10 (an access port), trunks=10,20-29, "
                 "vlan_mode=access, trunk, native-tagged or native-untagged"),
        argument("--controller", action="append", default=[], metavar="TARGET", dest="controllers",
                 help=f"a controller to connect to: {_TARGETS} (may be given again)"),
        argument("--listen", action="append", default=[], metavar="TARGET",
                 help=f"where controllers may connect: {_PLACES} (may be given again)"),
        argument("--fail-mode", choices=("standalone", "secure"), default="standalone", metavar="MODE",
                 help="without a controller be a learning switch (standalone, the default), or do what the flows say "
                 "and no more (secure)"),
        argument("--datapath-id", metavar="HEX", help="16 hexadecimal digits (default: a port's lowest address)"),
        argument("--protocols", metavar="VERSIONS", default="",
                 help="OpenFlow versions to speak, such as OpenFlow10,OpenFlow13 (default: all, 1.0 to 1.5)"),
        argument("--keep", action="store_true",
                 help="leave datapath and megaflows when it ends: traffic goes on, and the next run takes them over"),
        argument("--no-local", action="store_true", help="without a local port"),
        argument("--simulate", action="store_true",
                 help="on a simulated datapath, which needs no root and no devices; ports are but names then"),
        argument("--management", metavar="TARGET", default="",
                 help="where ovs-ofctl may connect (default punix:/run/vswitch/BRIDGE.mgmt; none: nowhere)"),
        argument("--snoop", metavar="TARGET", default="",
                 help="where ovs-ofctl may listen to what controllers say (default: nowhere)"),
        argument("--control", metavar="TARGET", default="",
                 help="where vswitch appctl and ovs-appctl may connect "
                 "(default punix:/run/vswitch/BRIDGE.PID.ctl; none: nowhere)"),
        argument("--probe", type=float, default=5.0, metavar="SECONDS",
                 help="ask a controller that has been silent so long whether it is there (default 5; 0: never)"),
        argument("--max-backoff", type=float, default=8.0, metavar="SECONDS",
                 help="between attempts to connect, at most (default 8)"),
        argument("--packet-in-rate", type=int, default=0, metavar="N",
                 help="packet-ins a second to each controller, ports alike (default 0: no bound)"),
        argument("--packet-in-burst", type=int, default=0, metavar="N", help="so many at once after a pause"),
        argument("--new-flow-rate", type=int, default=0, metavar="N",
                 help="packets of new flows a second that each port may have looked at (default 0: no bound)"),
        argument("--max-flows", type=int, default=1_000_000, metavar="N",
                 help="in each table; more are refused (default 1000000)"),
        argument("--max-megaflows", type=int, default=100_000, metavar="N",
                 help="in the datapath; the idlest go (default 100000)"),
        argument("--mac-age", type=int, default=300, metavar="SECONDS",
                 help="how long NORMAL knows an address that it does not hear of (default 300)"),
        argument("--max-macs", type=int, default=8192, metavar="N",
                 help="addresses that NORMAL knows; the port with most of them loses some (default 8192)"),
        argument("--restore", type=float, default=10.0, metavar="SECONDS",
                 help="how long megaflows that were taken over go on at most, while controllers load the flows anew "
                 "(default 10)"),
        argument("--private-key", metavar="FILE", help="PEM, for ssl: and pssl:"),
        argument("--certificate", metavar="FILE", help="PEM, for ssl: and pssl:"),
        argument("--ca-cert", metavar="FILE", help="PEM, that of the authority that signs the controllers'"),
    ),
    description="It runs in the foreground, needs no database and no other program, and removes what it has made when "
    "it ends,\nunless --keep is given.",
    example="vswitch run br0 --port veth1 --port veth2 --controller tcp:127.0.0.1:6653 --fail-mode secure",
)  # fmt: skip

VSWITCHD = Command(
    "vswitchd",
    "be the switches that the database Open_vSwitch describes, until Ctrl-C",
    "vswitch.cli.vswitchd:run",
    (
        argument("database", nargs="?", default="", metavar="DATABASE",
                 help="its file (default: conf.db in OVS_DBDIR, else /var/lib/vswitch/conf.db), which is made if it is "
                 "not there"),
        argument("--db", default="", metavar="SERVER",
                 help="follow the database of another server instead: unix:FILE, tcp:HOST[:PORT] or ssl:HOST[:PORT]"),
        argument("--remote", action="append", default=[], dest="remotes", metavar="REMOTE",
                 help="where else the database is served (may be given again), besides punix:RUNDIR/db.sock and what "
                 "its manager_options say"),
        argument("--private-key", metavar="FILE", help="PEM, for ssl:"),
        argument("--certificate", metavar="FILE", help="PEM, for ssl:"),
        argument("--ca-cert", metavar="FILE", help="PEM, that of the authority that signs the peers'"),
        argument("--rundir", default="", metavar="FOLDER",
                 help="where sockets are (default: OVS_RUNDIR, else /run/vswitch)"),
        argument("--detach", action="store_true",
                 help="go to the background; the command ends when the daemon is ready, or with its exit status"),
        argument("--log-file", metavar="FILE", help="where messages are written, too"),
        argument("--syslog-target", metavar="TARGET",
                 help="a syslog that messages are sent to: the path of its socket, or HOST:PORT"),
        argument("-v", "--verbose", action="append", default=[], metavar="SPEC",
                 help="as vlog/set: MODULE:DESTINATION:LEVEL, such as file:dbg (may be given again)"),
    ),
    description="It serves the database, makes bridges, ports and devices as it says, and writes into it what has "
    "become of them.\nWhen it ends they forward on, and the next one takes them over.",
    example="vswitch vswitchd conf.db --rundir /run/vswitch",
)  # fmt: skip

_STARTING = (
    argument("--db-file", default="", metavar="FILE",
             help="the database (default: conf.db in OVS_DBDIR, else /var/lib/vswitch/conf.db)"),
    argument("--system-id", default="", metavar="ID",
             help="what the database is to call this machine; random: a new name, if it has none"),
    argument("-v", "--verbose", action="append", default=[], metavar="SPEC",
             help="levels of the log, MODULE:DESTINATION:LEVEL, such as file:dbg (may be given again)"),
)  # fmt: skip

LIFE = (
    Command("start", "start the daemon in the background, unless it runs", "vswitch.cli.life:start", _STARTING,
            example="vswitch start --system-id=random"),
    Command("stop", "end the daemon; bridges forward on", "vswitch.cli.life:stop", example="vswitch stop"),
    Command("restart", "stop and start; packets are forwarded meanwhile", "vswitch.cli.life:restart", _STARTING,
            example="vswitch restart"),
    Command("status", "say whether the daemon runs; status 1 if not", "vswitch.cli.life:status",
            example="vswitch status"),
    Command("force-reload-kmod", "as restart: there is no kernel module", "vswitch.cli.life:reload", _STARTING,
            example="vswitch force-reload-kmod"),
    Command("install-compat", "install the tools under the names of Open vSwitch's", "vswitch.cli.compat:install",
            (argument("--prefix", default="/usr/local", metavar="FOLDER", help="in its bin (default /usr/local)"),
             argument("--uninstall", action="store_true", help="remove them again")),
            description="They are ovs-appctl, ovs-ctl, ovs-dpctl, ovs-ofctl, ovs-vsctl, ovs-vswitchd, ovsdb-client,\n"
            "ovsdb-server and ovsdb-tool, and look where those look.\nWhere Open vSwitch's own are installed it is "
            "refused.",
            example="vswitch install-compat --prefix /usr/local"),
)  # fmt: skip

VSWITCH = Group(
    "vswitch",
    "A programmable virtual switch for Linux",
    (
        DPCTL,
        RUN,
        VSWITCHD,
        *LIFE,
        OFCTL,
        Program(
            "appctl",
            "ask a bridge that is at work: what becomes of a packet, what it has learned",
            "vswitch.cli.appctl",
            (
                argument(
                    "-t",
                    "--target",
                    metavar="TARGET",
                    help="the name of a bridge (or of a daemon of Open vSwitch), or the path of its socket",
                ),
                argument("-T", "--timeout", type=float, metavar="SECONDS", help="wait no longer (default: for ever)"),
                argument(
                    "-f",
                    "--format",
                    choices=("text", "json"),
                    default="text",
                    metavar="FORMAT",
                    help="text (the default) or json",
                ),
                argument("--pretty", action="store_true", help="JSON of several lines"),
                argument("command", metavar="COMMAND", help="what is to be done"),
                argument("words", metavar="ARG", nargs="...", help="what the command needs"),
            ),
            example="""
vswitch appctl ofproto/trace br0 in_port=1,tcp,tcp_dst=80
vswitch appctl -f json fdb/show br0
vswitch appctl list-commands
""",
        ),
        OVSDB,
        VSCTL,
        Command(
            "explain",
            "tell what a policy would do with a packet",
            "vswitch.cli.explain:explain",
            (
                argument("policy", metavar="POLICY", help="FILE.py:NAME or MODULE:NAME"),
                argument("packet", metavar="PACKET", help="the frame in hexadecimal, Ethernet header first"),
                argument("--in-port", type=int, default=1, metavar="PORT", help="that it comes in by (default 1)"),
                argument("--json", action="store_true", help="as one line of JSON"),
            ),
            description="Runs the policy on the packet, in this process. No datapath is touched, and root not needed.",
            example="vswitch explain switch.py:policy ffffffffffff0200000000010806 --in-port 2",
        ),
        Program(
            "demo",
            "show what the switch does, in network namespaces of its own",
            "vswitch.cli.demo",
            (
                argument("--fast", action="store_true", help="measure once instead of five times"),
                argument("--no-bridge", action="store_true", help="measure no Linux bridge beside it"),
            ),
            example="sudo vswitch demo --fast",
        ),
        Program(
            "completion",
            "print a script that lets a shell complete this command line",
            "vswitch.cli.completion",
            (argument("shell", metavar="SHELL", choices=SHELLS, help="the shell that is to complete"),),
            example="""
source <(vswitch completion bash)
vswitch completion zsh >/usr/local/share/zsh/site-functions/_vswitch
vswitch completion fish >~/.config/fish/completions/vswitch.fish
""",
        ),
    ),
    description="`vswitch COMMAND --help` says more about each command.",
    example="""
vswitch dpctl add-dp dp0 veth1 veth2
vswitch dpctl add-flow dp0 'in_port(1)' 2
vswitch dpctl add-flow dp0 'in_port(2)' 1
vswitch dpctl dump-flows dp0
""",
    version=f"vswitch {__version__}",
)
