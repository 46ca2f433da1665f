"""Learned prototypes that share out a batch equally, with the rows of the last steps."""

from __future__ import annotations

from tests.objectives.cases import method

SPEC = {"name": "sinkhorn_prototypes", "prototypes": 5, "queue": "queue", "freeze": 8}
QUEUE = {"name": "queue", "reads": ["image/raw", "text/raw"], "size": 12, "begin": 8}
CASES = {"queue": method(SPEC, states={"queue": QUEUE})}
