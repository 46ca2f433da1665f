"""Cohorts to batches: manifest, layouts, splits, prepared views, loader."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Cache": "cache",
        "CacheInfo": "cache",
        "Checked": "leakage.check",
        "Leak": "leakage.leak",
        "Loader": "loader",
        "Manifest": "manifest",
        "Prepared": "prepare",
        "Quarantined": "quarantine",
        "Records": "pipeline",
        "Split": "splits",
        "apply_views": "pipeline",
        "cache_info": "cache",
        "check_cohorts": "leakage.check",
        "check_split": "leakage.check",
        "clear_cache": "cache",
        "index_cohort": "layouts",
        "load_split": "splits",
        "make_split": "splits",
        "refuse_leaks": "leakage.leak",
        "split_by_patient": "splits",
        "split_hash": "splits",
        "subset": "splits",
        "suffix_seed": "pipeline",
    },
)
