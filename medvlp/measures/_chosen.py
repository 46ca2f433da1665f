"""Which measures an evaluation makes: the usual ones, changed by a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlp.core.errors import ConfigError
from medvlp.core.registry import available, build, component
from medvlp.core.suggest import did_you_mean
from medvlp.evaluation.measure import Measure


def chosen_measures(spec: Mapping[str, Mapping[str, Any] | None]) -> list[Measure]:
    """Return the measures of an evaluation, in the order in which they are made.

    Args:
        spec: name -> options: of a measure that is made unasked, or of one that is not, which adds it; None leaves it
            out.

    Raises:
        ConfigError: for an unknown name or a faulty option, all faults at once.

    Example:
        >>> [type(each).__name__ for each in chosen_measures({"retrieval": None, "few_shot": {"draws": 3}})][-2:]
        ['FewShotProbes', 'Grounding']
    """
    known = available("measures")
    faults = [
        f"evaluation.measures has no measure named {name!r}: {did_you_mean(name, known)}."
        for name in spec
        if name not in known
    ]
    usual = {name: {} for name in known if component("measures", name).usual}  # pyrefly: ignore
    made = []
    for name, options in {**usual, **spec}.items():
        if name not in known or options is None:
            continue
        try:
            made.append((name, build("measures", {"name": name, **options}, where=f"evaluation.measures.{name}")))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError(" ".join(faults))
    return [measure for name, measure in sorted(made, key=lambda each: (each[1].order, each[0]))]
