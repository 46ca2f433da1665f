"""A linear probe on the embeddings, and one on thumbnails: what a picture gives away without being understood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from medvlp.config.judge import Judge
from medvlp.config.measures._tables import ProbeTables, can_probe, deep_tables, thumbnail_tables
from medvlp.evaluation.probe import fit_linear_probe
from medvlp.evaluation.results import Result

__all__ = ["probes"]


def probes(judge: Judge) -> Iterator[Result]:
    """Yield the probe and its control, where there are pictures to train and to choose on."""
    if judge.options.probe and can_probe(judge):
        yield _probe(judge, "linear_probe", "Linear probe", deep_tables(judge), control=False)
        if judge.shows:
            yield _probe(judge, "thumbnail", "Control: 16 x 16 thumbnail", thumbnail_tables(judge), control=True)


def _probe(judge: Judge, name: str, title: str, tables: ProbeTables, *, control: bool) -> Result:
    probe = fit_linear_probe(tables.train, tables.validation, names=judge.labels)
    scores = probe.scores(tables.judged)
    result = judge.scores(name, {n: scores[:, i] for i, n in enumerate(probe.names)}, title, control=control)
    told = [f"No linear probe of {finding}: {reason} in training." for finding, reason in probe.left_out.items()]
    return replace(result, caveats=(*result.caveats, *told))
