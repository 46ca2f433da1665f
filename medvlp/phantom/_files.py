"""Tables of facts in YAML beside the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def read_facts(name: str) -> dict[str, Any]:
    """Return a YAML file of this package by its name without suffix, lists as tuples."""
    return _frozen(yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")))


def _frozen(node: Any) -> Any:  # noqa: ANN401
    if isinstance(node, dict):
        return {key: _frozen(value) for key, value in node.items()}
    return tuple(node) if isinstance(node, list) else node
