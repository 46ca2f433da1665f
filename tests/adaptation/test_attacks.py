"""Attacks stay in their ball and range, leave what they are given as it is, and are their papers' losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from medvlp.adaptation.attacks._generators import ChangeGenerator, WordGenerator, malicious_loss
from medvlp.adaptation.attacks._surrogate import embedded, held, parts_of, with_pixels, with_texts
from medvlp.adaptation.attacks._words import by_importance, marked, real_words, text_tower, vector_at
from medvlp.adaptation.attacks.c_pgc import CPgc
from medvlp.adaptation.attacks.gama import Gama, _generator, attended, text_loss
from medvlp.core.attack import Attack, Ball
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.protocols import Model
from medvlp.core.registry import available, build
from medvlp.core.sample import Batch
from medvlp.models.build import build_model
from medvlp.text.rewriting import same_meaning
from medvlp.text.wordpiece import train_wordpiece
from tests.tiny import MODEL, VISION

REPORTS = (
    "There is a small left pleural effusion seen today.",
    "No pneumothorax is seen. The heart is enlarged.",
    "Clear lungs. The study is complete.",
    "There is a right lower lobe consolidation.",
    "No effusion. Stable nodule in the right lung.",
)
SPECS: list[dict[str, Any]] = [
    {"name": "pgd", "epsilon": 6.0, "steps": 2},
    {"name": "pgd", "epsilon": 6.0, "steps": 2, "norm": "l2"},
    {"name": "c_pgc", "epsilon": 6.0, "epochs": 1, "rate": 0.05, "maps": 2, "width": 16, "scales": (1.0, 0.5)},
    {"name": "gama", "epsilon": 6.0, "epochs": 1, "rate": 0.05, "width": 4, "blocks": 1},
    {"name": "random_signs", "epsilon": 6.0},
    {"name": "random_signs", "epsilon": 6.0, "norm": "l2"},
]
IDS = [f"{each['name']} {each.get('norm', 'linf')}" for each in SPECS]


def made(spec: dict[str, Any], **more: Any) -> Attack:
    return build("adaptation/attacks", {**spec, **more}, where="attack")


def small_model(seed: int = 0) -> Model:
    words = train_wordpiece(list(REPORTS) * 2, vocab_size=400, max_length=24)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_model(MODEL, tokenizer=words)


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


def batch_of(rows: Sequence[int] = range(5), seed: int = 0) -> Batch:
    images = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch.of({"image": images[list(rows)], "text": [REPORTS[i] for i in rows]})


def test_every_attack_is_listed_here() -> None:
    assert {each["name"] for each in SPECS} == set(available("adaptation/attacks"))


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_pixels_stay_in_the_ball_and_the_range_and_inputs_stay_as_they_were(spec: dict[str, Any], model: Model) -> None:
    batch, attack = batch_of(), made(spec)
    before, weights = batch["image"].values.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    learning = [each.requires_grad for each in model.parameters()]
    moved = attack.fit(model, [batch])(batch)["image"].values
    again = made(spec).fit(model, [batch])(batch)["image"].values
    change = moved - before
    assert moved.dtype == torch.float32
    assert not moved.requires_grad
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
    size = change.abs().amax() if attack.ball.norm == "linf" else change.square().mean(dim=(1, 2, 3)).sqrt().max()
    assert 0 < float(size) <= 6 / 255 + 1e-6
    assert torch.equal(moved, again)
    assert torch.equal(batch["image"].values, before)
    assert batch.strings("text") == list(REPORTS)
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert model.training
    assert [each.requires_grad for each in model.parameters()] == learning
    assert all(each.grad is None for each in model.parameters())


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_a_ball_of_size_zero_moves_no_pixel(spec: dict[str, Any], model: Model) -> None:
    batch = batch_of()
    moved = made(spec, epsilon=0.0).fit(model, [batch])(batch)["image"].values
    assert torch.equal(moved, batch["image"].values)


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_what_was_fitted_serves_a_batch_of_another_size(spec: dict[str, Any], model: Model) -> None:
    """The authors' generator has the size of a batch in the weights of its last convolution."""
    perturb = made(spec).fit(model, [batch_of((0, 1, 2)), batch_of((3, 4))])
    whole = perturb(batch_of())["image"].values
    assert whole.shape == (5, 1, 32, 32)
    one = Batch(("2",), torch.tensor([2]), batch_of().take(2, 3).columns)
    assert torch.allclose(perturb(one)["image"].values, whole[2:3], atol=1 / 255)


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_pictures_may_have_any_sides(spec: dict[str, Any], model: Model) -> None:
    batch = Batch.of({"image": torch.rand(2, 1, 30, 30), "text": REPORTS[:2]})
    assert made(spec).fit(model, [batch])(batch)["image"].values.shape == (2, 1, 30, 30)


