"""Does a map lie where the finding is? Measures in the source's pixels, baselines, and tests of the maps."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Case": "case",
        "box_average_precision": "box_ap",
        "centre_prior": "baselines",
        "constant_box": "baselines",
        "evaluate_grounding": "evaluate",
        "evaluate_sanity": "sanity",
        "fit_constant_box": "baselines",
        "grid_ceiling": "ceiling",
        "measure": "measures",
        "rank_correlation": "sanity",
        "youden_threshold": "evaluate",
    },
)
