"""What `--help`, `--version`, `--commands` and `--options` print; all follows from the tables."""

from __future__ import annotations

from vswitch.base.version import VERSION
from vswitch.cli.vsctl.options import GLOBAL, SHORT
from vswitch.cli.vsctl.records import NAMES
from vswitch.cli.vsctl.table import COMMANDS, GROUPS, Command

__all__ = ["COMPATIBLE", "EXAMPLES", "OPTIONS", "text", "usage"]

COMPATIBLE = "3.1.0"
"""The Open vSwitch whose ovs-vsctl this is like. Scripts take the first version that they see, and ask what it is
greater than."""

SCHEMA = "8.3.2"

OPTIONS: tuple[tuple[str, str], ...] = (
    ("--db=SERVERS", ("ask one of these: unix:FILE, tcp:HOST[:PORT], ssl:HOST[:PORT]; or wait for it to come: "
     "punix:FILE, ptcp:[PORT][:HOST], pssl:[PORT][:HOST] (default: db.sock in the run directory)")),
    ("--no-wait", "do not wait for the daemon to have done it"),
    ("--retry", "try again until a server answers"),
    ("-t, --timeout=SECONDS", "end by SIGALRM after that time (default: OVS_CTL_TIMEOUT, else never)"),
    ("--dry-run", "change nothing"),
    ("--oneline", "print one line for each command, with \\n in it for the end of a line"),
    ("-f, --format=FORMAT", "of records: list (default), table, csv, html or json"),
    ("-d, --data=FORMAT", "of values in records: string (default), bare or json"),
    ("--no-headings", "records without the names of their columns"),
    ("--pretty", "JSON of several lines"),
    ("--bare", "--format=list --data=bare --no-headings"),
    ("--max-column-width=N", "cut cells of tables to N characters"),
    ("-p, --private-key=FILE", "PEM, for ssl: and pssl:"),
    ("-c, --certificate=FILE", "PEM, for ssl: and pssl:"),
    ("-C, --ca-cert=FILE", "PEM, that of the authority that signs the peers'; none: do not check"),
    ("--bootstrap-ca-cert=FILE", "the same; the file has to be there"),
    ("--peer-ca-cert=FILE", "PEM, another authority that may have signed the peers'"),
    ("--ssl-ciphers=LIST", "which may be used"),
    ("-v, --verbose=[WORDS]", "what to say on the standard error: off, err, warn (default), info, dbg"),
    ("--log-file[=FILE]", "say it in a file, too"),
    ("--no-syslog", "do not tell the system log of changes"),
    ("-h, --help", "print this"),
    ("-V, --version", "print versions"),
    ("--commands, --options", "print what there is, for shells to complete"),
)  # fmt: skip
"""Of the whole, with their meaning. --ssl-protocols, --syslog-method, --syslog-target, --leader-only and
--shuffle-remotes with their opposites are taken and mean nothing."""

EXAMPLES = (
    "add-br br0 -- add-port br0 eth1 tag=10",
    "set bridge br0 fail_mode=secure",
    "-- --id=@m create mirror name=m select_all=true -- set bridge br0 mirrors=@m",
    "--columns=name,ofport find interface type=internal",
    "show",
)


def text(what: str, program: str) -> str:
    """`what`: "help", "version", "commands" or "options"."""
    if what == "version":
        return f"ovs-vsctl (Open vSwitch) {COMPATIBLE}, as vswitch {VERSION} has it\nDB Schema {SCHEMA}\n"
    if what == "commands":
        return "".join(f"{_options(each)},{each.name},{each.arguments}\n" for each in COMMANDS.values())
    if what == "options":
        return "".join(_option_lines())
    return _help(program)


def _options(command: Command) -> str:
    return "".join(f"[{each}] " for each in command.options)


def _option_lines() -> list[str]:
    letters = {name: letter for letter, name in SHORT.items()}
    found = []
    for name, takes in GLOBAL.items():
        value = "" if takes is False else "ARG"
        found.append(f"--{name}={value}\n" if value else f"--{name}\n")
        if name in letters:
            found.append(f"-{letters[name]} {value}".rstrip() + "\n")
    return found


def _help(program: str) -> str:
    lines = [
        f"usage: {program} [option...] [--] [option...] COMMAND [ARG...] [-- [option...] COMMAND [ARG...]]...",
        "",
        "The configuration of the switch, in its database: ask for it and change it, as ovs-vsctl does.",
        "All commands are done as one transaction, or none of them.",
    ]
    for group in GROUPS:
        lines += ["", f"{group} commands:"]
        lines += [line for command in COMMANDS.values() if command.group == group for line in _lines(command)]
    lines += ["", "Records are named by their UUID or its first digits, by . if there is one alone, and:"]
    for table, (holder, column, reference) in NAMES.items():
        through = f"the {holder} of this {column}, by its {reference}" if reference else column
        lines.append(f"  {table:26}by {through}")
    lines += ["", "options:"]
    for option, meaning in OPTIONS:
        lines += _wrapped(option, meaning)
    lines += ["", "example:", *(f"  {program} {each}" for each in EXAMPLES)]
    return "\n".join([*lines, ""])


def usage(command: Command) -> str:
    """Options, name and words: `[--may-exist] add-br NEW-BRIDGE [PARENT] [NEW-VLAN]`."""
    forms = {"!": "{}", "?": "[{}]", "+": "{}...", "*": "[{}]..."}
    words = [forms[word[0]].format(_plain(word[1:])) for word in command.arguments.split()]
    options = [f"[{each}{_value(each)}]" for each in command.options]
    return " ".join([*options, command.name, *words])


def _plain(word: str) -> str:
    return word.replace("?:KEY", "[:KEY]").replace("?KEY=", "[KEY=]").replace("[KEY=]VALUE", "[KEY=]VALUE")


def _value(option: str) -> str:
    return {"--id=": "@NAME", "--columns=": "COLUMNS", "--inactivity-probe=": "MSECS"}.get(option, "")


def _lines(command: Command) -> list[str]:
    return _wrapped(usage(command), command.summary)


def _wrapped(head: str, meaning: str, width: int = 118, indent: int = 30) -> list[str]:
    """The meaning beside its head, or under it."""
    lines = [f"  {head:{indent - 3}} "]
    if len(lines[0]) > indent:
        lines = [f"  {head}", " " * indent]
    for word in meaning.split():
        if len(lines[-1]) + len(word) > width and lines[-1].strip():
            lines.append(" " * indent)
        lines[-1] += word + " "
    return [line.rstrip() for line in lines]
