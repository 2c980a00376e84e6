"""Generated files are what their generators write, and the C compiler agrees with Python about the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import openflow_page, vsctl_page
from vswitch.datapath.ebpf.compile import compile_object
from vswitch.datapath.ebpf.generate import FLOW_KEY_HEADER, flow_key_header
from vswitch.fields.generate import FIELDS_PAGE, fields_page

KERNEL_TYPES = """
typedef unsigned char __u8;
typedef unsigned short __u16, __be16;
typedef unsigned int __u32, __be32;
typedef unsigned long long __u64, __be64;
"""


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (FIELDS_PAGE, fields_page()),
        (openflow_page.PAGE, openflow_page.page()),
        (vsctl_page.PAGE, vsctl_page.page()),
        (FLOW_KEY_HEADER, flow_key_header()),
    ],
    ids=["fields.md", "openflow.md", "vsctl.md", "flow_key.h"],
)
def test_file_is_up_to_date(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run `make generate`"


def test_c_compiler_agrees_with_the_layout(tmp_path: Path) -> None:
    (tmp_path / "types.h").write_text(KERNEL_TYPES)
    source = tmp_path / "key.c"
    source.write_text('#include "types.h"\n#include "flow_key.h"\nunion flow_key key;\n')
    assert compile_object(source, tmp_path / "key.o", [FLOW_KEY_HEADER.parent])
