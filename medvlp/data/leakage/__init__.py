"""What two sides of a split share: patients, studies, images, copies of films, reports; and what gives labels away."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "KINDS": "leak",
        "Leak": "leak",
        "Overlap": "seen",
        "Seen": "seen",
        "check_split": "check",
        "counts_of": "leak",
        "leak_caveats": "leak",
        "near_is_quick": "check",
        "refuse_leaks": "leak",
        "seen_of": "seen",
    },
)
