"""One method per file, and the contrast most of them are made of."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Similarity": "_similarity",
        "contrast": "_contrast",
        "sigmoid_contrast": "_sigmoid_contrast",
        "sinkhorn": "_sinkhorn",
    },
)
