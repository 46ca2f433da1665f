"""Merlin: an inflated ResNet and transformers' Longformer, put together by hand as its code does; the grid by MONAI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import torchvision
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.places import to_source, to_view
from medvlp.core.registry import build
from medvlp.core.sample import Sample
from medvlp.io.affine import Affine
from medvlp.io.errors import UnreadableImage
from medvlp.io.volume import Volume
from medvlp.zoo import convert
from tests.zoo.small import bert_words, changed, kept, natural, spoilt, units
from tests.zoo.test_bert_pairs import under


def inflated(flat: nn.Conv2d, depth: int, stride: int) -> nn.Conv3d:
    k, s, p = (each[0] for each in (flat.kernel_size, flat.stride, flat.padding))
    sizes = {"stride": (stride, s, s), "padding": (depth // 2, p, p), "bias": False}
    return nn.Conv3d(flat.in_channels, flat.out_channels, (depth, k, k), **sizes)


class Block(nn.Module):
    """torchvision's block by its own names; the 3 x 3 kernel also sees the slices beside, and strides in depth."""

    def __init__(self, flat: Any) -> None:
        super().__init__()
        stride = flat.conv2.stride[0]
        self.conv1, self.conv3 = inflated(flat.conv1, 1, 1), inflated(flat.conv3, 1, 1)
        self.conv2 = inflated(flat.conv2, 3, stride)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm3d(each.num_features) for each in (flat.bn1, flat.bn2, flat.bn3))
        self.downsample = None
        if flat.downsample is not None:
            conv, norm = flat.downsample
            self.downsample = nn.Sequential(inflated(conv, 1, stride), nn.BatchNorm3d(norm.num_features))

    def forward(self, x: Tensor) -> Tensor:
        at = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(at)) + (x if self.downsample is None else self.downsample(x))).relu()


