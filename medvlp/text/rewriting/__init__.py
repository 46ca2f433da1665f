"""Other words for the same report: phrases, abbreviations, order of sentences and sections."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"numbers_of": "_rewrite", "rewrite": "_rewrite", "same_meaning": "_rewrite", "sides_of": "_rewrite"}
)
