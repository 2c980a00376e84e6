"""Certificates for tests of TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vswitch.transport.targets import Tls

__all__ = ["make_certificates"]


def make_certificates(folder: Path) -> dict[str, Tls]:
    """Of a switch and of a controller, signed by one authority; of a stranger, by another."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    for authority in ("ours", "theirs"):
        openssl(
            *f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={authority} -keyout {authority}.key".split(),
            *f"-out {authority}.pem".split(),
        )
    found = {}
    for name, authority in (("switch", "ours"), ("controller", "ours"), ("stranger", "theirs")):
        openssl(*f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr".split())
        openssl(
            *f"x509 -req -days 2 -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial".split(),
            *f"-out {name}.pem".split(),
        )
        found[name] = Tls(*(str(folder / each) for each in (f"{name}.key", f"{name}.pem", "ours.pem")))
    return found