class Merlin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        flat = torchvision.models.resnet.ResNet(torchvision.models.resnet.Bottleneck, [2, 1, 1, 1], width_per_group=64)
        self.conv1, self.bn1 = inflated(flat.conv1, 3, 1), nn.BatchNorm3d(64)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, nn.Sequential(*(Block(each) for each in flat.get_submodule(name))))
        self.classifier, self.contrastive_head = nn.Conv3d(2048, 3, 1), nn.Conv3d(2048, 32, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = image.permute(0, 1, 4, 2, 3).repeat(1, 3, 1, 1, 1)
        x = nn.functional.max_pool3d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(2, 3, 4), keepdim=True)
        return self.contrastive_head(x).flatten(1), self.classifier(x).flatten(1)


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    from transformers import LongformerConfig, LongformerModel

    sizes = {"hidden_size": 64, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = LongformerConfig(
        **sizes, vocab_size=90, max_position_embeddings=1030, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5
    )
    text = natural(LongformerModel(config), seed=2)
    return {"image": natural(Merlin(), seed=1), "text": text, "linear": natural(nn.Linear(64, 32), seed=3)}


def weights(parts: dict[str, Any]) -> dict[str, Tensor]:
    held = {**under("encode_image.i3_resnet.", parts["image"]), **under("encode_text.linear_layer.", parts["linear"])}
    held |= under("encode_text.text_encoder.", parts["text"]) | {"logit_scale": torch.tensor(1.0)}
    return held | {"encode_text.text_encoder.embeddings.position_ids": torch.arange(1030)[None]}


def scan(path: Path) -> Path:
    """Write a CT of odd sizes whose axes run to the left, the back and the head."""
    values = np.random.default_rng(0).normal(0, 400, (61, 54, 33)).astype(np.float32)
    affine = np.diag([-4.4, -5.1, 11.0, 1.0])
    affine[:3, 3] = 120.0, 110.0, -30.0
    nibabel.Nifti1Image(values, affine).to_filename(path)
    return path


def by_monai(path: Path, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> Tensor:
    """Return (1, X, Y, Z) as Merlin's own transforms make it."""
    from monai import transforms as t

    own = [
        t.LoadImaged("image"), t.EnsureChannelFirstd("image"), t.Orientationd("image", axcodes="RAS"),
        t.Spacingd("image", pixdim=spacing, mode="bilinear"),
        t.ScaleIntensityRanged("image", a_min=-1000, a_max=1000, b_min=0.0, b_max=1.0, clip=True),
        t.SpatialPadd("image", spatial_size=size), t.CenterSpatialCropd("image", roi_size=size),
    ]  # fmt: skip
    return t.Compose(own)({"image": str(path)})["image"].as_tensor()


@pytest.mark.parametrize("size", [(64, 48, 40), (41, 37, 31)])
def test_the_grid_is_that_of_monais_transforms_hung_and_knows_its_place(
    tmp_path: Path, size: tuple[int, int, int]
) -> None:
    path, spacing = scan(tmp_path / "ct.nii.gz"), (4.0, 4.0, 9.0)
    view = build("data/views", {"name": "read_grid", "size": size, "spacing": spacing}, where="view")
    sample = view(Sample("a", {"volume": str(path)}), torch.Generator())
    stack, record = sample.fields["stack"], sample.record("stack")
    theirs = by_monai(path, size, spacing)[0]
    assert torch.equal(stack.pixels[:, 0], theirs.flip(0, 1).permute(2, 1, 0))
    # The way back: the value of a voxel of the file is found where the record says that it lies.
    source = np.asanyarray(nibabel.load(path).dataobj)
    matrix = np.array(record.matrix)
    row, column, number = 20, 18, 15
    i, j, k = matrix @ [column + 0.5, row + 0.5, number + 0.5, 1.0] - 0.5
    low = [int(np.floor(v)) for v in (i, j, k)]
    corner = source[tuple(slice(v, v + 2) for v in low)].astype(np.float64)
    for axis, at in enumerate((i, j, k)):
        share = at - low[axis]
        corner = (1 - share) * np.take(corner, [0], axis) + share * np.take(corner, [1], axis)
    expected = np.clip((corner.item() + 1000) / 2000, 0, 1)
    assert stack.pixels[number, 0, row, column].item() == pytest.approx(expected, abs=1e-4)
    middle = np.array(record.world) @ [*(matrix @ [size[0] / 2, size[1] / 2, number + 0.5, 1.0] - 0.5), 1.0]
    assert np.abs(stack.position[number].numpy() - middle).max() < 1e-3


def test_a_grid_from_below_zero_is_of_hounsfield_units_and_black_where_nothing_was_measured() -> None:
    def made(voxels: np.ndarray, low: float = -1000.0, **meta: str) -> Sample:
        volume = Volume(voxels, Affine(np.diag([-1.0, -1.0, 1.0, 1.0])), dict(meta))
        view = {"name": "read_grid", "size": (6, 5, 4), "spacing": (1.0, 1.0, 1.0), "low": low}
        return build("data/views", view, where="view")(Sample("a", {"volume": volume}), torch.Generator())

    voxels, holes = np.full((4, 5, 6), 40, np.float32), np.zeros((4, 5, 6), bool)
    holes[2, 3, 1] = True
    whole = made(voxels, Modality="CT", Units="HU").fields["stack"].pixels[:, 0]
    torn = made(np.where(holes, np.float32("nan"), voxels)).fields["stack"].pixels[:, 0]
    assert torch.equal(torn, whole * ~torch.from_numpy(holes)), "a voxel that is no number reaches no neighbour"
    with pytest.raises(UnreadableImage, match="read_grid from -1000 is for Modality CT, its Modality is MR"):
        made(voxels, Modality="MR")
    with pytest.raises(UnreadableImage, match="is for Hounsfield units, the unit of its values is unspecified"):
        made(voxels, Modality="CT", Units="unspecified")
    assert "these may not be Hounsfield units" in made(voxels).record("stack").warnings[-1]
    assert made(voxels, low=0.0, Modality="MR").record("stack").warnings == ()


def test_the_grid_of_an_oblique_volume_lies_among_its_voxels_as_that_of_an_upright_one() -> None:
    """A turned patient turns the grid along: a middle that lies on the edge of two voxels is of the same of them."""
    marked = torch.rand(9, 11, 13, generator=torch.Generator().manual_seed(1)) > 0.5

    def made(angles: tuple[float, float, float]) -> tuple[Any, Tensor, Tensor]:
        world = np.diag([-1.0, -1.0, 1.0, 1.0])
        world[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix() @ world[:3, :3]
        volume = Volume(np.zeros((9, 11, 13), np.float32), Affine(world))
        view = {"name": "read_grid", "size": (6, 5, 4), "spacing": (1.5, 1.5, 1.5)}
        sample = build("data/views", view, where="view")(Sample("a", {"volume": volume}), torch.Generator())
        record = sample.record("stack")
        there = to_view(marked, record, (4, 5, 6))
        return record.matrix, there, to_source(there, record, (4, 5, 6))

    upright, turned = made((0.0, 0.0, 0.0)), made((0.1, 0.2, 0.3))
    assert torch.equal(turned[1], upright[1])
    assert torch.equal(turned[2], upright[2])
    assert turned[0] == upright[0]


def test_a_grid_that_is_none_is_one_sentence() -> None:
    for options in ({"size": (0, 4, 4)}, {"spacing": (1.0, 0.0, 1.0)}, {"low": 5.0, "high": 5.0}, {"field": "image"}):
        with pytest.raises(ConfigError, match=r"read_grid makes a stack of a volume, of a size and spacing above 0"):
            build("data/views", {"name": "read_grid", **options}, where="view")
    view = build("data/views", {"name": "read_grid"}, where="view")
    assert view(Sample("a", {"text": "no volume"}), torch.Generator()).fields == {"text": "no volume"}
    with pytest.raises(DataError, match="The field 'volume' of 'a' is neither a path nor a volume: name one file"):
        view(Sample("a", {"volume": 3}), torch.Generator())
    fitted = build("data/views", {"name": "read_grid", "size": (6, 5, 4), "spacing": None}, where="view")
    for value in (-1024.0, np.nan):  # a box around what is above air, of which there is none
        air = Volume(np.full((4, 5, 6), value, np.float32), Affine(np.eye(4)))
        with pytest.raises(DataError, match="'a' holds nothing above -1000 to lay a grid around: leave it out"):
            fitted(Sample("a", {"volume": air}), torch.Generator())


@pytest.mark.slow
def test_it_computes_what_its_parts_compute(tmp_path: Path, parts: dict[str, Any]) -> None:
    words = bert_words(tmp_path / "words")
    torch.save(weights(parts), tmp_path / "merlin.pt")
    (tmp_path / "codes.csv").write_text("phecode,phecode_str\n8,Infection\n41,Ascites\n42,Infection\n")
    options = {"tokenizer": str(tmp_path / "words"), "phenotypes": str(tmp_path / "codes.csv")}
    bundle = convert(tmp_path / "merlin.pt", name="merlin", options=options)
    assert bundle.preprocessing == [{"name": "read_grid", "size": [224, 224, 160], "spacing": [1.5, 1.5, 3.0]}]
    assert bundle.tokenizer is not None
    assert bundle.tokenizer.max_length == 1024
    small = (64, 48, 40)  # the real grid, on a CPU, takes a minute
    bundle.preprocessing[0] |= {"size": list(small), "spacing": [4.0, 4.0, 9.0]}
    ours = kept(bundle, tmp_path / "bundle")
    path = scan(tmp_path / "ct.nii.gz")
    with torch.no_grad():
        image, phenotypes = parts["image"](by_monai(path, small, (4.0, 4.0, 9.0))[None])
        text = parts["linear"](parts["text"](**words(["no ascites"], return_tensors="pt")).last_hidden_state[:, 0])
    assert np.abs(ours.embed_image(path) - units(image)).max() < 1e-5
    assert np.abs(ours.embed_text(["no ascites"]) - units(text)).max() < 1e-5
    said = ours.ask("phenotypes", path).scores
    assert said is not None
    assert list(said) == ["Infection (8)", "Ascites", "Infection (42)"]
    assert np.abs([each[0] for each in said.values()] - phenotypes.sigmoid().numpy()[0]).max() < 1e-5
    scores = ours.ask("zero_shot", path).scores
    assert scores is not None
    assert "ascites" in scores
    plain = convert(tmp_path / "merlin.pt", name="merlin", options={"tokenizer": options["tokenizer"]})
    assert [each.name for each in plain.answers] == ["zero_shot"]
    assert "encode_image.i3_resnet.classifier.weight" in plain.provenance["left_out"]


def test_changed_and_spoilt_files_are_refused(tmp_path: Path, parts: dict[str, Any]) -> None:
    bert_words(tmp_path / "words")
    options = {"tokenizer": str(tmp_path / "words")}
    for what, held in changed(weights(parts)):
        torch.save(held, tmp_path / "file")
        with pytest.raises(DataError, match="do not fit"):
            pytest.fail(f"{what}: {convert(tmp_path / 'file', name='merlin', options=options)} was taken")
    for what, data in spoilt(tmp_path / "file", tmp_path / "trace"):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(UserError, match="cannot be read as weights alone"):
            pytest.fail(f"{what}: {convert(tmp_path / 'bad', name='merlin', options=options)} was taken")
    assert not (tmp_path / "trace").exists()
    torch.save(weights(parts), tmp_path / "file")
    (tmp_path / "codes.csv").write_text("phecode,phecode_str\n8,Infection\n")
    with pytest.raises(
        DataError, match=r"codes\.csv names 1 phenotypes and .*file has 3: give those of this checkpoint"
    ):
        convert(tmp_path / "file", name="merlin", options={**options, "phenotypes": str(tmp_path / "codes.csv")})
    with pytest.raises(UserError, match=r"none\.csv is no table with phecode"):
        convert(tmp_path / "file", name="merlin", options={**options, "phenotypes": str(tmp_path / "none.csv")})
