"""Predictors and zero-shot recipes."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AttentionMap": "findings",
        "Findings": "findings",
        "VisionLanguageModel": "model",
        "ZeroShot": "zero_shot",
        "load": "model",
        "make_zero_shot": "zero_shot",
        "predict_files": "files",
        "side_margins": "laterality",
    },
)
