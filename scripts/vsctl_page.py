"""Writes docs/vsctl.md: `python -m scripts.vsctl_page`. What `vswitch vsctl` can do, from its own tables.

Invariant: each command and each option has a row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from vswitch.cli.vsctl.help import EXAMPLES, OPTIONS, usage
from vswitch.cli.vsctl.records import NAMES
from vswitch.cli.vsctl.table import COMMANDS, GROUPS
from vswitch.fields.generate import markdown_table, write_or_check

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[1] / "docs" / "vsctl.md"

_HEAD = """\
# vswitch vsctl

<!-- Written by scripts/vsctl_page.py: change that, and run `make generate`. -->

`vswitch vsctl` asks for the configuration in the database `Open_vSwitch` and changes it, with the command lines and the
output of `ovs-vsctl` 3.1. It works with `vswitch ovsdb server` and with `ovsdb-server` alike.

```
vswitch vsctl [option...] [--] [option...] COMMAND [ARG...] [-- [option...] COMMAND [ARG...]]...
```

Commands are separated by `--`, and done as one transaction: all of them, or none. What one has changed, the next sees.
When somebody else changes what they were decided by, they run again on what is there then. Afterwards it waits until
the daemon has done it (`--no-wait`: it does not), and says which new interfaces it could not set up.

It asks `/run/vswitch/db.sock`, and when it is called `ovs-vsctl` Open vSwitch's `/var/run/openvswitch/db.sock`;
`OVS_RUNDIR` says where both look, `--db` which server.

The exit status is 0 when it is done; 1 when it could not be, and a sentence on the standard error says why; 2 as the
answer no of `br-exists`. After `--timeout` it ends by SIGALRM.
"""

_WORDS = """\
## Words

**Tables and columns** may be short for one alone, in capitals or not, with `-` or `_`: `fail-mode` is `fail_mode`, and
`trunk` is `trunks`.

**Records** are named by their UUID, by four or more digits that only one begins with, by `.` where there is one alone,
and by what this table says:
"""

_VALUES = """\
**Values** are words with `,` or spaces between them, in brackets or not: `5`, `1,2`, `[1, 2]`, `k=v,l=w`, `{k=v}`; the
empty ones are `[]` and `{}`. Integers may be a range, `10-20`. Strings with blanks, quotes or one of `:=,[]{}!<>` in
them are in quotes as in JSON: `'"tcp:1.2.3.4"'`, with quotes of the shell around them. `@NAME` is the record
that `--id=@NAME` of another `create` or `get` names.

**Conditions** of `find` and `wait-until` are `COLUMN[:KEY]` with an operator and a value. `=`, `!=`, `<`, `>`, `<=` and
`>=` compare: the value with more elements is greater. Those of sets ask which is part of which: `{=}`, `{!=}`, `{<}`,
`{>}`, `{<=}`, `{>=}`, `{in}`, `{not-in}`. With a key that a record does not have, the first are never fulfilled, and
the others take the empty set.
"""

_DIFFERENCES = """\
## What differs from ovs-vsctl

* Records of a table come ordered by UUID, where ovs-vsctl has them in the order of a hash.
* `add` on a column that holds one value is refused by a sentence of its own; ovs-vsctl lets the server refuse it.
* `del-aa-mapping` takes away the mapping that it names; ovs-vsctl 3.1 takes others of the same VLAN with it.
* Words that ovs-vsctl reads as something by chance, such as a zone without `zone=NUMBER` or a policy without a value,
  are refused.
* A transaction is guarded by what its commands were decided by, not by all bridges and ports; the result is the same.
* `--bootstrap-ca-cert` needs the file to be there: the certificate is not fetched from the server.
* `--ssl-protocols`, `--syslog-method`, `--syslog-target`, `--leader-only`, `--shuffle-remotes` and their opposites are
  taken, and mean nothing.
* Of what goes on inside, `-v` shows the requests.
"""


def page() -> str:
    """The whole."""
    return "\n".join(_parts())


def _parts() -> Iterator[str]:
    yield _HEAD
    yield "## Commands\n"
    for group in GROUPS:
        yield f"### {group}\n"
        rows = [(_code(usage(each)), each.summary) for each in COMMANDS.values() if each.group == group]
        yield from markdown_table(("Command", ""), rows)
        yield ""
    yield "## Options\n"
    yield from markdown_table(("Option", ""), [(_code(option), meaning) for option, meaning in OPTIONS])
    yield ""
    yield _WORDS
    rows = []
    for table, (holder, column, reference) in NAMES.items():
        through = f"the `{holder}` of this `{column}`, by its `{reference}`"
        rows.append((f"`{table}`", through if reference else f"`{column}`"))
    yield from markdown_table(("Table", "named by"), rows)
    yield ""
    yield _VALUES
    yield "## Examples\n"
    yield "\n".join(["```sh", *(f"vswitch vsctl {each}" for each in EXAMPLES), "```", ""])
    yield _DIFFERENCES


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), check="--check" in sys.argv))
