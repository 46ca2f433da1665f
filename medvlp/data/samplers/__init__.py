"""Samplers: which record stands at which place of a run; a component's name is its file."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"Balanced": "balanced", "MPerClass": "m_per_class", "OneOf": "one_of", "Sampler": "_order", "Uniform": "uniform"},
)
