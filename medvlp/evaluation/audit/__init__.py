"""What a reader must have seen: gaps between groups, scores that know where a picture was made, wrong probabilities."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"Area": "areas", "Audit": "audit", "audit_split": "audit", "gap_between": "areas", "with_audit": "audit"},
)
