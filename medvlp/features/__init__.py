"""One feature pass, and what needs only its tables or one forward: heat maps."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "HeatMap": "heat_map",
        "embed": "embed",
        "feature_pass": "feature_pass",
        "heat_map": "heat_map",
        "write_slice_features": "slice_features",
    },
)
