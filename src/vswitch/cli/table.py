"""The commands of `vswitch`."""

from __future__ import annotations

from vswitch import __version__
from vswitch.cli.arguments import Group, Program, argument
from vswitch.cli.dpctl.table import DPCTL

__all__ = ["SHELLS", "VSWITCH"]

SHELLS = ("bash", "zsh", "fish")

VSWITCH = Group(
    "vswitch",
    "A programmable virtual switch for Linux",
    (
        DPCTL,
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
