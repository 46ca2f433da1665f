"""Task, loop, phases, distributed, accumulation, optimisers, checkpoints, logging."""
