"""Encoders, dual and single-tower models, heads, scores, patches: everything between a batch and its `Encoded` rows."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Bank": "bank",
        "LogitScale": "scale",
        "ScaleOptions": "scale",
        "apply_patches": "patches._patch",
        "build_model": "build",
        "read_bank": "bank",
    },
)
