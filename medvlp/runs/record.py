"""What an evaluation judged on what, as the record that is kept beside its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.config.tree import DataConfig, EvaluationConfig
from medvlp.core.files import sha256_of
from medvlp.core.provenance import environment
from medvlp.data.catalogue import card_of
from medvlp.data.manifest import Manifest
from medvlp.data.splits import split_hash
from medvlp.data.summary import summarise
from medvlp.evaluation.evaluation import Evaluation
from medvlp.pages.record import Category, Cohort, DataFacts, LabelCount, ModelFacts, Part, Quartiles, Record


def evaluation_record(
    evaluation: Evaluation, folder: Path, *, data: DataConfig, options: EvaluationConfig, results: Iterable[str]
) -> Record:
    """Return the record of one evaluation of the bundle in a folder; no path and no id of a person is in it."""
    manifest = evaluation.manifest
    bundle, layout = evaluation.model.bundle, str((data.layout or {}).get("name", ""))
    scores = dict.fromkeys(str(each.score["name"]) for each in bundle.answers if each.score is not None)
    listed = folder / "MANIFEST.sha256"
    made, leaks, sets = (manifest.meta.get(key) for key in ("split", "leaks", "sets"))
    return Record(
        model=ModelFacts(
            name=folder.resolve().name,
            manifest=sha256_of(listed) if listed.is_file() else "",
            architecture=dict(bundle.model.spec),  # pyrefly: ignore
            parameters=sum(each.numel() for each in bundle.model.parameters()),  # pyrefly: ignore
            preprocessing=tuple(dict(spec) for spec in bundle.preprocessing),
            score=", ".join(scores),
            labels=tuple(bundle.labels),
            prompted=evaluation.prompted is not None,
            gate=bundle.gate is not None if bundle.model.vision_kind == "image" else None,
            provenance=dict(bundle.provenance),
        ),
        data=DataFacts(
            layout=layout,
            card=(card_of(layout) or "") if layout else "",
            manifest=manifest.hash,
            split=split_hash(manifest),
            split_made=_split_facts(made) if isinstance(made, Mapping) else None,
            leaks=dict(leaks) if isinstance(leaks, Mapping) else None,
            sets=dict(sets) if isinstance(sets, Mapping) else {},
            judged=options.split,
            where={**data.where, **options.where},
            left_out=dict(Counter(record.reason for record in evaluation.judged.prepared.quarantined)),
            synthetic=evaluation.synthetic,
        ),
        cohort=cohort_of(manifest),
        seed=evaluation.options.seed,
        resamples=options.resamples,
        results=tuple(results),
        options=options.model_dump(mode="json"),
        environment=environment(),
    )


def cohort_of(manifest: Manifest) -> Cohort:
    """Return who is in a manifest, by split.

    Example:
        >>> m = Manifest.of({"id": ["a", "b"], "text": ["x", "y"], "split": ["train", "test"], "age": [40, 60]},
        ...                 root=Path("."))
        >>> cohort_of(m).numbers[0].by_split
        ((40.0, 40.0, 40.0), (60.0, 60.0, 60.0))
    """
    summary = summarise(manifest, most=200)  # a page says how many sites there are, and no more of a column of links
    splits = np.asarray(manifest.column("split")) if "split" in manifest else np.array([])
    rows = [splits == part.name for part in summary.splits]
    parts = [{key: getattr(part, key) for key in ("name", "records", "patients", "studies")} for part in summary.splits]
    numbers = {each.name: np.asarray(manifest.column(each.name), float) for each in summary.numbers}
    return Cohort(
        splits=tuple(Part(**part) for part in parts),
        labels=tuple(LabelCount(name=each.name, by_split=each.by_split) for each in summary.labels),
        categories=tuple(
            Category(name=each.name, rows=tuple((value, counts) for value, _, counts in each.rows))
            for each in summary.categories
        ),
        numbers=tuple(
            Quartiles(name=name, by_split=tuple(_quartiles(values[part]) for part in rows))
            for name, values in numbers.items()
        ),
    )


def _quartiles(values: np.ndarray) -> tuple[float, float, float] | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, middle, high = np.percentile(known, [25, 50, 75])
    return float(low), float(middle), float(high)


def _split_facts(made: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what says how a split was made; lists of ids stay where they are."""
    return {key: made[key] for key in ("name", "rule", "card", "unit", "flaw", "source", "seed") if made.get(key)}
