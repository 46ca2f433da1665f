"""A kept table is the pass itself, and is found again only where model, samples and needs are the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from medvlp.core import Batch
from medvlp.core.keys import keys
from medvlp.features.feature_pass import feature_pass
from medvlp.features.stored import stored_feature_pass
from tests.models.words import DUAL, VISION, dual, images

NEEDS = keys("image/embedding", "text/embedding", "text")


def batches() -> list[Batch]:
    whole = Batch.of({"image": images(5), "text": ["no effusion", "", "normal", "rib fracture", "nodule"]})
    return [whole.take(0, 2), whole.take(2, 5)]


def test_it_is_the_pass_and_the_second_time_it_is_read(tmp_path: Path) -> None:
    model = dual(DUAL)
    plain = feature_pass(model, batches(), NEEDS)
    made = stored_feature_pass(model, batches, NEEDS, folder=tmp_path / "features")
    (path,) = (tmp_path / "features").iterdir()
    os.utime(path, (1, 1))
    again = stored_feature_pass(model, batches, NEEDS, folder=tmp_path / "features")
    assert [each.stat().st_mtime for each in (tmp_path / "features").iterdir()] == [1]
    for table in (made, again):
        assert list(table.ids) == list(plain.ids)
        assert table.columns["text"] == plain.columns["text"]
        for key in ("image/embedding", "text/embedding"):
            assert np.array_equal(table[key], plain[key])


def test_models_of_equal_weights_that_are_specified_otherwise_have_tables_of_their_own(tmp_path: Path) -> None:
    one, other = (dual({**DUAL, "vision": {**VISION, "mean": [mean]}}) for mean in (0.5, 0.4))
    weights = other.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in one.state_dict().items())
    found = [stored_feature_pass(model, batches, NEEDS, folder=tmp_path)["image/embedding"] for model in (one, other)]
    assert not np.array_equal(*found)
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_another_weight_pixel_word_order_or_need_is_another_table(tmp_path: Path) -> None:
    model = dual(DUAL)

    def tables() -> int:
        return len(list(tmp_path.glob("*.parquet")))

    def changed(**columns: object) -> list[Batch]:
        whole = {"image": images(5), "text": ["no effusion", "", "normal", "rib fracture", "nodule"], **columns}
        return [Batch.of(whole)]

    pixels = images(5)
    pixels[3, 0, 0, 0] += 1 / 255
    words = ["no effusion", "", "normal", "rib fracture", "nodules"]
    turns = [batches, lambda: changed(image=pixels), lambda: changed(text=words), lambda: batches()[::-1]]
    for count, turn in enumerate(turns, start=1):
        stored_feature_pass(model, turn, NEEDS, folder=tmp_path)
        assert tables() == count
    stored_feature_pass(model, batches, keys("image/embedding"), folder=tmp_path)
    assert tables() == 5
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    stored_feature_pass(model, batches, NEEDS, folder=tmp_path)
    assert tables() == 6
