"""False copies of a text in which exactly one fact is changed, made by rule and checked by reading them back."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"Kind": "copies", "false_copies": "copies", "grade_shares": "severity", "misgraded": "severity"}
)
