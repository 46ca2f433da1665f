"""Towers without words: timm, torchvision, DINOv2 of transformers, torchxrayvision compute what they compute there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from medvlp.core.errors import DataError, UserError
from medvlp.core.sample import Sample
from medvlp.features.embed import embed_parts
from medvlp.zoo import convert
from tests.zoo.small import changed, kept, natural, pictures, read, spoilt, units, write

SIDE = 56


def dino_folder(folder: Path) -> torch.nn.Module:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": SIDE}
    model = natural(Dinov2Model(Dinov2Config(**sizes)))
    model.save_pretrained(folder)
    side = {"height": SIDE, "width": SIDE}
    gray = {"image_mean": [0.5307] * 3, "image_std": [0.2583] * 3}
    BitImageProcessor(size={"shortest_edge": SIDE}, crop_size=side, **gray).save_pretrained(folder)
    return model


def test_dinov2_computes_what_transformers_computes(tmp_path: Path) -> None:
    model = dino_folder(tmp_path / "dino")
    bundle = convert(tmp_path / "dino", name="dinov2", options={"release": "rad_dino"})
    ours = kept(bundle, tmp_path / "bundle")
    images = pictures(SIDE)
    with torch.inference_mode():
        theirs = model(pixel_values=(images - 0.5307) / 0.2583)
    parts = embed_parts(ours.model, "image", list(images), ("embedding", "tokens"))
    assert np.abs(parts["embedding"] - units(theirs.pooler_output)).max() < 1e-5
    # Patches too, behind the same norm, row by row.
    assert np.abs(parts["tokens"] - theirs.last_hidden_state[:, 1:].numpy()).max() < 1e-4
    assert bundle.provenance["left_out"] == ["embeddings.mask_token"]
    assert (bundle.provenance["licence"], bundle.tokenizer) == ("MIT", None)
    file = tmp_path / "dino" / "model.safetensors"
    weights = read(file)
    for what, held in changed(weights):
        write(file, held)
        with pytest.raises(DataError, match="do not fit"):
            pytest.fail(f"{what}: {convert(tmp_path / 'dino', name='dinov2', options={})} was taken")
    (tmp_path / "dino" / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(DataError, match="holds a model of type 'vit': this importer reads 'dinov2'"):
        convert(tmp_path / "dino", name="dinov2", options={})


def test_a_damaged_folder_is_one_sentence_whatever_stands_in_the_place_of_a_number(tmp_path: Path) -> None:
    folder = tmp_path / "dino"
    dino_folder(folder)
    whole, weights = json.loads((folder / "config.json").read_text()), read(folder / "model.safetensors")
    for key, value in (("hidden_size", None), ("hidden_size", 0), ("mlp_ratio", "four"), ("hidden_act", ["gelu"])):
        (folder / "config.json").write_text(json.dumps({**whole, key: value}))
        with pytest.raises(DataError, match=r"^\S+/dino is not what the importer dinov2 reads .*: it is damaged"):
            pytest.fail(f"{key} {value}: {convert(folder, name='dinov2', options={})} was taken")
    (folder / "config.json").write_text(json.dumps(whole))
    name = "encoder.layer.0.attention.attention.key.weight"
    write(folder / "model.safetensors", {**weights, name: torch.zeros(7)})
    with pytest.raises(DataError, match=r"importer dinov2 reads \(Tensors must have same number of dimensions"):
        convert(folder, name="dinov2", options={})


def test_torchxrayvision_computes_what_its_package_computes(tmp_path: Path) -> None:
    xrv = pytest.importorskip("torchxrayvision", reason="torchxrayvision is not installed (extra bench)")
    model = natural(xrv.models.DenseNet(apply_sigmoid=True))
    torch.save(model.state_dict(), tmp_path / "all.pt")
    bundle = convert(tmp_path / "all.pt", name="torchxrayvision", options={})
    ours = kept(bundle, tmp_path / "bundle")
    images = pictures(224, channels=1, count=2)
    with torch.inference_mode():
        features, scores = model.features2((2 * images - 1) * 1024), model((2 * images - 1) * 1024)
    parts = embed_parts(ours.model, "image", list(images), ("embedding", "findings"))
    assert np.abs(parts["embedding"] - units(features)).max() < 1e-5
    found = 1 / (1 + np.exp(-parts["findings"].astype(np.float64)))
    assert np.abs(found - scores.numpy()).max() < 1e-5
    assert [label.replace("_", " ") for label in ours.bundle.labels] == [
        each.lower().replace("_", " ") for each in xrv.models.DenseNet.targets
    ]
    assert bundle.preprocessing[0]["size"] == 224
    # Of a release only the outputs that it trained are kept.
    labels = convert(tmp_path / "all.pt", name="torchxrayvision", options={"weights": "rsna"}).labels
    assert labels == ("pneumonia", "lung_opacity")
    for weights, told in xrv.models.model_urls.items():
        variant = weights.replace("densenet121-res224-", "").replace("resnet50-res512-all", "resnet50")
        if "op_threshs" not in told or variant == weights:
            continue
        trained = [i for i, value in enumerate(told["op_threshs"]) if not np.isnan(value)]
        from medvlp.zoo.torchxrayvision import _TRAINED

        assert list(_TRAINED[variant]) == trained, variant


def test_the_resnet_of_torchxrayvision_is_read_bare_and_as_its_package_holds_it(tmp_path: Path) -> None:
    import torchvision

    model = torchvision.models.resnet50(num_classes=18)
    model.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    bare = natural(model).state_dict()
    trained = torch.full((18,), 0.5).index_fill(0, torch.tensor([14, 17]), torch.nan)
    packed = {**{f"model.{name}": tensor for name, tensor in bare.items()}, "op_threshs": trained}
    made = []
    for name, held in (("bare", bare), ("packed", packed)):
        torch.save(held, tmp_path / f"{name}.pt")
        made.append(convert(tmp_path / f"{name}.pt", name="torchxrayvision", options={"weights": "resnet50"}))
    # The square in the middle first, then scikit-image's scaling, which knows no 8 bits.
    cut = {"name": "read", "fit": "square_crop", "resample": "gaussian", "bits": 32, "preset": "dicom_voi_v1"}
    assert made[0].preprocessing == [{**cut, "size": 512}]
    first, second = (each.model.state_dict() for each in made)
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_outputs_that_the_file_says_were_never_trained_are_no_findings(tmp_path: Path) -> None:
    """As the package's own state dicts tell it; two of the eighteen outputs of its RSNA release mean anything."""
    held = timm.create_model("densenet121", in_chans=1, num_classes=18).state_dict()
    trained = torch.full((18,), torch.nan).index_fill(0, torch.tensor([8, 16]), 0.135)
    torch.save({**held, "op_threshs": trained}, tmp_path / "rsna.pt")
    found = convert(tmp_path / "rsna.pt", name="torchxrayvision", options={"weights": "rsna"})
    assert found.labels == ("pneumonia", "lung_opacity")
    for options in ({}, {"weights": "nih"}):
        with pytest.raises(
            DataError, match=r"rsna\.pt says of its outputs \(op_threshs\) that others were trained than"
        ):
            convert(tmp_path / "rsna.pt", name="torchxrayvision", options=options)


