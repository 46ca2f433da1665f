"""What a hard negative may change."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["KINDS", "Kind"]

Kind = Literal["side", "negation", "severity", "anatomy", "count", "device"]
KINDS: tuple[Kind, ...] = get_args(Kind)
