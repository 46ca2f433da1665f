"""Asking: prepared pictures through a model into the predictions of any answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.sample import Sample
from medvlp.core.table import FeatureTable
from medvlp.data.collate import collate
from medvlp.data.manifest import Manifest
from medvlp.features.embed import in_groups
from medvlp.features.feature_pass import feature_pass


def needs_of(answers: Iterable[Answer], model: Model, *, streams: bool = False) -> frozenset[Key]:
    """Return what a feature pass must collect for some answers; of those that stream only where asked for."""
    return frozenset(key for answer in answers if streams or not answer.streams for key in answer.needs(model))


def gives(model: Model, answer: Answer) -> bool:
    """Whether a model gives what an answer reads."""
    try:
        answer.check(model)
    except ConfigError:
        return False
    return True


def answered(answer: Answer, model: Model, table: FeatureTable, ask: Ask = Ask()) -> Predictions:  # noqa: B008
    """Return what an answer that does not stream says of the rows of a table."""
    return _said(answer, Rows(table), ask, answer.begin(model, ask))


def _said(answer: Answer, rows: Rows, ask: Ask, begun: Any) -> Predictions:  # noqa: ANN401
    said = answer.answer(rows, ask, begun)
    if isinstance(said, Predictions):
        return said
    raise ConfigError(f"{type(answer).__name__}.answer gave {type(said).__name__}: let it return Predictions(...).")


def ask_of(answer: Answer, manifest: Manifest, decoding: Decoding | None = None) -> Ask | None:
    """Return what an answer must be told of each record of a cohort; None where the cohort does not say it.

    Questions are the column ``text.question``, empty where a record has none. Findings are asked for by name: one that
    the model never learnt is judged, though it is not stated unasked.
    """
    if answer.asks != "question":
        return Ask(findings=answer.labels, decoding=decoding)
    if "text.question" not in manifest:
        return None
    questions = tuple("" if q is None else str(q) for q in manifest.column("text.question").tolist())
    return Ask(questions=questions, decoding=decoding)


def ask_samples(
    answers: Mapping[str, Answer],
    model: Model,
    samples: Iterable[Sample],
    *,
    asks: Mapping[str, Ask] | None = None,
    batch: int = 64,
    more: frozenset[Key] = frozenset(),
    watch: Callable[[Sequence[Sample], FeatureTable], None] = lambda group, table: None,
    begin: Callable[[Answer, Ask], Any] | None = None,
) -> dict[str, Predictions]:
    """Ask several answers about prepared samples, encoded once, a group at a time.

    Args:
        answers: by name.
        model: on its device.
        samples: as the model's preprocessing makes them; taken group by group, so that they may be read when needed.
        asks: by name of the answer; nothing where none is given. One question or box a row is cut with the rows.
        batch: samples of a group.
        more: further keys to collect.
        watch: shown each group and its table, with `more` among its columns.
        begin: returns what an answer makes once for many rows; by default it is made anew.

    Returns:
        Predictions by name, in the order of the samples.
    """
    asked = {name: (asks or {}).get(name, Ask()) for name in answers}
    begin = begin or (lambda answer, ask: answer.begin(model, ask))
    begun = {name: begin(answer, asked[name]) for name, answer in answers.items()}
    needs = needs_of(answers.values(), model, streams=True) | more
    pieces: dict[str, list[Predictions]] = {name: [] for name in answers}
    needed = needs_of(answers.values(), model)
    whole: list[FeatureTable] = []
    for number, group in enumerate(in_groups(samples, batch)):
        table = _table(model, group, needs)
        watch(group, table)
        for name, answer in answers.items():
            if answer.streams:
                own = asked[name].rows([number * batch + at for at in range(len(group))])
                pieces[name].append(_said(answer, Rows(table, group), own, begun[name]))
        if needed:
            whole.append(FeatureTable(table.ids, {str(key): table.columns[str(key)] for key in needed}))
    for name, answer in answers.items():
        if not answer.streams and whole:
            pieces[name].append(_said(answer, Rows(FeatureTable.join(whole)), asked[name], begun[name]))
    return {name: Predictions.join(some) if some else Predictions(()) for name, some in pieces.items()}


def _table(model: Model, group: Sequence[Sample], needs: frozenset[Key]) -> FeatureTable:
    if not needs:
        return FeatureTable([sample.id for sample in group], {})
    return feature_pass(model, [collate(group, torch.arange(len(group)))], needs)
