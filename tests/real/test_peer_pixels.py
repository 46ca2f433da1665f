"""Pixels that importers' views make of real films equal those of the other library's own preprocessing, to 1/255."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medvlp.core.registry import build
from medvlp.core.sample import Sample
from medvlp.zoo._open_clip_releases import RELEASES
from medvlp.zoo._pixels import OPENAI, read_by_processor

LEVEL = 1 / 255 + 1e-6


@pytest.fixture(scope="module")
def films() -> list[Path]:
    """Ten films of each of two packs, of many shapes."""
    packs = Path(__file__).resolve().parents[3] / "shared" / "data"
    found: list[Path] = []
    for pattern in ("nih-cxr14/images_001/images/*.png", "pneumonia-kermany/chest_xray/test/*/*.jpeg"):
        named = sorted(packs.glob(pattern))
        gray = [path for path in named[:: max(1, len(named) // 15)] if Image.open(path).mode == "L"]
        found += gray[:10]
    if len(found) < 20:
        pytest.skip("the packs nih-cxr14 and pneumonia-kermany are not at hand (shared/data beside the repository)")
    return found


def ours(path: Path, *views: Mapping[str, object]) -> np.ndarray:
    sample = Sample("a", {"image": str(path)})
    for view in views:
        sample = build("data/views", view, where="view")(sample, torch.Generator())
    return sample.fields["image"][0].numpy()


def furthest(films: list[Path], theirs: Callable[[Image.Image], np.ndarray], *views: Mapping[str, object]) -> float:
    return max(float(np.abs(ours(path, *views) - theirs(Image.open(path))).max()) for path in films)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CLIPImageProcessorPil", {}),
        ("SiglipImageProcessorPil", {"size": {"height": 448, "width": 448}, "resample": 2}),
        ("BitImageProcessorPil", {"size": {"shortest_edge": 518}, "crop_size": {"height": 518, "width": 518}}),
    ],
)
def test_of_transformers(films: list[Path], tmp_path: Path, name: str, options: dict[str, object]) -> None:
    """By Pillow, as where these models were trained; by tensors transformers itself differs from that by 2/255."""
    import transformers

    processor = getattr(transformers, name)(**options)
    processor.save_pretrained(tmp_path)
    view, mean, std = read_by_processor(tmp_path, preset="dicom_voi_v1")
    assert (mean, std) == (list(processor.image_mean), list(processor.image_std))

    def theirs(picture: Image.Image) -> np.ndarray:
        seen = processor(picture.convert("RGB"), return_tensors="np")["pixel_values"][0]
        return (seen * np.array(std)[:, None, None] + np.array(mean)[:, None, None])[0]

    assert furthest(films, theirs, view) <= LEVEL


def test_of_open_clip(films: list[Path]) -> None:
    pytest.importorskip("open_clip", reason="open_clip_torch is not installed (extra bench)")
    from open_clip.transform import image_transform

    transform = image_transform(224, is_train=False, mean=tuple(OPENAI[0]), std=tuple(OPENAI[1]))

    def theirs(picture: Image.Image) -> np.ndarray:
        return transform(picture)[0].numpy() * OPENAI[1][0] + OPENAI[0][0]

    view = {"name": "read", "size": 224, "fit": "crop", "resample": "bicubic"}
    assert furthest(films, theirs, view) <= 1e-5


def test_of_chexzero(films: list[Path]) -> None:
    """As its repository does it: 320 by Lanczos on black, then 224 on the tensor, without smoothing."""
    from torchvision.transforms.v2.functional import InterpolationMode, resize

    def theirs(picture: Image.Image) -> np.ndarray:
        ratio = 320 / max(picture.size)
        small = picture.resize(tuple(int(n * ratio) for n in picture.size), Image.Resampling.LANCZOS)
        square = Image.new("L", (320, 320))
        square.paste(small, ((320 - small.size[0]) // 2, (320 - small.size[1]) // 2))
        values = torch.from_numpy(np.asarray(square, dtype=np.float32))[None]
        return resize(values, [224, 224], InterpolationMode.BICUBIC, antialias=False)[0].numpy() / 255

    assert furthest(films, theirs, *RELEASES["chexzero"].views) <= 1e-5


def test_of_torchxrayvision(films: list[Path]) -> None:
    xrv = pytest.importorskip("torchxrayvision", reason="torchxrayvision is not installed (extra bench)")
    pytest.importorskip("skimage", reason="scikit-image is not installed, by which torchxrayvision scales")
    from medvlp.zoo.torchxrayvision import MEAN, STD, view

    cut, small = xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(224)

    def theirs(picture: Image.Image) -> np.ndarray:
        values = xrv.datasets.normalize(np.asarray(picture, dtype=np.float32), 255)[None]
        return small(cut(values))[0] * STD + MEAN

    assert furthest(films, theirs, view(224, "dicom_voi_v1")) <= LEVEL


@pytest.mark.parametrize("size", [480, 448])
def test_of_biovil(films: list[Path], size: int) -> None:
    """The transforms that hi-ml composes for inference; its own module also imports readers that need not be here."""
    from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

    transform = Compose([Resize(512), CenterCrop(size), ToTensor()])
    view = {"name": "read", "size": size, "fit": "crop", "resample": "bilinear", "resize": 512}
    assert furthest(films, lambda picture: transform(picture)[0].numpy(), view) <= 1e-5


def test_of_cxr_clip(films: list[Path]) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

    from medvlp.zoo.cxr_clip import _tower

    transform = Compose([Resize(224), CenterCrop(224), ToTensor()])
    assert furthest(films, lambda picture: transform(picture)[0].numpy(), *_tower({})[1]) <= 1e-5


def test_of_medclip(films: list[Path]) -> None:
    """Black around it to a square first, then bicubic, by Pillow."""
    from medvlp.zoo.medclip import _tower

    def theirs(picture: Image.Image) -> np.ndarray:
        side = max(picture.size)
        square = Image.new("L", (side, side))
        square.paste(picture, ((side - picture.size[0]) // 2, (side - picture.size[1]) // 2))
        return np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC), dtype=np.float32) / 255

    assert furthest(films, theirs, *_tower({})[1]) <= 1e-5


@pytest.mark.parametrize(("size", "filter_"), [(224, "bilinear"), (512, "bicubic")])
def test_of_medklip_and_kad(films: list[Path], size: int, filter_: str) -> None:
    """Squeezed to a square, as torchvision does with two sides given."""
    from torchvision.transforms import Compose, InterpolationMode, Resize, ToTensor

    from medvlp.zoo._books import squeezed

    transform = Compose([Resize([size, size], interpolation=InterpolationMode(filter_)), ToTensor()])
    view = squeezed(size, "dicom_voi_v1", filter_)
    assert furthest(films, lambda picture: transform(picture)[0].numpy(), view) <= 1e-5
