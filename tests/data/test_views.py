from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medvlp.core.errors import ConfigError
from medvlp.core.randomness import torch_generator
from medvlp.core.registry import available, build
from medvlp.core.sample import ImageRecord, Sample
from medvlp.data.pipeline import added_fields, apply_views, view_spec
from medvlp.data.views.affine import Affine
from medvlp.data.views.intensity import Intensity
from medvlp.data.views.other_side import OtherSide
from medvlp.data.views.read import Read
from medvlp.data.views.sections import Sections
from medvlp.data.views.sentences import Sentences
from medvlp.io.read import read_image
from medvlp.io.resize import resize_pad

SEEDS = st.integers(0, 2**40)


def moved(view: Affine, image: torch.Tensor, seed: int, **more: torch.Tensor) -> Sample:
    record = ImageRecord(seed=0, box=(0, 0, image.shape[2], image.shape[1]), spacing=(1.0, 1.0))
    return apply_views(Sample("a", {"image": image, **more}, {"image": record}), [view], draw=seed)


# affine -------------------------------------------------------------------------------------------------------------


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_no_draw_ever_mirrors_left_stays_left_of_right_and_up_above_down(seed: int) -> None:
    widest = Affine(degrees=44, scale=0.5, translate=0.1)
    corners = []
    for y, x in ((24, 24), (24, 40), (40, 24)):  # the same draw moves three markers
        image = torch.zeros(1, 64, 64)
        image[0, y - 1 : y + 2, x - 1 : x + 2] = 1
        out = moved(widest, image, seed).fields["image"]
        assert isinstance(out, torch.Tensor)
        weight = out[0] / out.sum()
        axis = torch.arange(64.0)
        corners.append(np.array([float((weight.sum(0) * axis).sum()), float((weight.sum(1) * axis).sum())]))
    right, down = corners[1] - corners[0], corners[2] - corners[0]
    assert right[0] > 0, "a marker on the left of the picture is no longer on the left"
    assert down[1] > 0
    assert right[0] * down[1] - right[1] * down[0] > 0, "the orientation of the plane changed sign: a flip"


def test_a_left_marker_of_a_radiograph_stays_in_the_left_half_under_default_draws() -> None:
    image = torch.zeros(1, 64, 64)
    image[0, 6:12, 6:12] = 1
    for seed in range(300):
        out = moved(Affine(), image, seed).fields["image"]
        assert isinstance(out, torch.Tensor)
        assert float(out[..., :32].sum()) > 0
        assert float(out[..., 32:].sum()) == 0


@given(seed=SEEDS, height=st.integers(9, 40), width=st.integers(9, 40))
@settings(max_examples=40, deadline=None)
def test_the_picture_is_sampled_where_the_map_says(seed: int, height: int, width: int) -> None:
    """A linear ramp is reproduced exactly by bilinear sampling: its new values name the source point of each pixel."""
    view = Affine(degrees=30, scale=0.3, translate=0.2)
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    _, turn, size, right, down = torch.rand(5, generator=torch_generator(seed, 0, "affine")).tolist()
    angle = np.deg2rad(30) * (2 * turn - 1)
    zoom = 1.3 ** (2 * size - 1)
    side = max(height, width)
    tx, ty = (2 * right - 1) * 0.2 * side, (2 * down - 1) * 0.2 * side
    u, v = x + 0.5 - width / 2 - tx, y + 0.5 - height / 2 - ty  # from the moved centre
    sx = (np.cos(angle) * u + np.sin(angle) * v) / zoom + width / 2 - 0.5
    sy = (-np.sin(angle) * u + np.cos(angle) * v) / zoom + height / 2 - 0.5
    inside = (sx >= 0) & (sx <= width - 1) & (sy >= 0) & (sy <= height - 1)
    outside = (sx <= -1) | (sx >= width) | (sy <= -1) | (sy >= height)
    for ramp, want in ((x, sx), (y, sy)):
        out = moved(view, ramp[None] + 1, seed).fields["image"]
        assert isinstance(out, torch.Tensor)
        torch.testing.assert_close(out[0][inside], want[inside] + 1, atol=2e-4, rtol=1e-4)
        assert not out[0][outside].any(), "outside the picture is black"


