"""Frozen encoders of texts, one a file: what turns a bank's sentences into constant vectors, once a run.

A component is a function ``(texts, options) -> TextVectors``. Its vectors are stored with every model that reads them,
so that a model never depends on an encoder that may change or be lost.
"""

from medvlp.models.text_vectors._vectors import TextVectors

__all__ = ["TextVectors"]
