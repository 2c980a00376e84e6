"""The database of a switch and its protocol, OVSDB (RFC 7047), with the extensions that Open vSwitch's clients use.

Bytes in, bytes out: no module here but `log`, which owns the database's file, touches anything outside. Values are
frozen, and shared by everybody who holds them; `Database` is the only owner of what changes.
"""
