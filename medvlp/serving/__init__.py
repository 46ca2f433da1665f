"""What demos and servers call: a loaded bundle that is asked about prepared pictures, in plain data."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"Reader": "reader"})
