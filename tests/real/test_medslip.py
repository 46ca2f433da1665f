"""A dual-stream model on real radiographs, with a matrix made of the labels that NIH mined from reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import medvlp
from medvlp.config.tree import load_config
from medvlp.core.answers import Ask
from medvlp.runs.train import train


def test_labels_of_nih_train_and_are_found_again(pack: Callable[[str], Path], tmp_path: Path) -> None:
    root = pack("nih-cxr14")
    words = [
        f"run={tmp_path / 'run'}",
        f"data.root={root}",
        f"data.cache={tmp_path / 'cache'}",
        "data.layout=nih_chestxray14",
        "data.split={name: patient, seed: 0}",
        "data.where={}",
        "data.prefix=[{name: read, size: 64}]",
        "data.suffix=[{name: triplet_matrix, source: labels}, {name: affine}]",
        "model.vision.image_size=64",
        "model.vision.options={channels: [16, 16, 32, 64], stem_width: 8, layers: [1, 1, 1, 0], zero_init_last: false}",
        "model.heads={image/medslip: {name: dual_stream, width: 32, layers: 1, heads: 2, feedforward: 32}}",
        "phases.0.until=480",
        "optimiser={rate: 3.0e-3, warmup: 64}",
        "training={batch: 16, log_every: 16, validate_every: 480, checkpoint_every: 480}",
    ]
    done = train(load_config("pretrain/phantom_medslip.yaml", words))
    rows = [json.loads(line) for line in (done.run / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    (check,) = (row for row in rows if row["kind"] == "validate")
    assert {"existence/auroc/infiltration", "existence/auroc/effusion"} <= set(check)
    model = medvlp.load(done.bundle)
    picture = next((root / "images_001" / "images").glob("*.png"))
    said = model.ask("pairs", picture)
    assert said.pairs is not None
    assert np.isfinite(said.pairs.values).all()
    answer, sample = model.answers["pairs"], model.sample(picture)
    values = answer.look(model.model, sample, answer.begin(model.model, Ask()), [("effusion", "pleural_unspec")])
    assert values is not None
    over = values[0].placed(sample.record("image")).in_source(384, 384)
    assert over.shape == (384, 384)
    assert over.max() > 0
