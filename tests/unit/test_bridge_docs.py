"""The programs of docs/openflow-switch.md that need no network work as they are written there."""

from __future__ import annotations

import re
from typing import Any

from tests.tidy.source import ROOT

PAGE = (ROOT / "docs" / "openflow-switch.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_programs_work_one_after_another() -> None:
    names: dict[str, Any] = {}
    _controller, *programs = PROGRAMS
    assert len(programs) == 5
    for program in programs:
        exec(program, names)
