"""fVLM: MONAI's transformer, torch's attention and transformers' BERT, put together by hand as its code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.sample import Sample
from medvlp.data.manifest import Manifest
from medvlp.data.marks import Drawn
from medvlp.data.prepare import prepare
from medvlp.data.stacks import stack_of
from medvlp.data.views.read_organs import ReadOrgans
from medvlp.io.volume_read import read_volume
from medvlp.models.encoders.organ_vit import OrganViT
from medvlp.models.heads.organ_queries import OrganQueries
from medvlp.zoo import convert
from tests.zoo.small import bert_words, changed, kept, natural, spoilt, units
from tests.zoo.test_bert_pairs import bert, under

WIDTH, JOINT, DEPTH = 64, 32, 11
ORGANS = {"lung": [10, 14], "heart": [51, 61], "esophagus": [15], "aorta": [52]}
Box = tuple[slice, slice, slice]
BOXES: dict[int, Box] = {  # of the file's voxels, x, y, z
    10: (slice(4, 12), slice(8, 34), slice(6, 30)),
    14: (slice(22, 32), slice(8, 34), slice(5, 30)),
    51: (slice(14, 21), slice(10, 20), slice(8, 14)),
    61: (slice(15, 18), slice(12, 16), slice(14, 16)),
    15: (slice(17, 19), slice(26, 28), slice(0, 33)),
    52: (slice(19, 22), slice(24, 28), slice(4, 25)),
}


def study(folder: Path, *, boxes: dict[int, Box] = BOXES) -> Path:
    """Write a CT of odd sizes and, beside its folder, its organs as TotalSegmentator numbers them."""
    values = np.random.default_rng(0).normal(-400, 500, (36, 41, 33)).astype(np.float32)
    affine = np.diag([-10.0, -7.1, 8.0, 1.0])
    organs = np.zeros(values.shape, np.uint8)
    for number, box in boxes.items():
        organs[box] = number
    for name, voxels in (("ct", values), ("organs", organs)):
        (folder / name).mkdir(parents=True)
        nibabel.Nifti1Image(voxels, affine).to_filename(folder / name / "a.nii.gz")
    return folder / "ct" / "a.nii.gz"


def by_monai(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Return the window and the mask (1, 1, S, H, W) of each organ, by the release's steps in MONAI's transforms."""
    from monai import transforms as t

    held = t.Compose([t.LoadImaged(["image", "mask"]), t.EnsureChannelFirstd(["image", "mask"])])(
        {"image": str(path), "mask": str(path.parents[1] / "organs" / path.name)}
    )
    merged = torch.zeros_like(held["mask"].as_tensor())
    for number, values in enumerate(ORGANS.values()):
        for value in values:
            merged[held["mask"].as_tensor() == value] = number + 1
    size = [int(36 * 10.0), int(41 * 7.1), int(33 * 8.0 / 3.0)]
    image = t.Resize(size, mode="trilinear")(held["image"]).as_tensor()
    mask = t.Resize(size, mode="nearest")(merged).as_tensor()
    image, mask = image.permute(0, 3, 2, 1), mask.permute(0, 3, 2, 1)
    image = t.ScaleIntensityRange(-1150, 350, 0.0, 1.0, clip=True)(image)
    there = np.argwhere(np.asarray(mask[0]) > 0)
    low = np.maximum(there.min(0) - np.array([5, 20, 20]), 0)
    high = np.minimum(there.max(0) + np.array([5, 20, 20]), mask.shape[1:])
    inner = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    pad = t.SpatialPad((112, 256, 352))
    image, mask = (torch.as_tensor(np.asarray(pad(each[inner]))) for each in (image, mask))
    found = []
    for number in range(1, 5):
        places = np.argwhere(mask[0].numpy() == number)
        window = []
        for first, last, least, length in zip(
            places.min(0), places.max(0), (112, 288, 352), mask.shape[1:], strict=True
        ):
            wanted = max(least, last - first)
            start = max(0, (first + last) // 2 - wanted // 2)
            end = min(length, start + wanted)
            window.append(slice(max(0, end - wanted), end))
        fill = t.DivisiblePad((16, 16, 32), method="end")
        cut = [torch.as_tensor(np.asarray(fill(each[(slice(None), *window)]))) for each in (image, mask)]
        found.append((cut[0][None], (cut[1][None] == number).float()))
    return found


class Reference:
    def __init__(self) -> None:
        from monai.networks.nets.vit import ViT

        sizes = {"img_size": (112, 256, 352), "patch_size": (16, 16, 32), "hidden_size": WIDTH, "mlp_dim": 72}
        self.vit = natural(ViT(1, **sizes, num_layers=DEPTH, num_heads=1, qkv_bias=True), seed=1)
        self.bert = bert()
        self.attention = natural(nn.MultiheadAttention(WIDTH, 4, batch_first=True), seed=3)
        self.queries = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(4))
        self.joined = natural(nn.ModuleList(nn.Linear(WIDTH, JOINT) for _ in ORGANS), seed=5)
        self.worded = natural(nn.Linear(64, JOINT), seed=6)

    def weights(self) -> dict[str, Tensor]:
        held = {"temp": torch.tensor(0.05), "query_tokens": self.queries}
        seen = under("visual_encoder.", self.vit)
        # Of today's MONAI; the release's has none of these.
        held |= {n: t for n, t in seen.items() if "cross_attn" not in n and "classification" not in n}
        held |= {**under("text_encoder.", self.bert, drop="pooler"), **under("attention.", self.attention)}
        held |= {**under("vision_projs.", self.joined), **under("text_proj.", self.worded)}
        held["text_encoder.embeddings.position_ids"] = torch.arange(512)[None]
        held["text_encoder.cls.predictions.bias"] = torch.zeros(86)
        return held

    @torch.no_grad()
    def organ(self, number: int, window: Tensor, mask: Tensor) -> Tensor:
        """Return (1, D): blocks 3, 6, 9 and the normed last, where the organ is."""
        embed = self.vit.patch_embedding
        at = embed.patch_embeddings(window)
        places = embed.position_embeddings.transpose(1, 2).reshape(1, WIDTH, 7, 16, 11)
        places = F.interpolate(places, size=at.shape[2:], mode="trilinear", align_corners=False)
        at = (at + places).flatten(2).transpose(1, 2)
        own = F.max_pool3d(mask, (16, 16, 32)).flatten() > 0
        keys = []
        for i, block in enumerate(self.vit.blocks):
            at = block(at)
            if i in (3, 6, 9):
                keys.append(at[:, own])
        keys.append(self.vit.norm(at)[:, own])
        several = torch.cat(keys, dim=1)
        return self.joined[number](self.attention(self.queries[None, number : number + 1], several, several)[0][0])

    @torch.no_grad()
    def text(self, words: Any, texts: list[str]) -> Tensor:
        ids = words(texts, padding=True, return_tensors="pt")
        return self.worded(self.bert(**ids).last_hidden_state[:, 0])


