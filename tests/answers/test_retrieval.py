"""Retrieval against the score written out, by the dot product and by late interaction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvlp.answers.retrieval import Retrieval
from medvlp.core.answers import Ask
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.sample import Sample
from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import Records
from medvlp.data.prepare import Prepared
from medvlp.measures import retrieval as measures
from medvlp.models.build import build_model
from medvlp.models.scores.late_interaction import LateInteraction
from medvlp.runs.validate import Validator
from tests.answers.tiny import TEXTS, encoded, late, said_of, small_model, table_of
from tests.models.words import DUAL, images

ASKED = ("a small nodule", "clear lungs")


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


def test_by_the_dot_product_it_is_the_cosine_with_the_rows_own_texts_and_with_others(model: Any) -> None:
    answer = Retrieval()
    table = table_of(model, answer.needs(model))
    said, asked = said_of(answer, model, table), said_of(answer, model, table, Ask(sentences=ASKED))
    for found, texts in ((said, TEXTS), (asked, list(ASKED))):
        vectors = [each["embedding"] for each in encoded(model, texts, "embedding")]
        assert found.similarity is not None
        assert found.compared == tuple(texts)
        for row, image in enumerate(table["image/embedding"]):
            near = [float(image @ vector) for vector in vectors]
            assert found.similarity[row] == pytest.approx(near, abs=1e-5)
    assert said.embedding is not None
    np.testing.assert_allclose(np.linalg.norm(said.embedding, axis=1), 1, atol=1e-6)


def test_by_late_interaction_it_is_the_mean_of_each_image_tokens_best_word(model: Any) -> None:
    answer = Retrieval(score=LateInteraction())
    table = table_of(model, answer.needs(model))
    said, asked = said_of(answer, model, table), said_of(answer, model, table, Ask(sentences=ASKED))
    assert said.embedding is None
    for found, texts in ((said, TEXTS), (asked, list(ASKED))):
        parts = encoded(model, texts, "local", "mask")
        assert found.similarity is not None
        for row in range(len(table)):
            image = {part: table[f"image/{part}"][row] for part in ("local", "mask")}
            assert found.similarity[row] == pytest.approx([np.mean(late(image, text)) for text in parts], abs=1e-5)


@pytest.mark.parametrize("score", [None, LateInteraction()])
def test_a_row_without_a_picture_is_near_to_nothing(model: Any, score: Any) -> None:
    answer = Retrieval(score=score)
    table = table_of(model, answer.needs(model))
    columns = dict(table.columns)
    for name in [name for name in columns if name.startswith("image/")]:
        values = np.array(columns[name], dtype=np.float32)
        values[2] = np.nan
        columns[name] = values
    some = said_of(answer, model, FeatureTable(table.ids, columns)).similarity
    whole = said_of(answer, model, table).similarity
    assert some is not None
    assert whole is not None
    assert np.isnan(some).all(axis=1).tolist() == [False, False, True, False]
    np.testing.assert_allclose(np.delete(some, 2, axis=0), np.delete(whole, 2, axis=0), atol=1e-6)  # cosines, float32


class Films(Prepared):
    """Four pictures with their texts, read already."""

    def sample(self, index: int) -> Sample:
        fields: dict[str, object] = {"image": images(len(TEXTS), seed=3)[index], "text": TEXTS[index]}
        return Sample(str(index), fields)


def test_of_more_validation_records_than_fit_a_training_compares_as_many_as_do(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"id": list("0123"), "image": [f"{i}.png" for i in range(4)], "text": TEXTS}
    manifest = Manifest.of(columns, root=Path())
    validator = Validator(Films(manifest, (), Records(manifest), None), {"retrieval": Retrieval()}, measures={})
    table = table_of(model, Retrieval().needs(model))
    for most, rows in ((4, [0, 1, 2, 3]), (3, np.sort(np.random.default_rng(0).permutation(4)[:3]))):
        monkeypatch.setattr(Retrieval, "most_pairs", most)
        said = said_of(Retrieval(), model, table.rows(np.array(rows)))
        found = measures.Retrieval().values(said, manifest.take(rows))
        assert validator(model, 0) == {f"retrieval/{name}": value for name, value in found.items()}


def test_a_model_without_words_and_too_many_rows_are_refused(model: Any) -> None:
    vision = build_model({"name": "vision", "vision": DUAL["vision"]}, tokenizer=None)
    with pytest.raises(ConfigError, match="reads no texts, so nothing can be retrieved by them: leave that answer out"):
        Retrieval().check(vision)
    many = Retrieval.most_pairs + 1
    wide = np.broadcast_to(np.float32(0), (many, 8))
    columns = {"image/embedding": wide, "text/embedding": wide, "text": range(many)}
    table = FeatureTable(range(many), columns)  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=r"30001 pictures against as many texts fill the memory: ask for 30000 at a time"
    ):
        said_of(Retrieval(), model, table)
