"""A tower out of its specification: first weights of its own, and a kind that whoever asks can use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder
from medvlp.core.registry import build, fill
from medvlp.models._draws import seeded


def build_tower(
    spec: Mapping[str, Any], wanted: Sequence[str], *, stream: str = "image", seed: int, where: str, **given: object
) -> tuple[str, Encoder, dict[str, object]]:
    """Build an encoder; return the first wanted kind that it encodes, the encoder, and its options for a bundle.

    First weights depend on the seed and `stream` alone, whatever else the model has; `given` is for `build`.

    Raises:
        ConfigError: for a faulty specification, or an encoder of none of the kinds.
    """
    filled = fill("models/encoders", spec, where=where)
    with seeded(seed, f"tower {stream}"):
        tower: Encoder = build("models/encoders", spec, where=where, given={"seed": seed, "where": where, **given})
    kind = next((kind for kind in wanted if kind in tower.kinds), None)
    if kind is None:
        raise ConfigError(
            f"{where}: {spec['name']!r} encodes {', '.join(tower.kinds)} and not {' or '.join(wanted)}: choose another."
        )
    return kind, tower, {**filled, **tower.released()}
