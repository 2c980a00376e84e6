"""The commands of `vswitch`."""

from __future__ import annotations

from vswitch import __version__
from vswitch.cli.arguments import Command, Group, Program, argument
from vswitch.cli.dpctl.table import DPCTL

__all__ = ["SHELLS", "VSWITCH"]

SHELLS = ("bash", "zsh", "fish")

VSWITCH = Group(
    "vswitch",
    "A programmable virtual switch for Linux",
    (
        DPCTL,
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
