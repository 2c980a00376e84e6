"""The commands of `vswitch ovsdb`: one row each, with the words of ovsdb-tool(1) and ovsdb-client(1)."""

from __future__ import annotations

from vswitch.cli.arguments import Argument, Command, Group, argument

__all__ = ["OVSDB"]

_COMMANDS = "vswitch.cli.ovsdb"

_COMMON = (
    argument("-f", "--format", choices=("table", "list", "csv", "json"), default="table", metavar="FORMAT",
             help="of tables: table (default), list, csv, json"),
    argument("--no-headings", action="store_true", help="tables without their first lines"),
    argument("-t", "--timeout", type=int, metavar="SECONDS", help="give up after that time"),
    argument("-p", "--private-key", metavar="FILE", help="PEM, for ssl:"),
    argument("-c", "--certificate", metavar="FILE", help="PEM, for ssl:"),
    argument("-C", "--ca-cert", metavar="FILE", help="PEM, that of the authority that signs the peers'"),
)  # fmt: skip


def _place(help: str = "FILE, or a server: unix:FILE, tcp:HOST[:PORT], ssl:HOST[:PORT]") -> Argument:
    return argument("place", metavar="PLACE", help=help)


_SERVER = _place("unix:FILE, tcp:HOST[:PORT] or ssl:HOST[:PORT]")
_FILE = argument("place", metavar="FILE", help="of the database")
_SCHEMA = argument("schema", metavar="SCHEMA", help="a file with a schema as JSON")
_OPTIONAL_SCHEMA = argument("schema", nargs="?", metavar="SCHEMA",
                            help="a file with a schema as JSON (default: that of Open_vSwitch)")  # fmt: skip
_DATABASE = argument("database", nargs="?", metavar="DATABASE", help="its name (default: the only one there)")
_TRANSACTION = argument("transaction", metavar="TRANSACTION", help='JSON: ["DATABASE", OPERATION...] (RFC 7047, 4.1.3)')

OVSDB = Group(
    "ovsdb",
    "databases: serve them, ask them, look after their files",
    (
        Command(
            "server", "serve databases, until Ctrl-C", f"{_COMMANDS}.serve:serve",
            (
                argument("files", nargs="+", metavar="FILE", help="of a database"),
                argument("--remote", action="append", default=[], dest="remotes", metavar="REMOTE",
                         help="where: punix:FILE, ptcp:[PORT][:HOST], pssl:[PORT][:HOST], a client to connect to, or "
                         "db:DATABASE,TABLE,COLUMN (may be given again)"),
                argument("--rundir", default="", metavar="FOLDER",
                         help="have a pid file and a control socket there, by which `vswitch appctl -t ovsdb-server` "
                         "finds it (with --detach: by default OVS_RUNDIR, else /run/vswitch)"),
                argument("--detach", action="store_true",
                         help="go to the background; the command ends when databases are served"),
                argument("--log-file", metavar="FILE", help="where messages are written, too"),
                argument("-v", "--verbose", action="append", default=[], metavar="SPEC",
                         help="as vlog/set: MODULE:DESTINATION:LEVEL (may be given again)"),
            ),
            example="vswitch ovsdb server conf.db --remote=punix:/run/vswitch/db.sock",
        ),
        Command("create", "make a file with an empty database", f"{_COMMANDS}.files:create", (_FILE, _OPTIONAL_SCHEMA),
                example="vswitch ovsdb create conf.db"),
        Command("compact", "make a file as short as it can be", f"{_COMMANDS}.files:compact",
                (_FILE, argument("target", nargs="?", metavar="TARGET", help="write there (default: in place)")),
                example="vswitch ovsdb compact conf.db"),
        Command("convert", "give a database another schema", f"{_COMMANDS}.commands:convert",
                (_place(), _OPTIONAL_SCHEMA),
                example="vswitch ovsdb convert conf.db new.ovsschema"),
        Command("needs-conversion", "whether a database has another schema: yes or no",
                f"{_COMMANDS}.commands:needs_conversion", (_place(), _OPTIONAL_SCHEMA),
                example="vswitch ovsdb needs-conversion unix:db.sock"),
        Command("transact", "run a transaction", f"{_COMMANDS}.commands:transact", (_place(), _TRANSACTION),
                example="""vswitch ovsdb transact conf.db '["Open_vSwitch",{"op":"insert","table":"QoS","row":{}}]'"""),
        Command("query", "run a transaction that only reads", f"{_COMMANDS}.commands:query", (_place(), _TRANSACTION),
                example="""vswitch ovsdb query conf.db '["Open_vSwitch",{"op":"select","table":"SSL","where":[]}]'"""),
        Command("dump", "show tables", f"{_COMMANDS}.commands:dump",
                (_place(), argument("words", nargs="*", metavar="WORD", help="[DATABASE [TABLE [COLUMN...]]]")),
                example="vswitch ovsdb dump unix:db.sock Open_vSwitch Bridge name ports"),
        Command("get-schema", "show a schema as JSON", f"{_COMMANDS}.commands:get_schema", (_place(), _DATABASE),
                example="vswitch ovsdb get-schema unix:db.sock"),
        Command("db-name", "the name of the database in a file", f"{_COMMANDS}.files:db_name", (_FILE,),
                example="vswitch ovsdb db-name conf.db"),
        Command("db-version", "the version of a database's schema", f"{_COMMANDS}.commands:db_version",
                (_place(), _DATABASE), aliases=("get-schema-version",),
                example="vswitch ovsdb db-version conf.db"),
        Command("schema-name", "the name that a schema gives its databases", f"{_COMMANDS}.files:schema_name",
                (_OPTIONAL_SCHEMA,),
                example="vswitch ovsdb schema-name vswitch.ovsschema"),
        Command("schema-version", "the version of a schema", f"{_COMMANDS}.files:schema_version", (_OPTIONAL_SCHEMA,),
                example="vswitch ovsdb schema-version"),
        Command("show-log", "show what was done to a database, as its file has it", f"{_COMMANDS}.files:show_log",
                (_FILE,),
                example="vswitch ovsdb show-log conf.db"),
        Command("backup", "write all that a server has in a database", f"{_COMMANDS}.copies:backup",
                (_SERVER, _DATABASE), example="vswitch ovsdb backup unix:db.sock >conf.backup"),
        Command("restore", "put a backup in the place of all that a server has", f"{_COMMANDS}.copies:restore",
                (_SERVER, _DATABASE,
                 argument("--force", action="store_true", help="also with another schema: what both have")),
                example="vswitch ovsdb restore unix:db.sock <conf.backup"),
        Command("list-dbs", "the databases of a server", f"{_COMMANDS}.commands:list_dbs", (_SERVER,),
                example="vswitch ovsdb list-dbs unix:db.sock"),
        Command("monitor", "show rows, and what becomes of them, until Ctrl-C", f"{_COMMANDS}.commands:monitor",
                (_SERVER, argument("words", nargs="+", metavar="WORD",
                                   help="[DATABASE] TABLE [COLUMN,...] [TABLE [COLUMN,...]]..., or ALL")),
                example="vswitch ovsdb monitor unix:db.sock Open_vSwitch Port name,tag"),
    ),
    arguments=_COMMON,
    description="A PLACE is a file, or a server that has the database. A file is locked while it is changed, as Open "
    "vSwitch's\nprograms lock it.",
    example="""
vswitch ovsdb create conf.db
vswitch ovsdb server conf.db --remote=punix:db.sock
vswitch ovsdb dump unix:db.sock Open_vSwitch Bridge name ports
""",
)  # fmt: skip
