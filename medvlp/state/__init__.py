"""What lives across steps: teachers that follow the student or stand still."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"Ema": "ema", "Frozen": "frozen"})
