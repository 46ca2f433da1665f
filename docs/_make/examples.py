"""An extension of griffe: the docstrings' "Example" is its section "Examples", so that examples are shown as code."""

from __future__ import annotations

import re

import griffe

__all__ = ["Examples"]


class Examples(griffe.Extension):
    """Rename the heading in every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Do so for one object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
