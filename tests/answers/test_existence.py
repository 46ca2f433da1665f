"""Existence and pairs of a dual-stream model against softmax and sigmoid of its logits, word by word."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from medvlp.answers.asking.ask import ask_samples
from medvlp.answers.existence import Existence
from medvlp.answers.pairs import Pairs
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.keys import Key, Plan, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch, Sample
from medvlp.features.feature_pass import feature_pass
from medvlp.models.build import build_model
from tests.answers.dual_stream.small import NAMES, small
from tests.answers.tiny import said_of
from tests.models.words import DUAL, HashWords, images

ROWS = 3


@pytest.fixture
def model() -> Any:
    return small().eval()


def asked(model: Any, answer: Any, ask: Ask | None = None) -> Any:
    batch = Batch.of({"image": images(ROWS, seed=4)})
    return said_of(answer, model, feature_pass(model, [batch], answer.needs(model)), ask), batch


def logits(model: Any, part: str) -> np.ndarray:
    plan = Plan.of(keys(f"image/{part}"))
    with torch.no_grad():
        return model.finish(model(Batch.of({"image": images(ROWS, seed=4)}), plan), plan)["image"].part(part).numpy()


def test_existence_is_the_softmax_of_absent_and_present(model: Any) -> None:
    said, _ = asked(model, Existence())
    values = logits(model, "medslip_pathology").astype(np.float64)
    assert list(said.scores) == ["nodule", "effusion", "no_finding"]  # findings first
    words = ("no_finding", "effusion", "nodule")
    for row in range(ROWS):
        for word, name in enumerate(words):
            absent, present = (math.exp(v) for v in values[row, word])
            assert said.scores[name][row] == pytest.approx(present / (absent + present), abs=1e-6)


def test_pairs_are_the_sigmoid_of_their_logits_with_presence_beside_them(model: Any) -> None:
    said, _ = asked(model, Pairs())
    values = logits(model, "medslip").astype(np.float64)
    assert (said.pairs.places, said.pairs.findings) == (NAMES["anatomy"], NAMES["pathology"])
    for row, place, word in np.ndindex(values.shape):
        assert said.pairs.values[row, place, word] == pytest.approx(
            1 / (1 + math.exp(-values[row, place, word])), abs=1e-6
        )
    existence, _ = asked(model, Existence())
    np.testing.assert_allclose(said.pairs.present[:, 1], existence.scores["effusion"], atol=1e-6)
    # "normal" is somewhere in the lungs, but it is nothing that lies at a place.
    assert said.pairs.known.tolist() == [[False, True, True], [False, True, True]]


def test_what_was_never_stated_both_ways_is_left_out_and_told_once(model: Any) -> None:
    head = model.heads["image/medslip"]
    with torch.no_grad():
        head.said_pathology[1, 2] = 0
        head.said_pairs[0, 1, 1] = 0
    said, _ = asked(model, Existence())
    assert list(said.scores) == ["effusion", "no_finding"]
    assert said.notes == ("1 of 3 words were never both present and absent in training: they are left out.",)
    named, _ = asked(model, Existence(), Ask(findings=("nodule", "effusion")))
    assert (list(named.scores), named.notes) == (["nodule", "effusion"], ())  # whoever asks for it gets it
    pairs, _ = asked(model, Pairs())
    assert pairs.pairs.known.tolist() == [[False, True, True], [False, False, True]]
    assert pairs.notes == ("1 of 6 pairs were never both present and absent in training: they are left out.",)


def test_one_finding_asked_for_has_the_score_that_it_has_among_all(model: Any) -> None:
    whole, _ = asked(model, Existence())
    some, _ = asked(model, Existence(), Ask(findings=("nodule",)))
    assert list(some.scores) == ["nodule"]
    np.testing.assert_array_equal(some.scores["nodule"], whole.scores["nodule"])


def test_it_learns_its_findings_when_it_is_asked_for_the_first_time(model: Any) -> None:
    answer = Existence()
    assert answer.labels == ()
    answer.check(model)
    assert answer.labels == ("nodule", "effusion")  # in the order of the ontology
    assert answer.released() == {"head": "medslip", "labels": ["nodule", "effusion"]}


def test_group_by_group_it_says_what_it_says_of_all(model: Any) -> None:
    samples = [Sample(str(i), {"image": pixels}) for i, pixels in enumerate(images(ROWS, seed=4))]
    answers = {"existence": Existence(), "pairs": Pairs()}
    by_one, at_once = (ask_samples(answers, model, samples, batch=size) for size in (1, 8))
    assert by_one["existence"].ids == at_once["existence"].ids == ("0", "1", "2")
    for name in at_once["existence"].scores or {}:
        np.testing.assert_allclose(
            by_one["existence"].scores[name],  # type: ignore[index]
            at_once["existence"].scores[name],  # type: ignore[index]
            atol=1e-6,
        )
    np.testing.assert_allclose(by_one["pairs"].pairs.values, at_once["pairs"].pairs.values, atol=1e-6)  # type: ignore[union-attr]


class Echo(Answer):
    """Says of each picture, group by group, the question that was asked of it."""

    asks, gives, streams = "question", frozenset({"text"}), True

    def needs(self, model: Model) -> frozenset[Key]:
        return frozenset()

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:
        return Predictions(tuple(sample.id for sample in rows.samples), text=ask.questions)


def test_each_picture_is_asked_its_own_question_whatever_the_groups(model: Any) -> None:
    samples, questions = [Sample(str(i), {}) for i in range(5)], tuple("abcde")
    for size in (1, 2, 3, 8):
        said = ask_samples({"echo": Echo()}, model, samples, asks={"echo": Ask(questions=questions)}, batch=size)
        assert (said["echo"].ids, said["echo"].text) == (tuple("01234"), questions)


def looked(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The decoder's mean attention to the grid, of words and of places, (Q, rows, columns) each."""
    plan = Plan.of(keys("image/medslip", "image/tokens", "image/mask"))
    with torch.no_grad():
        encoded = model.finish(model(Batch.of({"image": pixels[None]}), plan), plan)["image"]
        weights = model.heads["image/medslip"].attention(encoded)
    return tuple(w[0].mean(dim=0).reshape(-1, *encoded.grid) for w in (weights.pathology, weights.anatomy))


