"""Surgery: permanent changes of a model at the begin of a phase; a component's name is its file."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"Surgery": "_surgery", "operate": "_surgery"})
