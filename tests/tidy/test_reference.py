"""docs/reference/ is what its generator writes, has every public name with a docstring, and no link leads nowhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import vswitch
import vswitch.testing
from scripts.reference import REFERENCE, Entry, entries, pages
from scripts.reference_groups import ALSO, GROUPS, INTERNAL
from tests.tidy.source import ROOT

LINK = re.compile(r"\[[^\]]+\]\(([^)#]*)(?:#([^)]+))?\)")


def shown() -> list[Entry]:
    return [each for entry in entries().values() for each in (entry, *entry.members)]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings: one that is there already gets a number."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


@pytest.mark.parametrize(("path", "text"), pages().items(), ids=lambda value: getattr(value, "name", ""))
def test_page_is_up_to_date(path: Path, text: str) -> None:
    assert path.exists(), "run `make generate`"
    assert path.read_text(encoding="utf-8") == text, "run `make generate`"


def test_there_is_no_other_page() -> None:
    assert {path for path in REFERENCE.iterdir() if path not in pages()} == set()


def test_every_public_name_is_in_one_group() -> None:
    listed = Counter(name for _, _, names in GROUPS.values() for name in names.split())
    assert [name for name, times in listed.items() if times > 1] == []
    public = {*vswitch.__all__, *vswitch.testing.__all__}
    assert listed.keys() == public | ALSO.keys(), "scripts/reference_groups.py says which group a name is in"
    assert not public & ALSO.keys()


def test_every_public_name_has_a_docstring() -> None:
    assert [each.name for each in shown() if not each.doc] == []


def test_internal_members_are_there() -> None:
    classes = {name: getattr(vswitch, name, None) for name in entries()}
    gone = [
        each
        for each in INTERNAL
        if (owner := classes[each.partition(".")[0]]) and not hasattr(owner, each.partition(".")[2])
        if not each.startswith("Flows.on_")  # of the instance
    ]
    assert gone == []


@pytest.mark.parametrize("page", sorted(pages()), ids=lambda page: page.name)
def test_no_link_leads_nowhere(page: Path) -> None:
    broken = []
    for file, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / file).resolve() if file else page
        if not target.is_relative_to(ROOT) or not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{file}#{anchor}")
    assert broken == []
