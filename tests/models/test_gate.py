"""The gate: the distance is Mahalanobis', its limit is the stated quantile, and odd pictures lie far outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from medvlp.core.errors import DataError, UserError
from medvlp.features.fit_gate import fit_gate, least_images
from medvlp.models.bundle import Bundle, check_manifest, load_bundle, save_bundle
from medvlp.models.gate import REASONS, Gate, Space, describe, swapped
from tests.models.test_bundle import WORDS, sign, trained

SIDE = 32


def chests(count: int, *, seed: int) -> list[Tensor]:
    """Two dark ellipses of random size, place and shade on a bright ground, with some noise: a caricature."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:1:32j, 0:1:32j]
    pictures = []
    for _ in range(count):
        picture = np.full((SIDE, SIDE), draw.uniform(0.65, 0.75))
        for middle in (0.28, 0.72):
            a, b = draw.uniform(0.14, 0.2), draw.uniform(0.28, 0.38)
            lung = ((x - middle - draw.normal(0, 0.02)) / a) ** 2 + ((y - 0.5 - draw.normal(0, 0.02)) / b) ** 2 < 1
            picture[lung] = draw.uniform(0.15, 0.3)
        pictures.append(torch.from_numpy((picture + draw.normal(0, 0.02, picture.shape)).clip(0, 1))[None].float())
    return pictures


@pytest.fixture(scope="module")
def gate() -> Gate:
    return fit_gate(chests(300, seed=0), chests(200, seed=1))


def test_pictures_of_the_same_kind_pass_and_others_do_not(gate: Gate) -> None:
    flagged = [gate.verdict(picture).flagged for picture in chests(400, seed=2)]
    assert np.mean(flagged) <= 0.05
    draw = torch.Generator().manual_seed(0)
    odd = {
        "inverted": 1 - chests(1, seed=3)[0],
        "on its side": chests(1, seed=3)[0].transpose(1, 2),
        "half": torch.cat([chests(1, seed=3)[0][..., :16], torch.zeros(1, SIDE, 16)], dim=2),
        "noise": torch.rand(1, SIDE, SIDE, generator=draw),
        "bright": chests(1, seed=3)[0] ** 0.3,
        "no numbers": torch.full((1, SIDE, SIDE), float("nan")),
    }
    assert all(gate.verdict(picture).flagged for picture in odd.values())
    assert gate.verdict(odd["inverted"]).reasons[0] == "inverted"
    assert not any("inverted" in gate.verdict(odd[name]).reasons for name in ("on its side", "half", "noise", "bright"))
    assert all(set(gate.verdict(picture).reasons) <= REASONS.keys() for picture in odd.values())


