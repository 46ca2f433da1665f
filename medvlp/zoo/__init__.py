"""Importers of other projects' checkpoints, one a file: a foreign file is read once and becomes a bundle of ours."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"convert": "_protocol", "load_strictly": "_protocol", "read_checkpoint": "_protocol"}
)
