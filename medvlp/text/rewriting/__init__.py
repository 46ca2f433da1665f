"""Other words for the same report: phrases, abbreviations, order of sentences and sections."""

from __future__ import annotations

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Table": "exchange",
        "load_table": "exchange",
        "numbers_of": "_rewrite",
        "reorder_sections": "order",
        "reorder_sentences": "order",
        "reword": "exchange",
        "rewrite": "_rewrite",
        "same_meaning": "_rewrite",
        "sides_of": "_rewrite",
        "turn_sentences": "exchange",
    },
)
