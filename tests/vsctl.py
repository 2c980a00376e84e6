"""Two databases of the same kind, one for ovs-vsctl and one for vsctl: what each says, and what is in them then.

UUIDs differ, so they are left out of texts; databases are compared by what hangs on what (`content`).
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from tests.lab import patience
from vswitch.cli.vsctl.main import main

__all__ = ["PATIENCE_S", "Answer", "Server", "content", "environment", "lines", "ours", "plain", "theirs"]

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PATIENCE_S = 20.0
SCRIPTS = Path(__file__).parent / "scripts"

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SHORT = re.compile(r">[0-9a-f]{8}<")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:]+Z\|\d+\|", re.MULTILINE)
_TWICE = re.compile(r"^\|ovsdb_idl\|WARN\|transaction error.*\n", re.MULTILINE)


class Answer(NamedTuple):
    status: int
    out: str
    err: str


class Server:
    """A server of a database of its own. `kind`: "ours" or "theirs", with Debian's schema; "new": ours with our own."""

    def __init__(self, folder: Path, kind: str, options: Sequence[str] = (), more: Sequence[str] = ()) -> None:
        folder.mkdir()
        self.socket = folder / "db.sock"
        self.place = f"unix:{self.socket}"
        file = str(folder / "conf.db")
        vswitch = [sys.executable, "-m", "vswitch", "ovsdb"]
        create = (
            ["ovsdb-tool", "create", file, str(SCHEMA)]
            if kind == "theirs"
            else [*vswitch, "create", file, *([str(SCHEMA)] * (kind == "ours"))]
        )
        subprocess.run(create, check=True, timeout=PATIENCE_S * patience())
        command = ["ovsdb-server", file, f"--unixctl={folder}/ctl", "-vconsole:off"]
        if kind != "theirs":
            command = [*vswitch, *options, "server", file]
        self.process = subprocess.Popen(
            [*command, f"--remote=punix:{self.socket}", *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + PATIENCE_S * patience()
        while not self._answers():
            assert time.monotonic() < until, "nobody listens"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def call(self, method: str, *params: Any) -> Any:
        """The result."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.socket))
            connection.sendall(json.dumps({"method": method, "params": params, "id": 1}).encode())
            text = ""
            while True:
                text += connection.recv(1 << 20).decode()
                try:
                    found = json.loads(text)
                except ValueError:
                    continue
                assert found["error"] is None
                return found["result"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S * patience())


def lines(name: str) -> list[list[str]]:
    """The words of each line of a script that is no comment."""
    text = (SCRIPTS / name).read_text(encoding="utf-8")
    return [shlex.split(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def theirs(server: Server, words: Sequence[str], *, wait: bool = False) -> Answer:
    """What ovs-vsctl says."""
    command = ["ovs-vsctl", f"--db={server.place}", *([] if wait else ["--no-wait"]), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S * patience())
    return Answer(done.returncode, done.stdout, done.stderr)


def ours(server: Server, words: Sequence[str], *, wait: bool = False) -> Answer:
    """What vsctl says, within this process."""
    out, err = io.StringIO(), io.StringIO()
    line = [f"--db={server.place}", "--no-syslog", *([] if wait else ["--no-wait"]), *words]
    with redirect_stdout(out), redirect_stderr(err):
        status = main(line)
    return Answer(status, out.getvalue(), err.getvalue())


def plain(answer: Answer, *, by_lines: bool = False) -> tuple[int, list[str], str]:
    """Without UUIDs and times, and with records in an order of their own; `by_lines`: lines, as of several commands."""
    err = _TWICE.sub("", _STAMP.sub("|", UUID.sub("UUID", answer.err)))
    return answer.status, _sorted(answer.out, by_lines), err


def _sorted(text: str, by_lines: bool) -> list[str]:
    text = _SHORT.sub(">UUID<", UUID.sub("UUID", text))
    if text.startswith("{") and not by_lines:
        return sorted(text.rstrip("\n").split("],["))
    text = "\n".join(map(_sorted_json, text.split("\n")))
    if by_lines or "\n    " in text or "\\n    " in text:  # of show: what is under what follows from the database
        return sorted(text.replace("\\n", "\n").split("\n"))
    return sorted(text.rstrip("\n").split("\n\n"))


def _sorted_json(line: str) -> str:
    if not line.startswith('{"data"'):
        return line
    found = json.loads(line)
    return json.dumps({**found, "data": sorted(found["data"], key=str)})


def content(server: Server) -> Any:
    """All tables, each row with what it refers to in the place of UUIDs."""
    schema = server.call("get_schema", "Open_vSwitch")
    names = sorted(schema["tables"])
    columns = {name: sorted(schema["tables"][name]["columns"]) for name in names}
    select = [{"op": "select", "table": name, "where": [], "columns": ["_uuid", *columns[name]]} for name in names]
    results = server.call("transact", "Open_vSwitch", *select)
    rows = {row["_uuid"][1]: (name, row) for name, found in zip(names, results, strict=True) for row in found["rows"]}

    def seen(value: Any, depth: int) -> Any:
        if isinstance(value, list) and len(value) == 2 and value[0] == "uuid":
            found = rows.get(value[1])
            return "?" if found is None or depth > 6 else described(*found, depth + 1)
        if isinstance(value, list):
            return sorted((seen(each, depth) for each in value), key=str)
        return value

    def described(name: str, row: Any, depth: int) -> Any:
        return [name, {key: seen(value, depth) for key, value in row.items() if key != "_uuid"}]

    return sorted((described(name, row, 0) for name, row in rows.values()), key=str)


def environment() -> dict[str, str]:
    """That of a process which has none of Open vSwitch's own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OVS_")}
