"""Connections as OpenFlow and OVSDB have them: where peers are (`targets`), and bytes to and from them (`streams`)."""
