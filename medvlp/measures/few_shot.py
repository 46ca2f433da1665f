"""Probes of a few patients of each class, drawn many times, on the embeddings and on thumbnails."""

from __future__ import annotations

from collections.abc import Iterator

from medvlp.config.judge import Judge
from medvlp.config.measures._tables import ProbeTables, can_probe, deep_tables, labels_of, thumbnail_tables
from medvlp.config.tree import FewShotConfig
from medvlp.core.errors import DataError
from medvlp.evaluation.few_shot import fit_few_shot
from medvlp.evaluation.few_shot_results import evaluate_few_shot
from medvlp.evaluation.results import Result

__all__ = ["few_shot"]


def few_shot(judge: Judge) -> Iterator[Result]:
    """Yield the few-shot probe and its control.

    Raises:
        DataError: if they are asked for, and the data lacks a split to draw from or to choose on.
    """
    options = judge.options.few_shot
    if options is None:
        return
    if not can_probe(judge):
        raise DataError(
            "evaluation.few_shot draws from the split train and chooses on validate, with labels and pictures, and the "
            f"data has the splits {', '.join(sorted(judge.splits)) or 'none'}: name a split rule (held_out makes a "
            "validate of some training patients), or leave it out."
        )
    yield _few_shot(judge, options, "few_shot", "Few shots", deep_tables(judge), control=False)
    about = "Control: few shots of 16 x 16 thumbnails"
    if judge.shows:
        yield _few_shot(judge, options, "few_shot_thumbnail", about, thumbnail_tables(judge), control=True)


def _few_shot(
    judge: Judge, options: FewShotConfig, name: str, title: str, tables: ProbeTables, *, control: bool
) -> Result:
    few = fit_few_shot(
        tables.train, tables.validation, names=judge.labels, shots=options.shots, draws=options.draws, seed=judge.seed
    )
    manifest = judge.prepared.manifest
    truth = labels_of(judge, manifest)
    return evaluate_few_shot(
        few.scores(tables.judged),
        {finding: truth[:, i] for i, finding in enumerate(judge.labels)},
        manifest.column("id.patient").tolist(),
        manifest.column("id").tolist(),
        seed=judge.seed,
        resamples=judge.options.resamples,
        min_positives=judge.options.min_positives,
        name=name,
        title=title,
        role="control" if control else "model",
        caveats=[reason for found in few.left_out.values() for reason in found.values()],
        **judge.facts,
    )
