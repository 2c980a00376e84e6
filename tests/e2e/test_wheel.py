"""The wheel is all that an installation needs: with neither compiler nor sources it makes a datapath that forwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.lab import Lab, patience
from tests.shell import ROOT, Shell


def test_installed_wheel_forwards_without_a_compiler(name: str, lab: Lab, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    build = ("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={tmp_path}", str(ROOT))
    subprocess.run([*pip, *build], check=True, capture_output=True, timeout=120 * patience())
    (wheel,) = tmp_path.glob("vswitch-*.whl")
    installed = tmp_path / "installed"
    subprocess.run(
        [*pip, "install", "--no-deps", f"--target={installed}", str(wheel)], check=True, timeout=120 * patience()
    )

    path = tmp_path / "nothing"
    path.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(installed), "PATH": str(path)}
    shell = Shell(environment=environment)
    where = subprocess.run(
        [sys.executable, "-c", "import vswitch; print(vswitch.__file__)"],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()) == installed / "vswitch" / "__init__.py"

    h1, h2 = (lab.host(f"h{n}", ip=f"10.0.0.{n}/24") for n in (1, 2))
    shell.dpctl("add-dp", name, h1.port, h2.port)
    shell.dpctl("add-flow", name, "in_port(1)", "2")
    shell.dpctl("add-flow", name, "in_port(2)", "1")
    assert h1.ping(h2.ip, 3).received == 3
