"""Packets that came up: who answers them, and what becomes of them."""
