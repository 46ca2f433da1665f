"""Predictors and zero-shot recipes."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AttentionMap": "findings",
        "Findings": "findings",
        "Given": "recipe",
        "NamedRecipe": "recipe_files",
        "Recipe": "recipe",
        "VisionLanguageModel": "model",
        "ZeroShot": "zero_shot",
        "load": "model",
        "load_recipe": "recipe_files",
        "make_zero_shot": "zero_shot",
        "predict_files": "files",
        "recipe_names": "recipe_files",
        "side_margins": "laterality",
    },
)