def test_gradient_steps_turn_a_picture_further_from_its_own_text_than_the_start(model: Model) -> None:
    batch = batch_of()
    text = cosine(model, batch, batch)
    start, end = (made(SPECS[0], steps=steps).fit(model, [])(batch) for steps in (0, 8))
    assert (cosine(model, end, batch) < cosine(model, start, batch)).all()
    assert (cosine(model, end, batch) < text).all()


def cosine(model: Model, images: Batch, texts: Batch) -> torch.Tensor:
    with held(model), torch.no_grad():
        return (parts_of(model, images, "image", "embedding")[0] * parts_of(model, texts, "text", "embedding")[0]).sum(
            1
        )


def test_signs_of_equal_size_lie_on_the_edge_of_both_balls() -> None:
    change = torch.tensor([1.0, -1.0, 1.0, 1.0]).reshape(1, 1, 2, 2) * 8 / 255
    for norm in ("linf", "l2"):
        assert torch.allclose(Ball(8.0, norm).project(change), change)
        assert torch.allclose(Ball(8.0, norm).project(3 * change), change)
    with pytest.raises(ConfigError, match="epsilon is -1"):
        Ball(-1.0)


def test_what_preprocessing_left_outside_the_range_is_moved_no_further_out() -> None:
    images = torch.tensor([-0.1, 1.1, -0.1, 1.1, 0.0, 1.0]).reshape(1, 1, 1, 6)
    change = torch.tensor([-1.0, 1.0, 1.0, -1.0, -1.0, 1.0]).reshape(1, 1, 1, 6)
    assert torch.equal(Ball(0.0).add(images, change), images)
    assert torch.allclose(Ball(51.0).add(images, change).flatten(), torch.tensor([-0.1, 1.1, 0.1, 0.9, 0.0, 1.0]))


def test_attacks_that_learn_refuse_samples_without_a_text(model: Model) -> None:
    blank = with_texts(batch_of(), ["", *REPORTS[1:]])
    for spec in SPECS[2:4]:
        with pytest.raises(DataError, match="one image and one text each"):
            made(spec).fit(model, [blank])
    with pytest.raises(DataError, match="one image a sample"):
        made(SPECS[4]).fit(model, [])(Batch.of({"text": ["a"]}))


# GAMA ---------------------------------------------------------------------------------------------------------------


def test_gamas_loss_is_that_of_a_loop_and_zero_where_the_negative_lies_opposite() -> None:
    draw = torch.Generator().manual_seed(0)
    a, p, n = (torch.randn(4, 6, generator=draw) for _ in range(3))
    n[0] = a[0] + 0.01
    copies = [each.clone() for each in (a, p, n)]
    total = 0.0
    for i in range(4):
        x, y, z = (each[i] / each[i].norm() for each in (a, p, n))
        total += 0.5 * (float((x - y).norm()) ** 2 + max(0.0, 0.2 - float((x - z).norm())) ** 2)
    assert text_loss(a, p, n, margin=0.2).item() == pytest.approx(total / 4, rel=1e-5)
    assert text_loss(a, a, -a, margin=0.2).item() == pytest.approx(0.0, abs=1e-12)
    # Normalised copies, never in place.
    assert all(torch.equal(x, y) for x, y in zip((a, p, n), copies, strict=True))


