"""False copies of a text in which exactly one fact is changed, made by rule and checked by reading them back."""

from __future__ import annotations

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "KINDS": "copies",
        "FalseCopy": "copies",
        "Kind": "copies",
        "false_copies": "copies",
        "grade_shares": "severity",
        "hard_negatives": "copies",
        "misgraded": "severity",
    },
)
