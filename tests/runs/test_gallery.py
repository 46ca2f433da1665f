"""The pictures of a page, of records some of which have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medvlp.answers.asking.slices import slice_weights
from medvlp.config.tree import DataConfig, EvaluationConfig
from medvlp.core.sample import Sample, Stack
from medvlp.data.manifest import Manifest
from medvlp.evaluation.shown import shown_pixels
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, save_bundle
from medvlp.runs.evaluate import EvaluationRun, open_evaluation
from medvlp.runs.gallery import gallery_of
from medvlp.text.wordpiece import train_wordpiece
from tests.models.words import DUAL, VISION, HashWords


def test_a_record_without_a_picture_is_in_no_gallery(tmp_path: Path) -> None:
    """An evaluation of some reports without their film ended when all was measured: a rank of NaN, or no pixels."""
    draws = np.random.default_rng(3)
    for at in range(4):
        Image.fromarray(draws.integers(0, 256, (40, 30), dtype=np.uint8)).save(tmp_path / f"{at}.png")
    columns = {
        "id": list("abcde"),
        "image": ["0.png", None, "1.png", "2.png", "3.png"],
        "text": ["effusion", "effusion", "no effusion", "effusion", "clear"],
        "id.patient": list("pqrst"),
        "split": ["test"] * 5,
        "label.effusion": [1, 1, 0, 1, 0],
    }
    Manifest.of(columns, root=tmp_path).save(tmp_path / "m.parquet")
    words = train_wordpiece(["pleural effusion", "no edema"] * 2, vocab_size=64, max_length=16)
    model = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=words)
    prompts = [{"name": "v", "label": "effusion", "positive": ["effusion"], "negative": ["no effusion"]}]
    asked = StoredAnswer("zero_shot", "zero_shot", {"prompts": prompts}, ["effusion"], {"name": "dot"})
    save_bundle(tmp_path / "b", Bundle(model, words, preprocessing=[{"name": "read", "size": 32}], answers=(asked,)))
    run = EvaluationRun(
        model=str(tmp_path / "b"),
        out=str(tmp_path / "out"),
        data=DataConfig(root=str(tmp_path), manifest=str(tmp_path / "m.parquet"), cache=str(tmp_path / "cache")),
        evaluation=EvaluationConfig(),
    )
    pictures, examples = gallery_of(open_evaluation(run), count=3)
    assert len(examples) == 4
    assert {each.pool for each in examples} == {4}
    assert {each.finding for each in pictures} == {"effusion"}


@pytest.mark.parametrize(("count", "shown"), [(1, 0), (2, 0), (3, 1), (24, 12)])
def test_a_film_is_shown_and_not_the_prior_behind_it_and_of_a_volume_its_middle(count: int, shown: int) -> None:
    slices = torch.arange(float(count))[:, None, None, None].expand(-1, 1, 32, 32)
    stack = Stack(slices, torch.zeros(count, 3))
    assert shown_pixels(Sample("a", {"stack": stack}))[0, 0].item() == shown
    vision = {"name": "slices", "slice": VISION}
    assert slice_weights(build_model({**DUAL, "vision": vision}, tokenizer=HashWords()), stack).shown == shown
