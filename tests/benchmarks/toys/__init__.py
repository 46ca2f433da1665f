"""One file for each method: a small world that its paper or card says separates it from what it improves on.

A file gives ``CLAIM``, one sentence; ``BETTER`` and ``WORSE``, two names; and ``toy(seed) -> {name: score}`` with both
of them, higher is better. Each takes seconds on one core. `method_toys.py` runs them all over several seeds.
"""
