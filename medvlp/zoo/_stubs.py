"""Checkpoints with a configuration beside the weights: its objects become inert, nothing of another project is run.

torch's reader of weights alone refuses every class that it does not know by name. Here the names of known configuration
libraries stand for classes without behaviour, which are thrown away; any other name is still refused.
"""

from __future__ import annotations

import collections
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

_INERT = ("omegaconf.", "pytorch_lightning.callbacks.", "pathlib.", "argparse.Namespace", "typing.Any")
_PLAIN = {"collections.defaultdict": collections.defaultdict, "builtins.dict": dict, "builtins.list": list}
_PLAIN |= {"builtins.int": int, "builtins.float": float, "builtins.str": str, "builtins.bool": bool}


def with_inert_settings(path: Path) -> AbstractContextManager[Any]:
    """Return a context in which torch reads a file whose settings are objects of known libraries."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, OSError):  # an older form, or damaged: the reader itself says so
        return nullcontext()
    if not all(name.startswith(_INERT) or name in _PLAIN for name in names):
        return nullcontext()
    return torch.serialization.safe_globals([(_PLAIN.get(name) or _inert(), name) for name in names])


def _inert() -> type:
    """Return a class of its own that takes anything and does nothing."""
    nothing = lambda self, *given, **named: None  # noqa: E731
    made = lambda cls, *given: object.__new__(cls)  # noqa: E731
    return type("Inert", (), {"__init__": nothing, "__setstate__": nothing, "__new__": made})
