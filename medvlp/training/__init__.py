"""Task, loop, phases, distributed, accumulation, optimisers, checkpoints, logging."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "OptimiserOptions": "optimisers",
        "Outcome": "setup",
        "PhasePlan": "phases",
        "Setup": "setup",
        "Task": "task",
        "Trainer": "trainer",
        "TrainingOptions": "options",
    },
)
