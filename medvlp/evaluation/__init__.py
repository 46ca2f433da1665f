"""Metrics, intervals, retrieval, probes, results and the page: what turns scores into numbers one can believe."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Clusters": "bootstrap",
        "Interval": "bootstrap",
        "Metric": "results",
        "ScoreOptions": "scoring.options",
        "Result": "results",
        "UndefinedMetricError": "metrics",
        "auroc": "metrics",
        "average_precision": "metrics",
        "brier": "probability_metrics",
        "compare_results": "compare",
        "compare_areas": "delong",
        "log_loss": "probability_metrics",
        "read_predictions": "predictions",
        "recompute": "scoring.score",
        "score_predictions": "scoring.score",
        "wilson": "proportions",
        "clopper_pearson": "proportions",
        "evaluate_retrieval": "retrieval",
        "evaluate_scores": "classification",
        "load_result": "results",
        "rank_queries": "ranks",
        "size_terciles": "classification",
        "thumbnails": "probe_tables",
        "write_result": "results",
    },
)