def test_a_whole_pickled_module_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(UserError, match=r"cannot be read as weights alone .* save its state dict by itself"):
        convert(tmp_path / "module.pt", name="torchxrayvision", options={})
    for what, bytes_ in spoilt(tmp_path / "module.pt", tmp_path / "trace"):
        (tmp_path / "bad.pt").write_bytes(bytes_)
        with pytest.raises(UserError, match="cannot be read as weights alone"):
            pytest.fail(f"{what}: {convert(tmp_path / 'bad.pt', name='torchxrayvision', options={})} was taken")
    assert not (tmp_path / "trace").exists(), "code of the file was run"


@pytest.mark.parametrize("labels", [pytest.param(None, marks=pytest.mark.slow), ["effusion", "edema"]])
def test_torchvisions_resnet_is_read_by_timms_name(tmp_path: Path, labels: list[str] | None) -> None:
    import torchvision

    model = natural(torchvision.models.resnet18(num_classes=2))
    torch.save({"state_dict": {f"module.{n}": t for n, t in model.state_dict().items()}}, tmp_path / "r18.pth")
    options = {"architecture": "resnet18", "image_size": 64, "labels": labels, "licence": "MIT", "title": "Mine"}
    options["citation"] = "He et al. 2016"
    bundle = convert(tmp_path / "r18.pth", name="timm", options=options)
    ours = kept(bundle, tmp_path / "bundle")
    images = pictures(64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.inference_mode():
        logits = model((images - mean) / std)
        model.fc = torch.nn.Identity()
        features = model((images - mean) / std)
    assert np.abs(ours.embed_prepared(list(images)) - units(features)).max() < 1e-5
    assert (bundle.provenance["mean"], bundle.provenance["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert (bundle.provenance["citation"], "Mine. He et al. 2016" in bundle.card) == ("He et al. 2016", True)
    if labels is None:
        assert (ours.bundle.labels, bundle.provenance["left_out"]) == ((), ["fc.weight", "fc.bias"])
    else:
        found = embed_parts(ours.model, "image", list(images), ("findings",))["findings"]
        assert np.abs(found - logits.numpy()).max() < 1e-5 * logits.abs().max().item()
        assert set(ours.ask("findings", np.full((80, 70), 0.5)).scores) == set(labels)
    with pytest.raises(DataError, match=r"r18\.pth tells 2 findings and labels has 3: name each, in their order"):
        convert(tmp_path / "r18.pth", name="timm", options={**options, "labels": ["effusion", "edema", "mass"]})
    with pytest.raises(UserError, match="does not say what it is: give architecture=NAME"):
        convert(tmp_path / "r18.pth", name="timm", options={})
    with pytest.raises(DataError, match="do not fit"):
        convert(tmp_path / "r18.pth", name="timm", options={"architecture": "resnet34", "image_size": 64})


def test_a_file_from_before_batch_norm_counted_batches_is_the_same_model(tmp_path: Path) -> None:
    """As torch has it: files that are older than its version 0.4.1 have no counters, and no model in use reads them."""
    held = natural(timm.create_model("resnet10t", num_classes=0)).state_dict()
    made = []
    for name, weights in (("new", held), ("old", {n: t for n, t in held.items() if not n.endswith("_tracked")})):
        torch.save(weights, tmp_path / name)
        made.append(convert(tmp_path / name, name="timm", options={"architecture": "resnet10t", "image_size": 64}))
    assert len(weights) < len(held)
    first, second = (bundle.model.state_dict() for bundle in made)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_statistics_that_nobody_gave_are_those_of_timms_own_weights(tmp_path: Path) -> None:
    """Most of timm's ViTs were trained on pixels from -1 to 1."""
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    made = convert(tmp_path / "vit.pth", name="timm", options={"architecture": "vit_tiny_patch16_224"})
    assert (made.provenance["mean"], made.provenance["std"]) == ([0.5] * 3, [0.5] * 3)
    given = {"architecture": "vit_tiny_patch16_224", "mean": [0.4], "std": [0.2]}
    other = convert(tmp_path / "vit.pth", name="timm", options=given)
    assert (other.provenance["mean"], other.provenance["std"]) == ([0.4], [0.2])


def test_a_folder_of_timm_brings_its_own_pixels(tmp_path: Path) -> None:
    model = natural(timm.create_model("vit_tiny_patch16_224", num_classes=0))
    write(tmp_path / "model.safetensors", model.state_dict())
    shown = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "crop_pct": 0.9}
    told = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {**shown, "input_size": [3, 224, 224]}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    bundle = convert(tmp_path, name="timm", options={})
    images = pictures(224, count=2)
    with torch.inference_mode():
        theirs = units(model((images - 0.5) / 0.5))
    assert np.abs(kept(bundle, tmp_path / "bundle").embed_prepared(list(images)) - theirs).max() < 1e-5
    assert {k: bundle.preprocessing[0][k] for k in ("size", "resize", "fit", "resample")} == {
        "size": 224, "resize": 248, "fit": "crop", "resample": "bicubic"
    }  # fmt: skip


def timm_folder(folder: Path, **shown: object) -> None:
    folder.mkdir(exist_ok=True)
    write(folder / "model.safetensors", timm.create_model("resnet10t", num_classes=0).state_dict())
    told = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 0, **shown}
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": told}))


@pytest.mark.parametrize("shown", [{}, {"crop_pct": None}, {"crop_mode": "squash", "crop_pct": 1.0}])
def test_a_picture_is_brought_to_its_size_as_timm_does_it(tmp_path: Path, shown: dict[str, object]) -> None:
    """What a folder leaves out is timm's default of any weights, not that of the architecture's own."""
    from medvlp.runs.data import build_views

    timm_folder(tmp_path / "timm", **shown)
    model = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    (read,) = build_views(convert(tmp_path / "timm", name="timm", options={}).preprocessing, where="preprocessing")
    levels = np.random.default_rng(0).integers(0, 256, (97, 161), dtype=np.uint8)
    theirs = transform(Image.fromarray(levels).convert("RGB")) * 0.5 + 0.5
    ours = read(Sample("a", {"image": levels.astype(np.float32) / 255}), torch.Generator()).fields["image"]
    assert torch.equal((ours * 255).round(), (theirs[:1] * 255).round())


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({"crop_mode": "border"}, "by crop_mode 'border' and interpolation 'bicubic': center or squash, by bicubic"),
        ({"interpolation": "nearest"}, "and interpolation 'nearest': center or squash"),
        ({"crop_mode": "squash", "crop_pct": 0.9}, "are squashed and 0.9 of them cut out: only the whole"),
        ({"input_size": [3, 64, 32]}, r"takes pictures of \[64, 32\]: only squares are read here"),
    ],
)
def test_a_size_that_no_view_makes_is_refused(tmp_path: Path, shown: dict[str, object], said: str) -> None:
    timm_folder(tmp_path / "timm", **shown)
    with pytest.raises(DataError, match=said):
        convert(tmp_path / "timm", name="timm", options={})


