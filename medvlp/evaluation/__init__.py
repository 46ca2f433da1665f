"""Metrics, intervals, retrieval, probes, results and the page: what turns scores into numbers one can believe."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Metric": "results",
        "Result": "results",
        "ScoreOptions": "scoring.options",
        "compare_results": "compare",
        "evaluate_retrieval": "retrieval",
        "evaluate_scores": "classification",
        "load_result": "results",
        "read_predictions": "predictions",
        "recompute": "scoring.score",
        "score_predictions": "scoring.score",
        "write_result": "results",
    },
)