@pytest.mark.parametrize("value", [0.0, 0.2, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("bars", [0, 6])
def test_a_blank_picture_is_flagged_as_blank_with_or_without_bars(gate: Gate, value: float, bars: int) -> None:
    picture = torch.zeros(1, SIDE, SIDE)
    picture[:, bars : SIDE - bars] = value
    assert gate.verdict(picture).reasons[0] == "blank"


def test_the_score_is_the_distance_over_the_limit_and_the_limit_the_conformal_quantile() -> None:
    train, validate = chests(150, seed=4), chests(120, seed=5)
    made = fit_gate(train, validate, rate=0.1)
    described = torch.stack([describe(picture)["tones"] for picture in train]).numpy()
    mean, deviation = described.mean(0), described.std(0, ddof=1)
    covariance = np.cov(((described - mean) / deviation).T)
    ridge = 0.1 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    x = (describe(validate[0])["tones"].numpy() - mean) / deviation
    distance = np.sqrt(x @ np.linalg.solve(covariance + ridge, x))
    assert made.scores(validate[0])["tones"] * made.spaces["tones"].limit == pytest.approx(distance, rel=1e-9)
    scores = sorted(max(made.scores(picture).values()) for picture in validate)
    assert scores[int(np.ceil(121 * 0.9)) - 1] == pytest.approx(1.0, rel=1e-12)
    assert sum(score > 1 + 1e-12 for score in scores) == 120 - int(np.ceil(121 * 0.9))


def test_a_brighter_picture_has_the_same_shape() -> None:
    picture = chests(1, seed=6)[0] * 0.5
    one, other = (describe(p)["shape"] for p in (picture, picture + 0.2))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    barred = torch.nn.functional.pad(picture, (4, 4))
    assert torch.equal(swapped(barred), torch.nn.functional.pad(1 - picture, (4, 4)))


def test_only_what_passes_whole_with_black_and_white_swapped_is_called_inverted() -> None:
    picture = chests(1, seed=7)[0]
    away, eye = describe(1 - picture), torch.eye(64).double()
    spaces = {"layout": Space(away["layout"], eye, 0.1), "shape": Space(away["shape"], eye, 0.1)}
    assert Gate(spaces, rate=0.02, counts=(1, 1)).verdict(picture).reasons == ("inverted", "layout", "shape")
    spaces["shape"] = Space(away["shape"] + 1, eye, 0.1)
    assert Gate(spaces, rate=0.02, counts=(1, 1)).verdict(picture).reasons == ("layout", "shape")


def test_grain_finer_than_64_pixels_changes_no_tone() -> None:
    smooth = torch.nn.functional.interpolate(chests(1, seed=9)[0][None] * 0.5 + 0.2, scale_factor=4)[0]
    grain = 0.1 - 0.2 * ((torch.arange(128)[:, None] + torch.arange(128)) % 2)
    one, other = (describe(each)["tones"] for each in (smooth, smooth + grain))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_too_few_pictures_and_no_rate_are_refused() -> None:
    assert least_images(0.05) == (100, 19)
    with pytest.raises(DataError, match=r"rate of 0\.02 needs 100 training and 49 validation pictures, .* 100 and 48"):
        fit_gate(chests(100, seed=0), chests(48, seed=1))
    with pytest.raises(DataError, match="are 0 and 0: give more, or a larger rate"):
        fit_gate([], [])
    with pytest.raises(DataError, match=r"a share above 0 and at most 0\.5, not 0: change it"):
        fit_gate([], [], rate=0)


def bundle(gate: Gate | None) -> Bundle:
    model: Any = trained()
    return Bundle(model=model, tokenizer=WORDS, preprocessing=[{"name": "read", "size": 32}], gate=gate)


def test_a_bundle_brings_its_gate_back_bit_for_bit(gate: Gate, tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", bundle(gate))
    back = load_bundle(tmp_path / "b").gate
    assert back is not None
    assert (back.rate, back.counts) == (0.02, (300, 200))
    for picture in chests(5, seed=8):
        assert back.verdict(picture) == gate.verdict(picture)
    save_bundle(tmp_path / "again", load_bundle(tmp_path / "b"))
    assert (tmp_path / "again/MANIFEST.sha256").read_bytes() == (tmp_path / "b/MANIFEST.sha256").read_bytes()
    save_bundle(tmp_path / "none", bundle(None))
    assert load_bundle(tmp_path / "none").gate is None
    assert yaml.safe_load((tmp_path / "none/bundle.yaml").read_text())["ood"] is None
    assert not (tmp_path / "none/gate.safetensors").exists()


def test_a_gate_that_is_damaged_or_of_another_version_is_refused(gate: Gate, tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", bundle(gate))
    path = tmp_path / "b" / "gate.safetensors"
    arrays = load_file(path)
    manifest = (tmp_path / "b/MANIFEST.sha256").read_text()
    (tmp_path / "b/MANIFEST.sha256").write_text(
        "".join(line for line in manifest.splitlines(keepends=True) if "gate" not in line)
    )
    with pytest.raises(UserError, match=r"does not list gate\.safetensors: get the bundle again"):
        check_manifest(tmp_path / "b")
    save_file({**arrays, "tones.mean": torch.zeros(3, dtype=torch.float64)}, path)
    sign(tmp_path / "b")
    with pytest.raises(UserError, match=r"arrays of 'tones' are missing or of another shape\. Get the bundle again"):
        load_bundle(tmp_path / "b")
    save_file(arrays, path)
    described = yaml.safe_load((tmp_path / "b/bundle.yaml").read_text())
    described["ood"]["schema"] = "medvlp.gate/9"
    (tmp_path / "b/bundle.yaml").write_text(yaml.safe_dump(described))
    sign(tmp_path / "b")
    with pytest.raises(UserError, match=r"has the schema 'medvlp\.gate/9', this version reads 'medvlp\.gate/1'"):
        load_bundle(tmp_path / "b")


def test_a_space_is_a_distance() -> None:
    space = Space(torch.tensor([1.0, 2.0]).double(), torch.tensor([[2.0, 0.0], [0.0, 0.5]]).double(), 2.0)
    assert space.score(torch.tensor([4.0, 18.0]).double()) == pytest.approx(np.hypot(6, 8) / 2)
