"""Probes on the model's features, and one on thumbnails: what a picture gives away without being understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np

from medvlp.answers.asking.ask import answered
from medvlp.answers.prompting.recipe import class_vector
from medvlp.core.answers import FEATURES, Answer, Probe, WordsMissingError
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.core.table import FeatureTable
from medvlp.evaluation.evaluation import Evaluation, title_of
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.measures._probe_tables import ProbeTables, can_probe, deep_tables, thumbnail_tables


class Probes(Measure):
    """One result ``PROBE_probe`` for each probe on frozen features, and the first one on thumbnails as a control.

    Thumbnails have no words: where all probes start from them, the control is the linear one.

    They are fitted on the split train and chosen on validate, where the data has both beside what is judged, and then,
    unless a probe has ``refit: false``, fitted on both; results say which. Only their ranking is judged: a threshold or
    a calibration on validation patients that a probe was fitted on would be too good, so none is chosen.

    Args:
        probes: components of `medvlp.adaptation`, by name or with options: ``{name: knn, neighbours: [5]}``.

    Raises:
        ConfigError: for no probe, the same one twice, a name that there is not, or a faulty option.

    Example:
        >>> sorted(Probes(probes=["linear", {"name": "knn", "neighbours": [5]}]).probes)
        ['knn', 'linear']
    """

    order: ClassVar[int] = 70

    def __init__(self, *, probes: tuple[str | dict[str, Any], ...] = ("linear",)) -> None:
        self.probes: dict[str, Probe] = {}
        for at, each in enumerate(probes):
            spec = {"name": each} if isinstance(each, str) else each
            probe = build("adaptation", spec, where=f"evaluation.measures.probes.probes[{at}]")
            if self.probes.setdefault(str(spec["name"]), probe) is not probe:
                raise ConfigError(f"evaluation.measures.probes.probes names {spec['name']!r} twice: name each once.")
        if not self.probes:
            raise ConfigError("evaluation.measures.probes.probes is empty: set evaluation.measures.probes to null.")

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield each probe and the control, where there are pictures to train and to choose on."""
        if not can_probe(evaluation):
            return
        tables, bank = deep_tables(evaluation), _bank(evaluation)
        for name, probe in self.probes.items():
            answer = probe.fit(tables.train, tables.validation, bank)
            if not isinstance(answer, Answer):
                raise ConfigError(f"The probe {name!r} gave {type(answer).__name__}: let its fit return an Answer.")
            own = f"{name}_probe"
            yield _result(evaluation, answer, tables, own, title_of(own, answer), control=False)
        if evaluation.shows:
            tables = thumbnail_tables(evaluation)
            linear = build("adaptation", {"name": "linear"}, where="evaluation.measures.probes")
            answer = _without_words([*self.probes.values(), linear], tables)
            yield _result(evaluation, answer, tables, "thumbnail", "Control: 16 x 16 thumbnail", control=True)


def _without_words(probes: Sequence[Probe], tables: ProbeTables) -> Answer:
    """Fit the first probe that does not start from words; the last never does."""
    *first, last = probes
    for probe in first:
        with suppress(WordsMissingError):
            return probe.fit(tables.train, tables.validation, {})
    return last.fit(tables.train, tables.validation, {})


def _bank(evaluation: Evaluation) -> Mapping[str, np.ndarray]:
    """Return finding -> unit mean of the embeddings of its positive prompts; empty where texts have none."""
    if not evaluation.compares:
        return {}
    embed = evaluation.model.embed_text
    return {each.label: class_vector(embed(each.positive)) for each in evaluation.prompts}


def _result(
    evaluation: Evaluation, answer: Answer, tables: ProbeTables, name: str, title: str, *, control: bool
) -> Result:
    table = FeatureTable(evaluation.judged.table.ids, {FEATURES: tables.measured})
    said = answered(answer, evaluation.model.model, table)
    return evaluation.scores(name, said.scores or {}, title, control=control, notes=said.notes)
