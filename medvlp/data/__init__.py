"""Cohorts to batches: manifest, layouts, splits, prepared views, loader."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Cache": "cache",
        "CacheInfo": "cache",
        "Leak": "split",
        "Loader": "loader",
        "Manifest": "manifest",
        "Prepared": "prepare",
        "Quarantined": "quarantine",
        "Records": "pipeline",
        "apply_views": "pipeline",
        "cache_info": "cache",
        "check_split": "split",
        "clear_cache": "cache",
        "index_cohort": "layouts",
        "refuse_leaks": "split",
        "make_split": "splits",
        "split_by_patient": "splits",
        "split_hash": "splits",
        "Split": "splits",
        "load_split": "splits",
        "subset": "splits",
        "suffix_seed": "pipeline",
    },
)
