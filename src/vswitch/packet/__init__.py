"""Frames as bytes: what they say (`parse`), how they are made (`build`), how they are summed (`checksum`). Pure."""