def test_boxes_and_masks_follow_the_picture_and_the_record_tells_the_source_box() -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[20:30, 24:40] = True
    boxes = torch.tensor([[24.0, 20.0, 40.0, 30.0]])
    for seed in range(40):
        out = moved(Affine(), mask[None].float(), seed, mask=mask, boxes=boxes)
        there = out.fields["mask"]
        assert isinstance(there, torch.Tensor)
        rows, columns = there.any(1).nonzero(), there.any(0).nonzero()
        box = out.fields["boxes"][0]  # type: ignore[index]
        tight = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        # The box is around the mask, and not by more than what turning a rectangle needs.
        assert bool((box[:2] <= tight[:2] + 1).all())
        assert bool((box[2:] >= tight[2:] - 1).all())
        assert bool(((box - tight).abs() < 4).all())
    still = moved(Affine(degrees=0, scale=0, translate=0.05), mask[None].float(), 3)
    x0, y0, x1, y1 = still.records["image"].box
    picture = still.fields["image"]
    assert isinstance(picture, torch.Tensor)
    left, top = float((picture[0] > 0.5).any(0).nonzero().min()), float((picture[0] > 0.5).any(1).nonzero().min())
    assert abs((24 - x0) - left) <= 1
    assert abs((20 - y0) - top) <= 1
    assert (x1 - x0, y1 - y0) == pytest.approx((64, 64))
    assert still.records["image"].seed == torch_generator(3, 0, "affine").initial_seed()


# intensity ----------------------------------------------------------------------------------------------------------


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_brighter_stays_brighter_and_pixels_stay_in_the_unit_interval(seed: int) -> None:
    ramp = torch.linspace(0, 1, 256).reshape(1, 16, 16)
    out = apply_views(Sample("a", {"image": ramp}), [Intensity(noise=0)], draw=seed).fields["image"]
    assert isinstance(out, torch.Tensor)
    assert bool((out.flatten().diff() >= 0).all()), "an inversion"
    noisy = apply_views(Sample("a", {"image": ramp}), [Intensity(noise=0.5)], draw=seed).fields["image"]
    assert isinstance(noisy, torch.Tensor)
    assert 0 <= float(noisy.min()) <= float(noisy.max()) <= 1


def test_each_of_several_crops_has_an_exposure_of_its_own() -> None:
    rows = tuple(torch.linspace(0, 1, 64).reshape(1, 8, 8) for _ in range(3))
    made = apply_views(Sample("a", {"image.large": rows, "id.study": "s"}), [Intensity(noise=0, field="image.large")])
    out = made.fields["image.large"]
    assert isinstance(out, tuple)
    assert not any(torch.equal(a, b) for a, b in zip(out, (*out[1:], out[0]), strict=True))
    assert all(bool((row.flatten().diff() >= 0).all()) for row in out)
    none = apply_views(Sample("a", {"image": ()}), [Intensity()])
    assert none.fields["image"] == ()


def test_the_intensity_map_is_its_formula() -> None:
    image = torch.rand(1, 8, 8, generator=torch_generator(1, 0, "image"))
    view = Intensity(gamma=0.5, contrast=0.4, brightness=0.2, noise=0)
    for draw in range(20):
        _, g, c, b, _ = torch.rand(5, generator=torch_generator(draw, 0, "intensity")).tolist()
        gamma, contrast, shift = 1.5 ** (2 * g - 1), 1.4 ** (2 * c - 1), 0.2 * (2 * b - 1)
        want = (contrast * (image.double() ** gamma - 0.5) + 0.5 + shift).clamp(0, 1)
        out = apply_views(Sample("a", {"image": image}), [view], draw=draw).fields["image"]
        assert isinstance(out, torch.Tensor)
        torch.testing.assert_close(out.double(), want, atol=1e-6, rtol=1e-6)


def test_noise_is_normal_with_its_own_deviation_and_another_in_every_draw() -> None:
    image = torch.full((1, 200, 200), 0.5)
    view = Intensity(gamma=0, contrast=0, brightness=0, noise=0.1)
    made = []
    for draw in range(30):
        n = torch.rand(5, generator=torch_generator(draw, 0, "intensity"))[4].item()
        out = apply_views(Sample("a", {"image": image}), [view], draw=draw).fields["image"]
        assert isinstance(out, torch.Tensor)
        noise = (out - 0.5).double().flatten() / (0.1 * n)
        # 40,000 draws: the standard errors of mean, deviation and the share within one deviation are 0.005, 0.0035
        # and 0.0023.
        assert abs(noise.mean().item()) < 0.025
        assert noise.std().item() == pytest.approx(1, abs=0.018)
        assert (noise.abs() < 1).double().mean().item() == pytest.approx(0.6827, abs=0.012)
        made.append(noise)
    fields = torch.corrcoef(torch.stack(made)) - torch.eye(30, dtype=torch.float64)
    assert fields.abs().max().item() < 0.03  # of independent fields: a standard error of 0.005