def test_gamas_whole_loss_by_hand(model: Model) -> None:
    """The text is the least like the picture of as many as there are pictures, drawn anew."""
    batch, attack = batch_of(), Gama(epsilon=6.0, margin=0.3, width=4, blocks=0)
    with held(model), torch.no_grad():
        own, network = embedded(model, [batch]).image, _generator(1, 4, 0, seed=0)
        texts = unit(torch.randn(7, own.shape[1], generator=torch.Generator().manual_seed(2)))
        got = attack._loss(model, network, batch, own, texts, torch.Generator().manual_seed(3))
        some = texts[torch.randint(7, (5,), generator=torch.Generator().manual_seed(3))]
        pixels = batch["image"].values
        assert isinstance(pixels, torch.Tensor)
        moved = with_pixels(batch, (pixels + (network(pixels) - pixels).clamp(-6 / 255, 6 / 255)).clamp(0, 1))
        (before,) = parts_of(model, batch, "image", "tokens")
        a, after = parts_of(model, moved, "image", "embedding", "tokens")
    total = 0.0
    for i in range(5):
        p = min(some, key=lambda text, i=i: float(text @ own[i]))
        pull, apart = float((a[i] - p).square().sum()), float((a[i] - own[i]).square().sum())
        maps = torch.cosine_similarity(attended(after[i : i + 1]), attended(before[i : i + 1])).item()
        total += (pull + max(0.0, 0.3 - apart**0.5) ** 2) / 2 - apart + maps
    assert float(got) == pytest.approx(total / 15, rel=1e-5)


def test_attended_maps_weigh_tokens_by_their_share_of_energy() -> None:
    tokens = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    assert torch.allclose(attended(tokens), torch.tensor([[1.6, 0.0, 0.0, 0.2]]))


# C-PGC --------------------------------------------------------------------------------------------------------------


def test_the_malicious_contrast_is_that_of_a_loop_and_falls_with_the_cosine_of_the_own_text() -> None:
    draw = torch.Generator().manual_seed(1)
    views = [unit(torch.randn(3, 5, generator=draw)) for _ in range(2)]
    own, far = (unit(torch.randn(3, 5, generator=draw)) for _ in range(2))
    total = 0.0
    for i in range(3):
        near = sum(math.exp(float(view[i] @ own[i]) / 0.1) for view in views)
        away = sum(math.exp(float(view[i] @ far[i]) / 0.1) for view in views)
        total += math.log(near / (near + away))
    assert malicious_loss(views, own, far, temperature=0.1).item() == pytest.approx(total / 3, rel=1e-4)
    text, other = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    turned = [torch.tensor([[c, 0.0, math.sqrt(1 - c * c)]]) for c in (0.9, 0.5, 0.1, -0.4)]
    losses = [malicious_loss([each], text, other, temperature=0.1).item() for each in turned]
    assert losses == sorted(losses, reverse=True)


def test_what_c_pgc_learns_leads_every_picture_to_the_text_that_is_least_like_it(model: Model) -> None:
    batch = batch_of()
    moved = made(SPECS[2], epochs=15, words=False, scales=(1.0,)).fit(model, [batch])(batch)
    with held(model), torch.no_grad():
        seen = embedded(model, [batch])
        after = parts_of(model, moved, "image", "embedding")[0]
    far = seen.text[(seen.image @ seen.text.T).argmin(dim=1)]
    assert ((after * far).sum(dim=1) > (seen.image * far).sum(dim=1)).all()


def test_the_distance_from_the_clean_embedding_is_taken_off_its_loss() -> None:
    draw = torch.Generator().manual_seed(4)
    *views, clean, own, far = (unit(torch.randn(3, 5, generator=draw)) for _ in range(5))
    away = sum(float((view - clean).square().sum()) for view in views) / 6
    expected = float(malicious_loss(views, own, far, temperature=0.2)) - 0.7 * away
    assert float(CPgc(temperature=0.2, alpha=0.7)._loss(views, clean, own, far)) == pytest.approx(expected, rel=1e-5)


