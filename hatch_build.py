"""Build hook of the wheel: compiles the eBPF object to where the package has it.

An editable installation runs from the source tree and gets the object there too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface):
    """Called by hatchling before it collects the files of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, unless the object is newer than its sources."""
        sys.path.insert(0, str(Path(self.root) / "src"))
        from vswitch.datapath.ebpf.compile import OBJECT, SOURCE, compile_object

        compile_object(SOURCE, OBJECT)
