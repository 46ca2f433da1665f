"""How scores hold when one thing about the pictures changes."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "FACTORS": "factors",
        "Condition": "evaluate",
        "Factor": "factors",
        "change": "factors",
        "evaluate_robustness": "evaluate",
        "factor_names": "factors",
    },
)
