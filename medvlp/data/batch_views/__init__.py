"""Views of a whole batch, in training, on the model's device; a component's name is its file."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"Mixup": "mixup", "Mosaic": "mosaic"})
