"""Folders of images and report tables without what identifies a patient."""

from __future__ import annotations

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"Deidentified": "folder", "deidentify_folder": "folder", "deidentify_table": "table"}
)
