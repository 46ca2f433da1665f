"""A linear probe on the embeddings, and one on thumbnails: what a picture gives away without being understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from medvlp.config.gallery import picture_of
from medvlp.config.judge import Judge
from medvlp.data.prepare import Prepared
from medvlp.evaluation.probe import ProbeData, fit_linear_probe, thumbnails
from medvlp.evaluation.results import Result

__all__ = ["probes"]


def probes(judge: Judge) -> Iterator[Result]:
    """Yield the probe and its control, where there are pictures to train and to choose on."""
    if not (judge.options.probe and judge.labels and judge.sees and {"train", "validate"} <= judge.splits):
        return
    opened = {"train": judge.open("train"), "validate": judge.open("validate"), "test": judge.prepared}
    tables = {**{s: judge.embed(opened[s], texts=False) for s in ("train", "validate")}, "test": judge.table}
    deep = {split: table[judge.seen] for split, table in tables.items()}
    yield _probe(judge, "linear_probe", "Linear probe", opened, deep, control=False)
    small = {split: _thumbnails(prepared) for split, prepared in opened.items()}
    yield _probe(judge, "thumbnail", "Control: 16 x 16 thumbnail", opened, small, control=True)


def _probe(
    judge: Judge,
    name: str,
    title: str,
    opened: Mapping[str, Prepared],
    features: Mapping[str, np.ndarray],
    *,
    control: bool,
) -> Result:
    names = judge.labels
    data = {
        split: ProbeData(
            features[split],
            np.stack([np.asarray(opened[split].manifest.column(f"label.{n}"), dtype=float) for n in names], axis=1),
            opened[split].manifest.column("id.patient").tolist(),
        )
        for split in ("train", "validate")
    }
    probe = fit_linear_probe(data["train"], data["validate"], names=names)
    scores = probe.scores(features["test"])
    return judge.scores(name, {n: scores[:, i] for i, n in enumerate(probe.names)}, title, control=control)


def _thumbnails(prepared: Prepared) -> np.ndarray:
    shown = (prepared.sample(index) for index in range(len(prepared)))
    return np.concatenate([thumbnails(np.asarray(picture_of(sample))[None]) for sample in shown])
