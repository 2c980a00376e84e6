"""The one registry of match fields: everything that knows a field's name, place or form learns it here."""

from vswitch.fields.registry import EITHER, FIELDS, KEY_BYTES, KEY_WORDS, SLOTS, Field, Slot, field

__all__ = ["EITHER", "FIELDS", "KEY_BYTES", "KEY_WORDS", "SLOTS", "Field", "Slot", "field"]