@pytest.fixture(scope="module")
def reference() -> Reference:
    made = Reference()
    made.bert.embeddings.token_type_embeddings.weight.data.zero_()  # its BERT adds none
    return made


@pytest.mark.slow
def test_it_scores_the_windows_of_its_organs_as_its_parts_do(tmp_path: Path, reference: Reference) -> None:
    words, path = bert_words(tmp_path / "words"), study(tmp_path)
    held = reference.weights()
    held["text_encoder.embeddings.token_type_embeddings.weight"] = torch.ones(2, 64)  # stored, and never added
    torch.save({"model": held, "epoch": 3}, tmp_path / "fvlm.pth")
    options = {"tokenizer": str(tmp_path / "words")}
    ours = kept(convert(tmp_path / "fvlm.pth", name="fvlm", options=options), tmp_path / "bundle")
    stack = ours.prepare(path).pixels.pixels.unflatten(0, (4, -1)).transpose(1, 2)  # type: ignore[union-attr]
    organs = []
    for number, (window, mask) in enumerate(by_monai(path)):
        s, h, w = window.shape[2:]
        assert (stack[number, 0, :s, :h, :w] - window[0, 0]).abs().max() < 1e-6
        assert torch.equal(stack[number, 1, :s, :h, :w], 0.5 + mask[0, 0] / 2)
        assert stack[number].count_nonzero() == stack[number, :, :s, :h, :w].count_nonzero()  # nothing outside
        organs.append(units(reference.organ(number, window, mask)))
    assert np.abs(ours.embed_image(path) - units(torch.tensor(np.mean(organs, axis=0)))).max() < 1e-5
    scores = ours.ask("zero_shot", path).scores
    assert scores is not None
    assert len(scores) == 16
    asked = [
        ("effusion", 0, "Pleural effusion"),
        ("cardiomegaly", 1, "Cardiomegaly"),
        ("hiatal_hernia", 2, "Hiatal hernia"),
    ]
    for label, number, name in [*asked, ("arterial_wall_calcification", 3, "Arterial wall calcification")]:
        near = organs[number] @ units(reference.text(words, [f"Not {name}.", f"{name}."])).T / 0.05
        expected = torch.tensor(near).softmax(dim=1)[0, 1].item()
        assert scores[label][0] == pytest.approx(expected, abs=1e-5)


