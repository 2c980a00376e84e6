"""Writes docs/fields.md from the registry: `python -m vswitch.fields.generate [--check]`.

The page is for people who write matches and actions, so it tells what they may type. The C header of the
same registry is written by `vswitch.datapath.ebpf.generate`. Invariant: the text depends on the registry
alone, so a test can compare it with the file in the repository.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vswitch.fields.kinds import FRAGMENTS
from vswitch.fields.registry import FIELDS, KEY_BYTES, KEY_WORDS, SLOTS, Field, Slot

__all__ = ["fields_page", "main", "markdown_table", "write_or_check"]

FIELDS_PAGE = Path(__file__).parents[3] / "docs" / "fields.md"

_INTRODUCTION = """\
# Match fields

<!-- Generated from src/vswitch/fields/registry.py by `make generate`; do not edit. -->

Every place that names a field means one of these: `Match(tcp_dst=80)`, `key.tcp_dst`, `SetField("eth_dst", ...)`,
the flow text of `vswitch`. A value is a number, or text as the column *kind* says; bits that do not matter are masked
away with a pair `(value, mask)`, for addresses also with `/prefix`.

* **Text**: where the field stands in the flow text, `group(member=...)`; several where it depends on the packet.
* **Needs**: what a packet that has the field looks like. A match gets it added where only one value is possible.
* **Set**: whether a set action may rewrite the field.
"""

_KINDS = """\
## Kinds

| Kind | Written as |
|---|---|
| decimal, hexadecimal | a number in any base that Python reads: `80`, `0x50` |
| ethertype | `0x0800` |
| mac | `02:00:00:00:00:01` |
| ipv4, ipv6 | `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32` |
| fragment | {fragments} |
| flag sets | names joined by a bar, `syn\\|ack`, or a number |

The names of the flag sets, from bit 0 on:
"""


def _cell(text: str) -> str:
    return f"`{text}`" if text else ""


def _texts(view: Field) -> str:
    return ", ".join(_cell(f"{group}({member}=)" if member else f"{group}()") for group, member in view.texts)


def _needs(view: Field) -> str:
    def one(need: str, allowed: tuple[int, ...]) -> str:
        return f"{need}={' or '.join(FIELDS[need].format(value) for value in allowed)}"

    return ", ".join(one(need, allowed) for need, allowed in view.prerequisites)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table, line by line."""
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _place(slot: Slot) -> str:
    return f"{slot.offset}..{slot.offset + slot.size - 1}" if slot.size > 1 else str(slot.offset)


def _order(slot: Slot) -> str:
    return "" if slot.size == 1 else "network" if slot.wire else "host"


def _bits(view: Field) -> str:
    if view.bits == view.slot.size * 8:
        return ""
    return f" (bit {view.shift})" if view.bits == 1 else f" (bits {view.shift}..{view.shift + view.bits - 1})"


def _views(slot: Slot) -> str:
    views = (view for view in FIELDS.values() if view.slot is slot)
    return ", ".join(view.name + _bits(view) for view in views)


def fields_page() -> str:
    """The whole text of docs/fields.md."""
    lines = _INTRODUCTION.splitlines()
    lines += ["", "## Fields", ""]
    lines += markdown_table(
        ("Field", "Bits", "Kind", "Text", "Needs", "Set", "Meaning"),
        (
            (_cell(v.name), str(v.bits), v.kind.name, _texts(v), _needs(v), "yes" if v.settable else "", v.doc)
            for v in FIELDS.values()
        ),
    )
    kinds = {view.kind.name: view.kind for view in FIELDS.values()}
    fragment = next(view for view in FIELDS.values() if view.kind.name == "fragment")
    fragments = ", ".join(_cell(fragment.format(value)) for value in FRAGMENTS.values())
    lines += ["", *_KINDS.format(fragments=fragments).splitlines(), ""]
    lines += [f"* {kind.name}: {', '.join(kind.flag_names)}" for kind in kinds.values() if kind.flag_names]
    lines += ["", "## Where the bits lie", ""]
    lines += [
        f"The flow key is {KEY_BYTES} bytes, {KEY_WORDS} words of 64 bits: `union flow_key` in the kernel; in Python",
        "one int whose little-endian bytes are that union. No packet uses two slots that share bytes.",
        "",
    ]
    lines += markdown_table(
        ("Word", "Bytes", "Slot", "Byte order", "Fields"),
        ((str(s.offset // 8), _place(s), _cell(s.name), _order(s), _views(s)) for s in SLOTS.values()),
    )
    return "\n".join(lines) + "\n"


def write_or_check(path: Path, text: str, *, check: bool) -> int:
    """Makes `path` hold `text`, or with `check` says whether it does. Returns an exit status."""
    current = path.read_text(encoding="utf-8") if path.exists() else None
    if current == text:
        return 0
    if check:
        print(f"{path.name} is not what its generator writes: run `make generate`", file=sys.stderr)
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vswitch.fields.generate", description="Writes docs/fields.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file would change")
    options = parser.parse_args(arguments)
    return write_or_check(FIELDS_PAGE, fields_page(), check=options.check)


if __name__ == "__main__":
    sys.exit(main())
