"""What lives across steps: teachers that follow or stand still, clusters, queues, prototypes of findings."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ClassPrototypes": "class_prototypes",
        "Clusters": "clusters",
        "Ema": "ema",
        "External": "clusters",
        "Frozen": "frozen",
        "Queue": "queue",
        "Stored": "stored",
    },
)