def test_changed_and_spoilt_files_are_refused(tmp_path: Path, reference: Reference) -> None:
    bert_words(tmp_path / "words")
    options: dict[str, Any] = {"tokenizer": str(tmp_path / "words")}
    whole = reference.weights()
    for what, held in changed(whole):
        torch.save({"model": held}, tmp_path / "file")
        with pytest.raises(DataError, match="do not fit"):
            pytest.fail(f"{what}: {convert(tmp_path / 'file', name='fvlm', options=options)} was taken")
    torch.save({"model": {n: t for n, t in whole.items() if n != "temp"}}, tmp_path / "file")
    with pytest.raises(DataError, match=r"the importer fvlm reads \(it lacks 'temp'\)"):
        convert(tmp_path / "file", name="fvlm", options=options)
    torch.save({"model": whole}, tmp_path / "file")
    with pytest.raises(UserError, match="A checkpoint of fVLM brings no tokenizer: give tokenizer=FOLDER"):
        convert(tmp_path / "file", name="fvlm", options={})
    for what, data in spoilt(tmp_path / "file", tmp_path / "trace"):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(UserError, match="cannot be read as weights alone"):
            pytest.fail(f"{what}: {convert(tmp_path / 'bad', name='fvlm', options=options)} was taken")
    assert not (tmp_path / "trace").exists()


