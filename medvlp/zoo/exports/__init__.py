"""The way out, one format a file: a bundle's towers in the form of another library, and what that form cannot hold."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"export": "_export"})