def test_a_timm_folder_of_older_form_says_of_pixels_beside_the_name(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", timm.create_model("resnet10t", num_classes=0, in_chans=1).state_dict())
    told = {"input_size": [1, 96, 96], "mean": [0.3], "std": [0.2], "interpolation": "bilinear", "crop_pct": 0.95}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", **told}))
    made = convert(tmp_path, name="timm", options={})
    assert (made.provenance["mean"], made.provenance["std"]) == ([0.3], [0.2])
    assert (made.model.spec["vision"]["channels"], made.preprocessing[0]["resize"]) == (1, 101)


def test_the_picture_behind_a_squeezed_and_a_cut_view_is_found_again() -> None:
    """Marks follow the record: the corner of the view is where it lies in the file."""
    from medvlp.data.views.read import Read

    pixels = np.zeros((80, 200), np.float32)
    pixels[60:70, 150:160] = 1
    for fit, side in (("squeeze", 40), ("crop", 40), ("pad", 40), ("square_pad", 40), ("square_crop", 40)):
        view = Read(size=side, fit=fit, resample="bilinear")(Sample("a", {"image": pixels}), torch.Generator())
        x0, y0, x1, y1 = view.records["image"].box
        seen = view.fields["image"][0].numpy()
        if fit in ("crop", "square_crop"):
            assert (round(x0, 6), round(y0, 6), round(x1, 6), round(y1, 6)) == (60, 0, 140, 80)
            assert seen.max() == 0
            continue
        rows, columns = np.nonzero(seen > 0.5 * seen.max())
        middle = ((columns.mean() + 0.5) * (x1 - x0) / side + x0, (rows.mean() + 0.5) * (y1 - y0) / side + y0)
        assert middle == pytest.approx((155, 65), abs=3)
