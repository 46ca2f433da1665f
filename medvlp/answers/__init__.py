"""What a bundle can be asked, one component a file; zero-shot recipes, and calibrations applied to scores."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Given": "prompting.recipe",
        "NamedRecipe": "prompting.recipe_files",
        "Recipe": "prompting.recipe",
        "VisionLanguageModel": "asking.model",
        "ZeroShotVectors": "prompting.class_vectors",
        "load": "asking.model",
        "load_recipe": "prompting.recipe_files",
        "make_zero_shot": "prompting.class_vectors",
        "predict_files": "asking.files",
        "recipe_names": "prompting.recipe_files",
    },
)
