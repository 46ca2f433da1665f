"""Statistics of a predictions table: what is chosen on validation rows, and what it reaches on the others."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "FittedFinding": "fitted",
        "ScoreOptions": "options",
        "SplitData": "split",
        "fit_finding": "fitted",
        "recompute": "score",
        "score_predictions": "score",
        "split_data": "split",
    },
)