def test_organs_come_from_a_file_or_from_the_manifest_and_are_never_guessed(tmp_path: Path) -> None:
    path = study(tmp_path)
    sizes = {"window": (32, 32, 16), "least": (32, 32, 16), "spacing": (20.0, 20.0, 20.0)}
    view = ReadOrgans(**sizes)
    stack: Any = view(Sample("a", {"volume": str(path), "mask.nodule": 0}), torch.Generator()).fields["stack"]
    assert stack.pixels.shape == (4 * 16, 2, 32, 32)
    drawn = {
        f"mask.{n}": Drawn("mask", f"a.nii.gz#{','.join(map(str, v))}", tmp_path / "organs") for n, v in ORGANS.items()
    }
    told = ReadOrgans(**sizes, masks="nowhere/{name}.nii")(
        Sample("a", {"volume": str(path), **drawn}), torch.Generator()
    )
    assert torch.equal(told.fields["stack"].pixels, stack.pixels)  # type: ignore[attr-defined]
    assert list(told.fields) == ["stack"]
    torn = read_volume(path)
    torn.voxels[5, 10, 10] = np.nan
    held: Any = view(Sample("a", {"volume": torn, **drawn}), torch.Generator()).fields["stack"]
    assert bool(held.pixels.isfinite().all())
    # 13 slices of the file, padded to 16, of which one lies in front: their middle is that of the file, in RAS mm.
    assert stack.position[17:30].mean(dim=0).tolist() == pytest.approx([-175.0, -142.0, 128.0], rel=1e-5)
    with pytest.raises(
        DataError, match=r"The lung is looked for in .*nowhere/a\.nii, which is not there: write it with a segm"
    ):
        ReadOrgans(**sizes, masks="nowhere/{name}.nii")(Sample("a", {"volume": str(path)}), torch.Generator())
    row: dict[str, Any] = {"id": ["a"], "volume": ["ct/a.nii.gz"]}
    for more in ({}, {"boxes.nodule": [[[0.0, 0.0, 0.0, 4.0, 4.0, 4.0]]]}):  # a column that came after the pool
        cached = prepare(Manifest.of({**row, **more}, root=tmp_path), [view], cache=tmp_path / "cache")
        assert list(cached.sample(0).fields) == ["stack"]
    none = {**drawn, "mask.heart": Drawn("mask")}
    with pytest.raises(DataError, match=r"'a' has no mask\.heart"):
        view(Sample("a", {"volume": str(path), **none}), torch.Generator())
    manifest = Manifest.of({"id": ["a"], "volume": ["ct/a.nii.gz"]}, root=tmp_path)
    cached: list[Any] = [stack_of(prepare(manifest, [view], cache=tmp_path / "cache").sample(0).fields["stack"])]
    assert torch.equal(cached[0].pixels, stack.pixels)
    other: Any = nibabel.load(path.parents[1] / "organs" / "a.nii.gz")
    values = np.asarray(other.dataobj).copy()
    values[values == 14] = 0
    nibabel.Nifti1Image(values, other.affine).to_filename(path.parents[1] / "organs" / "a.nii.gz")
    cached.append(stack_of(prepare(manifest, [view], cache=tmp_path / "cache").sample(0).fields["stack"]))
    assert not torch.equal(cached[1].pixels, cached[0].pixels)  # made anew
    lost = study(tmp_path / "lost", boxes={n: b for n, b in BOXES.items() if n != 15})
    with pytest.raises(DataError, match="holds no esophagus, and no score can be made without it"):
        view(Sample("a", {"volume": str(lost)}), torch.Generator())
    moved = nibabel.Nifti1Image(np.asarray(other.dataobj), np.diag([-10.0, -7.1, 9.0, 1.0]))  # type: ignore[attr-defined]
    moved.to_filename(tmp_path / "organs" / "a.nii.gz")
    with pytest.raises(DataError, match=r"or another place, and its volume .*: segment the volume as it is"):
        view(Sample("a", {"volume": str(path)}), torch.Generator())
    with pytest.raises(ConfigError, match=r"read_organs\.masks is 'organs\.nii': write \{name\}"):
        ReadOrgans(masks="organs.nii")
    with pytest.raises(ConfigError, match="read_organs makes a stack of a volume"):
        ReadOrgans(organs={})


def test_windows_of_other_forms_are_one_sentence() -> None:
    tower = OrganViT(organs=2, size=(4, 8, 8), patch=(2, 4, 4), width=8, heads=2, hidden=8, layers=1, levels=())
    with pytest.raises(ConfigError, match=r"multiples of \(4, 4, 4\) and was given \(1, 6, 2, 8, 8\): let read_organs"):
        tower(torch.ones(1, 6, 2, 8, 8), parts=frozenset())
    with pytest.raises(DataError, match="A window holds nothing of its organ"):
        tower(torch.full((1, 8, 2, 8, 8), 0.5), parts=frozenset())
    with pytest.raises(ConfigError, match=r"organ_vit has blocks 0 to 0, and levels are \[3\]"):
        OrganViT(size=(4, 8, 8), patch=(2, 4, 4), width=8, heads=2, layers=1, levels=(3,))
    with pytest.raises(ConfigError, match="organ_queries reads tokens 9 wide with 4 heads"):
        OrganQueries(in_width=9)
    row = tower(tower.blank(torch.device("cpu")), parts=frozenset({"pooled", "tokens"}))
    assert torch.allclose(row.pooled, row.tokens.mean(dim=1))  # type: ignore[union-attr]
