"""Frames as bytes: what they say (`parse`), how they are made (`build`), cut (`segment`), summed (`checksum`). Pure."""
