"""Report metrics of other packages, used where they are installed: RadGraph, CheXbert, GREEN, RadEval.

They need networks whose weights they fetch themselves; medvlp fetches nothing. Each takes a ready scorer instead, for
weights that lie on this machine.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from medvlp.core.errors import DataError, UserError
from medvlp.text.adapters.chexbert import ChexbertCodes, read_chexbert
from medvlp.text.adapters.radgraph_package import Annotator, annotate
from medvlp.text.radgraph import RadGraphReport

__all__ = ["chexbert_f1", "green_scores", "radeval_scores", "radgraph_f1"]

Scorer = Callable[[list[str], list[str]], object]


def radgraph_f1(
    references: Sequence[str], written: Sequence[str], *, annotator: Annotator | None = None
) -> tuple[float, ...]:
    """Return the F1 of entities (words with their label) of each written report, RG_E of RadGraph's reward.

    Raises:
        UserError: if the package is not installed and no annotator is given.
        DataError: if lengths disagree or a report is blank.
    """
    _same(references, written)
    both = [
        annotate({str(i): text for i, text in enumerate(texts)}, annotator=annotator) for texts in (references, written)
    ]
    return tuple(_f1(_entities(one), _entities(other)) for one, other in zip(*both, strict=True))


def chexbert_f1(reference: Path, written: Path, *, codes: ChexbertCodes = "labels") -> dict[str, float | None]:
    """Return finding -> F1 of present of two tables that CheXbert wrote for the same reports in the same order.

    Uncertain counts as present, as CheXbert's authors report. None where neither table has the finding.

    Raises:
        DataError: if the tables differ in length.
    """
    ours, theirs = read_chexbert(reference, codes=codes), read_chexbert(written, codes=codes)
    _same(ours, theirs)
    found: dict[str, float | None] = {}
    for key in ours[0].labels if ours else ():
        a = np.array([row.labels[key] in (1.0, -1.0) for row in ours])
        b = np.array([row.labels[key] in (1.0, -1.0) for row in theirs])
        total = int(a.sum() + b.sum())
        found[key] = 2.0 * int((a & b).sum()) / total if total else None
    return found


def green_scores(
    references: Sequence[str], written: Sequence[str], *, scorer: Scorer | None = None
) -> tuple[float, ...]:
    """Return the GREEN score of each report (package ``green_score``, Ostmeier et al. 2024).

    Args:
        references: by radiologists.
        written: that are judged.
        scorer: ``(references, written) -> (mean, sd, scores, summary, table)``; default the package's.

    Raises:
        UserError: if the package is not installed and no scorer is given.
        DataError: if lengths disagree.
    """
    _same(references, written)
    chosen = scorer or _package("green_score").GREEN("StanfordAIMI/GREEN-radllama2-7b", output_dir=".")
    found = chosen(list(references), list(written))
    if not isinstance(found, tuple) or len(found) < 3 or len(found[2]) != len(written):
        raise DataError("GREEN gave no score a report: its package has another version than this adapter knows.")
    return tuple(float(score) for score in found[2])


def radeval_scores(
    references: Sequence[str], written: Sequence[str], *, scorer: Scorer | None = None
) -> dict[str, float]:
    """Return the mean metrics of the package ``RadEval``: its numbers by its names.

    Raises:
        UserError: if the package is not installed and no scorer is given.
        DataError: if lengths disagree.
    """
    _same(references, written)
    chosen = scorer or (lambda refs, hyps: _package("RadEval").RadEval(do_radgraph=True)(refs=refs, hyps=hyps))
    found = chosen(list(references), list(written))
    if not isinstance(found, Mapping):
        raise DataError("RadEval gave no table of metrics: its package has another version than this adapter knows.")
    return {str(key): float(value) for key, value in found.items() if isinstance(value, int | float)}


def _package(name: str) -> ModuleType:
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"This metric needs the package {name!r}, which is not installed: install it, give a scorer, or use the "
            "rules of medvlp.evaluation.report_text, which need no network."
        )
    return importlib.import_module(name)


def _same(references: Sequence[object], written: Sequence[object]) -> None:
    if len(references) != len(written):
        raise DataError(f"There are {len(references)} references and {len(written)} written reports: give one each.")


def _entities(report: RadGraphReport) -> set[tuple[str, str]]:
    return {(entity.words.casefold(), f"{entity.kind} {entity.presence}") for entity in report.entities}


def _f1(one: set[tuple[str, str]], other: set[tuple[str, str]]) -> float:
    total = len(one) + len(other)
    return 2 * len(one & other) / total if total else 1.0