def test_generators_are_bounded_by_the_ball_and_by_the_lengths_of_the_vocabulary() -> None:
    texts = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    change = ChangeGenerator((2, 20, 28), texts=6, maps=3, width=16, seed=0)(texts)
    assert change.shape == (1, 2, 20, 28)
    assert float(change.detach().abs().max()) <= 1
    words = torch.eye(4)[:, :3] * torch.tensor([1.0, 2.0, 3.0]) + 0.5
    length = WordGenerator(words, images=6, width=8, seed=0)(texts).norm()
    lengths = words.norm(dim=1)
    assert lengths.min() - 1e-5 <= length <= lengths.max() + 1e-5


def test_a_vector_in_the_place_of_a_word_is_read_as_that_word(model: Model) -> None:
    tower = text_tower(model)
    known = real_words(tower, REPORTS, neutral=False)
    spans = [(len("There is a "), len("There is a small")), None, (0, 5), None, (0, 2)]
    with held(model), torch.no_grad():
        tokens, place = marked(tower, REPORTS, spans, known.words[:2])
        assert place.sum(dim=1).tolist() == [1, 0, 1, 0, 1]
        put = with_texts(batch_of(), REPORTS, {tower.words.identity: tokens})
        third = known.words[2]
        with vector_at(tower, place, known.vectors[2]):
            found = parts_of(model, put, "text", "embedding")[0]
        written = [t if s is None else t[: s[0]] + third + t[s[1] :] for t, s in zip(REPORTS, spans, strict=True)]
        wanted = parts_of(model, with_texts(batch_of(), written), "text", "embedding")[0]
    assert torch.allclose(found, wanted, atol=1e-5)
    assert known.nearest(known.vectors[2]) == third


def test_a_model_without_word_vectors_is_refused_before_any_attack_is_fitted_unless_words_stay(model: Model) -> None:
    pictures = build_model({"name": "vision", "vision": VISION}, tokenizer=None)
    with pytest.raises(ConfigError, match="no tower of word vectors: set words to false"):
        made(SPECS[2]).check(pictures)
    made(SPECS[2], words=False).check(pictures)
    for spec in SPECS:
        made(spec).check(model)


def test_the_universal_word_is_a_real_one_and_changes_nothing_that_a_report_says(model: Model) -> None:
    batch = batch_of()
    perturb: Any = made(SPECS[2]).fit(model, [batch])
    assert perturb.word in {word.strip(".").lower() for text in REPORTS for word in text.split()}
    texts = perturb(batch).strings("text")
    assert texts != list(REPORTS)
    for before, after in zip(REPORTS, texts, strict=True):
        assert same_meaning(before, after)
        assert sum(a != b for a, b in zip(before.split(), after.split(), strict=True)) <= 1
    plain: Any = made(SPECS[2], words=False).fit(model, [batch])
    assert plain(batch).strings("text") == list(REPORTS)


def test_without_regard_for_the_meaning_the_most_important_word_gives_way_whatever_it_is(model: Model) -> None:
    """As in the paper; a finding may give way too, and with it what a report says."""
    perturb: Any = made(SPECS[2], keep_meaning=False).fit(model, [batch_of()])
    with held(model):
        first = [own[0] for own in by_importance(model, REPORTS)]
    expected = [text[:a] + perturb.word + text[b:] for text, (a, b) in zip(REPORTS, first, strict=True)]
    assert perturb(batch_of()).strings("text") == expected
    assert not all(same_meaning(before, after) for before, after in zip(REPORTS, expected, strict=True))


def test_the_most_important_word_is_the_one_whose_absence_turns_the_text_most(model: Model) -> None:
    with held(model):
        ranked = by_importance(model, REPORTS[:1])[0]
        whole = embedded(model, [batch_of((0,))]).text
    turned = {}
    for a, b in ranked:
        cut = with_texts(batch_of((0,)), [REPORTS[0][:a] + REPORTS[0][b:]])
        with held(model), torch.no_grad():
            turned[(a, b)] = float((parts_of(model, cut, "text", "embedding")[0] * whole).sum())
    assert ranked[0] == min(turned, key=turned.__getitem__)
