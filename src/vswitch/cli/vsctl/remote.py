"""Servers elsewhere, or behind TLS, and those that come to us: what connections other than to a Unix socket need."""

from __future__ import annotations

import errno
import os
import socket
import ssl

from vswitch.base.errors import ConfigError
from vswitch.cli.vsctl import CommandError
from vswitch.cli.vsctl.options import Options
from vswitch.transport.targets import OVSDB_PORT, Target, parse_target

__all__ = ["open_remote"]


def open_remote(place: str, options: Options) -> socket.socket:
    """A connection. OSError: there is none. CommandError: the words make no sense."""
    if place.partition(":")[0] not in ("tcp", "ssl", "ptcp", "pssl", "punix"):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    try:
        target = parse_target(place, default_port=OVSDB_PORT)
    except ConfigError as error:
        raise CommandError(str(error)) from error
    if target.passive:
        return _accept(target, options)
    found = socket.create_connection((target.host, target.port))
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _secured(found, options, server=False) if target.kind == "ssl" else found


def _accept(target: Target, options: Options) -> socket.socket:
    """The first who comes."""
    if target.kind == "unix":
        path = target.path if target.path.startswith("/") else f"{options.run_directory}/{target.path}"
        listener = socket.socket(socket.AF_UNIX)
        address: str | tuple[str, int] = path
    else:
        path = ""
        listener = socket.socket(socket.AF_INET6 if ":" in target.host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        address = (target.host, target.port)
    with listener:
        listener.bind(address)
        try:
            listener.listen(1)
            found, _ = listener.accept()
        finally:
            if path:
                os.unlink(path)  # noqa: PTH108 - a path from the command line, as it is
    return _secured(found, options, server=True) if target.kind == "ssl" else found


def _secured(plain: socket.socket, options: Options, *, server: bool) -> socket.socket:
    try:
        return _secure(plain, options, server=server)
    except BaseException:
        plain.close()
        raise


def _secure(plain: socket.socket, options: Options, *, server: bool) -> socket.socket:
    """TLS, as Open vSwitch has it: certificates are checked, names in them are not."""
    if not options.private_key or not options.certificate or not (options.ca_cert or options.bootstrap_ca_cert):
        raise CommandError("ssl: needs --private-key, --certificate and --ca-cert")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    ca = options.bootstrap_ca_cert or options.ca_cert
    try:
        if options.ssl_ciphers:
            context.set_ciphers(options.ssl_ciphers)
        context.load_cert_chain(options.certificate, options.private_key)
        if ca == "none":
            context.verify_mode = ssl.CERT_NONE
        elif options.bootstrap_ca_cert and not os.path.exists(ca):  # noqa: PTH110
            raise CommandError(
                f"--bootstrap-ca-cert: there is no file {ca}, and fetching it from the server is not supported"
            )
        else:
            context.load_verify_locations(ca)
        if options.peer_ca_cert:
            context.load_verify_locations(options.peer_ca_cert)
    except (ssl.SSLError, OSError) as error:
        raise CommandError(f"ssl: {options.private_key}, {options.certificate}, {ca}: {error}") from error
    return context.wrap_socket(plain, server_side=server)