# text ---------------------------------------------------------------------------------------------------------------


@given(seed=SEEDS, least=st.integers(1, 4), extra=st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_drawn_sentences_keep_their_order_and_number(seed: int, least: int, extra: int) -> None:
    facts = [f"Fact {word}." for word in ("one", "two", "three", "four", "five")]
    view = Sentences(probability=1, least=least, most=least + extra)
    text = apply_views(Sample("a", {"text": " ".join(facts)}), [view], draw=seed).fields["text"]
    drawn = [f"{part.strip()}." for part in str(text).split(".") if part.strip()]
    assert drawn == [fact for fact in facts if fact in drawn]
    assert min(least, 5) <= len(drawn) <= min(least + extra, 5)


def test_every_number_of_sentences_is_equally_likely_and_none_are_drawn_at_probability_zero() -> None:
    text = "Fact one. Fact two. Fact three."
    counts = [0, 0, 0]
    for seed in range(3000):
        out = apply_views(Sample("a", {"text": text}), [Sentences(probability=1)], draw=seed).fields["text"]
        counts[str(out).count(".") - 1] += 1
        whole = apply_views(Sample("a", {"text": text}), [Sentences(probability=0)], draw=seed).fields["text"]
        assert whole == text
    assert all(abs(count - 1000) < 5 * (3000 * 2 / 9) ** 0.5 for count in counts)


def test_the_whole_report_is_still_known_after_drawing() -> None:
    same = ["Clear lungs. Normal heart.", "clear lungs.  Normal\nheart.", "Clear lungs. Large heart."]
    tags = [
        apply_views(Sample("a", {"text": text}), [Sentences(probability=1, most=1)], draw=k).fields["id.report"]
        for k, text in enumerate(same)
    ]
    assert tags[0] == tags[1] != tags[2]


def test_sections_are_chosen_and_a_report_without_words_is_missing() -> None:
    report = "INDICATION: Cough.\nFINDINGS: Clear.\nIMPRESSION: Normal."
    generator = torch.Generator()
    assert Sections(sections=("impression",))(Sample("a", {"text": report}), generator).fields["text"] == "Normal."
    assert "Cough" not in str(Sections()(Sample("a", {"text": report}), generator).fields["text"])
    assert Sections()(Sample("a", {"text": "  \n"}), generator).fields == {}
    with pytest.raises(ConfigError, match=r"There is no section 'finding': did you mean 'findings'\?"):
        Sections(sections=("finding", "impression"))


# read ---------------------------------------------------------------------------------------------------------------


def test_read_is_the_display_image_resized_and_rounded_by_at_most_half_a_level(tmp_path: Path) -> None:
    draws = np.random.Generator(np.random.Philox(1))
    path = tmp_path / "a.png"
    Image.fromarray(draws.integers(0, 256, (30, 50), dtype=np.uint8)).save(path)
    want = torch.from_numpy(resize_pad(read_image(path).pixels, 20).pixels)
    for bits, most in ((8, 1 / 510), (16, 1 / 131070), (32, 0.0)):
        sample = Read(size=20, bits=bits)(Sample("a", {"image": str(path)}), torch.Generator())  # type: ignore[arg-type]
        out = sample.fields["image"]
        assert isinstance(out, torch.Tensor)
        assert out.shape == (1, 20, 20)
        assert float((out[0] - want).abs().max()) <= most + 1e-7
    assert sample.records["image"].box == pytest.approx((0, -10, 50, 40))  # the square view reaches 10 rows beyond


def test_a_section_gets_a_field_of_its_own_and_one_that_is_not_there_gives_none() -> None:
    report = "INDICATION: Cough.\nFINDINGS: Clear.\nIMPRESSION: Normal."
    view = Sections(sections=("impression",), to="text.impression")
    fields = view(Sample("a", {"text": report}), torch.Generator()).fields
    assert fields == {"text": report, "text.impression": "Normal."}
    assert added_fields([view, Sections()]) == ("text.impression",)
    without = Sample("a", {"text": "FINDINGS: Clear."})
    assert view(without, torch.Generator()).fields == without.fields


def test_a_text_with_a_side_gets_a_copy_with_the_other_one_and_stays_as_it_is() -> None:
    generator = torch.Generator()
    several = ("Left effusion. No nodule.", "Normal heart.", "Right nodule.")
    for value, copies in (
        ("Left effusion.", ("Right effusion.",)),
        (several, ("Right effusion. No nodule.", "Left nodule.")),
        ("No left effusion.", None),
    ):
        fields = OtherSide()(Sample("a", {"text": value}), generator).fields
        assert fields["text"] == value
        assert fields.get("text.negative") == copies
    assert OtherSide()(Sample("a", {}), generator).fields == {}
    assert added_fields([OtherSide(to="text.wrong")]) == ("text.wrong",)


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_statements_of_a_side_are_drawn_without_repetition_beside_their_own_copies(seed: int) -> None:
    text = (
        "Left effusion. Normal heart. Right nodule. No left fracture. Left atelectasis. Right atelectasis. Left line."
    )
    pairs = {"Left effusion.": "Right effusion.", "Right nodule.": "Left nodule.", "Left line.": "Right line."}
    view = OtherSide(stated="text.stated", most=2)
    fields = apply_views(Sample("a", {"text": text}), [view], draw=seed).fields
    stated, copies = fields["text.stated"], fields["text.negative"]
    assert isinstance(stated, tuple)
    assert len(set(stated)) == 2
    assert tuple(pairs[sentence] for sentence in stated) == copies
    assert set(added_fields([view])) == {"text.stated", "text.negative"}
    none = Sample("a", {"text": "Normal heart. No left fracture."})
    assert view(none, torch.Generator()).fields == none.fields


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_statements_without_a_side_are_drawn_where_asked_and_have_no_copy(seed: int) -> None:
    text = "Left effusion. The heart is enlarged. No edema. Emphysema. The trachea is midline. Right nodule."
    view = OtherSide(stated="text.stated", most=1, unsided=1)
    fields = apply_views(Sample("a", {"text": text}), [view], draw=seed).fields
    stated = fields["text.stated"]
    assert isinstance(stated, tuple)
    assert stated[0] in ("Left effusion.", "Right nodule.")
    assert stated[1:] in (("The heart is enlarged.",), ("Emphysema.",))
    assert fields["text.negative"] == ("Right effusion." if stated[0] == "Left effusion." else "Left nodule.",)
    alone = view(Sample("a", {"text": "Emphysema. No edema."}), torch.Generator()).fields
    assert alone == {"text": "Emphysema. No edema.", "text.stated": ("Emphysema.",)}
    none = Sample("a", {"text": "The lungs are clear."})
    assert view(none, torch.Generator()).fields == none.fields


# all ----------------------------------------------------------------------------------------------------------------


def test_every_view_is_built_by_name_says_whether_it_is_random_and_lists_its_options() -> None:
    for name in available("data/views"):
        view = build("data/views", {"name": name}, where="data.suffix[0]")
        assert isinstance(view.random, bool)
        assert view_spec(view)["name"] == name
        assert build("data/views", view_spec(view), where="x") == view


def test_a_draw_is_a_function_of_its_seed_place_and_name_alone() -> None:
    sample = Sample("a", {"image": torch.rand(1, 16, 16), "text": "One. Two. Three."})
    views = [Affine(), Intensity(), Sentences(probability=1)]
    state = torch.get_rng_state()
    first = apply_views(sample, views, draw=5)
    again = apply_views(sample, views, draw=5)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert torch.equal(first.fields["image"], again.fields["image"])  # type: ignore[arg-type]
    assert first.fields["text"] == again.fields["text"]
    two = apply_views(sample, [Affine(), Affine()], draw=5).fields["image"]
    one = apply_views(apply_views(sample, [Affine()], draw=5), [Affine()], draw=5).fields["image"]
    assert not torch.equal(two, one)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Affine(degrees=60),
        lambda: Affine(translate=-0.1),
        lambda: Intensity(gamma=1.5),
        lambda: Sentences(least=3, most=2),
        lambda: Sections(sections=()),
        lambda: Sections(to="image"),
        lambda: OtherSide(field="image"),
        lambda: OtherSide(to="text"),
        lambda: OtherSide(unsided=1),
        lambda: OtherSide(stated="text.stated", unsided=-1),
        lambda: Read(size=2),
        lambda: Read(field="text"),
        lambda: Read(preset="mimic_jpg"),
    ],
)
def test_an_option_out_of_range_is_one_sentence_with_its_value(make: object) -> None:
    with pytest.raises(ConfigError, match=r"change .*\.$"):
        make()  # type: ignore[operator]
