"""Which findings are meant, of those that an answer over pixels knows."""

from __future__ import annotations

from collections.abc import Sequence

from medvlp.core.answers import Ask
from medvlp.core.errors import ConfigError
from medvlp.core.suggest import did_you_mean

__all__ = ["asked_labels"]


def asked_labels(labels: Sequence[str], ask: Ask) -> tuple[str, ...]:
    """Return the findings that are asked for, all where none is named.

    Raises:
        ConfigError: for one that the answer does not know.

    Example:
        >>> asked_labels(("lung", "heart"), Ask(findings=("heart",)))
        ('heart',)
    """
    for name in ask.findings:
        if name not in labels:
            raise ConfigError(f"This model was not taught {name!r}: {did_you_mean(name, labels)}.")
    return tuple(ask.findings) or tuple(labels)