def test_a_map_is_where_the_decoder_looked_for_a_word_and_at_a_place_the_product(model: Any) -> None:
    pixels = images(1, seed=9)[0]
    sample, (words, places) = Sample("a", {"image": pixels}), looked(model, pixels)
    said, pairs = (
        said_of(a, model, feature_pass(model, [Batch.of({"image": pixels[None]})], a.needs(model)), None)
        for a in (Existence(), Pairs())
    )
    for answer in (Existence(), Pairs()):
        asked_for = [("effusion", ""), ("no_finding", ""), ("normal", ""), ("nodule", "left_costophrenic")]
        effusion, finding, normal, both = answer.look(model, sample, answer.begin(model, Ask()), asked_for)
        assert effusion.method == "cross_attention"  # in the field's words, as a page and an export have it
        np.testing.assert_allclose(effusion.values, words[1] / words[1].sum(), rtol=1e-5)
        assert effusion.score == pytest.approx(said.scores["effusion"][0], abs=1e-6)
        np.testing.assert_array_equal(finding.values, normal.values)  # what its score is called
        product = words[2] * places[0]
        np.testing.assert_allclose(both.values, product / product.sum(), rtol=1e-4)
        assert both.score == pytest.approx(pairs.pairs.values[0, 0, 2], abs=1e-6)
        for asked_of, sentence in (
            (("efusion", ""), "knows no observation 'efusion': did you mean 'effusion'"),
            (("effusion", "left_costo"), "knows no place 'left_costo': "),
        ):
            with pytest.raises(UserError, match=sentence):
                answer.look(model, sample, answer.begin(model, Ask()), [asked_of])


def test_a_model_without_the_head_is_refused(model: Any) -> None:
    plain = build_model(DUAL, tokenizer=HashWords())
    for answer in (Existence(), Pairs()):
        with pytest.raises(ConfigError, match="This model has no dual_stream head 'medslip' on its image: mount it"):
            answer.check(plain)
    with pytest.raises(ConfigError, match="no dual_stream head 'other' on its image"):
        Pairs(head="other").check(model)
