"""A checkpoint in the layout of the released one becomes a bundle that computes the same, or is refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.registry import schema
from medvlp.core.sample import Batch
from medvlp.models.bundle import load_bundle, save_bundle
from medvlp.zoo import convert, load_strictly, read_checkpoint

WIDTH, BOOK, FEEDFORWARD, LAYERS, HEADS, SIZE = 16, 12, 24, 2, 4, 64


class Layer(nn.Module):
    """A decoder layer under the names of the released code."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.multihead_attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.linear1, self.linear2 = nn.Linear(WIDTH, FEEDFORWARD), nn.Linear(FEEDFORWARD, WIDTH)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(WIDTH) for _ in range(3))


class Decoder(nn.Module):
    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)


class Reference(nn.Module):
    """The released model written out from its description, names included; queries come first in its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.res_features = nn.Sequential(*list(torchvision.models.resnet50(weights=None).children())[:7])
        self.mask_generator = nn.Linear(1024, 1024)
        for stream in ("pathology", "anatomy"):
            self.add_module(f"res_l1_{stream}", nn.Linear(1024, 1024))
            self.add_module(f"res_l2_{stream}", nn.Linear(1024, WIDTH))
            self.add_module(f"cl_fc_{stream}", nn.Linear(WIDTH, BOOK))
            self.add_module(f"decoder_{stream}", Decoder(Layer()))
            self.add_module(f"classifier_{stream}", nn.Linear(WIDTH, 2))
        self.pathology_embedding_layer = nn.Linear(BOOK, WIDTH)

    def forward(self, images: Tensor, books: dict[str, Tensor]) -> dict[str, Tensor]:
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        colour = (images.expand(-1, 3, -1, -1) - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        x = self.res_features(colour).flatten(2).transpose(1, 2)
        m = self.mask_generator(x)
        out: dict[str, Tensor] = {}
        for stream, values in (("pathology", m * x), ("anatomy", (1 - m) * x)):
            part = {name: getattr(self, f"{name}_{stream}") for name in ("res_l1", "res_l2", "cl_fc", "classifier")}
            memory = part["res_l2"](part["res_l1"](values).relu()).transpose(0, 1)
            query = self.pathology_embedding_layer(books[stream])[:, None].expand(-1, len(x), -1)
            weights = []
            decoder = getattr(self, f"decoder_{stream}")
            for layer in decoder.layers:
                normed = layer.norm1(query)
                query = query + layer.self_attn(normed, normed, normed)[0]
                read, seen = layer.multihead_attn(layer.norm2(query), memory, memory)
                weights.append(seen)
                query = query + read
                query = query + layer.linear2(layer.linear1(layer.norm3(query)).relu())
            features = decoder.norm(query).transpose(0, 1)
            out[f"medslip_{stream}_features"] = features
            out[f"medslip_{stream}"] = part["classifier"](features)
            out[f"medslip_{stream}_text"] = part["cl_fc"](features)
            out[f"attention_{stream}"] = torch.stack(weights, dim=1)
        out["medslip"] = torch.einsum(
            "bac,bpc->bap", out["medslip_anatomy_features"], out["medslip_pathology_features"]
        )
        return out


@pytest.fixture(scope="module")
def reference() -> Reference:
    torch.manual_seed(0)
    model = Reference().eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                tensor.add_(0.1 * torch.rand_like(tensor))
    return model


@pytest.fixture(scope="module")
def books() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {n: torch.randn(k, BOOK, generator=generator) for n, k in (("pathology", 75), ("anatomy", 51))}


@pytest.fixture
def files(reference: Reference, books: dict[str, Tensor], tmp_path: Path) -> dict[str, Any]:
    weights = {f"module.{name}": tensor for name, tensor in reference.state_dict().items()}
    state = {"state": {}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]}
    torch.save({"model": weights, "optimizer": state, "epoch": 99}, tmp_path / "MeDSLIP_resnet50.pth")
    save_file(books, tmp_path / "vectors.safetensors")
    return {
        "source": tmp_path / "MeDSLIP_resnet50.pth",
        "options": {"vectors": str(tmp_path / "vectors.safetensors"), "image_size": SIZE},
    }


def imported(files: dict[str, Any], **options: Any) -> Any:
    return convert(files["source"], name="medslip", options={**files["options"], **options})


def test_what_is_imported_computes_what_the_reference_computes(
    files: dict[str, Any], reference: Reference, books: dict[str, Tensor], tmp_path: Path
) -> None:
    save_bundle(tmp_path / "bundle", imported(files))
    model = load_bundle(tmp_path / "bundle").model
    images = torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    parts = ["medslip", *(f"medslip_{s}{p}" for s in books for p in ("", "_text", "_features"))]
    plan = Plan.of(keys(*(f"image/{part}" for part in parts), "image/tokens", "image/mask"))
    with torch.no_grad():
        expected = reference(images, books)
        rows = model(Batch.of({"image": images}), plan)["image"]
        looked = model.heads["image/medslip"].attention(rows)
    for part in parts:
        torch.testing.assert_close(
            rows.part(part), expected[part], rtol=2e-4, atol=2e-5, msg=lambda m, p=part: f"{p}: {m}"
        )
    for stream in books:
        torch.testing.assert_close(getattr(looked, stream), expected[f"attention_{stream}"], rtol=2e-4, atol=2e-5)
    assert rows.grid == (4, 4)


def test_a_picture_is_squeezed_as_in_the_training(files: dict[str, Any]) -> None:
    seen = VisionLanguageModel(imported(files)).prepare(np.linspace(0, 1, 40 * 90, dtype=np.float32).reshape(40, 90))
    shown = PIL.Image.fromarray(np.linspace(0, 1, 40 * 90, dtype=np.float32).reshape(40, 90))
    expected = np.asarray(shown.resize((SIZE, SIZE), PIL.Image.Resampling.BILINEAR))
    assert schema("zoo", "medslip").model_fields["image_size"].default == 224
    np.testing.assert_allclose(np.asarray(seen.pixels)[0], expected, atol=1 / 255)


def test_every_weight_finds_its_place_and_nothing_else_is_in_the_file(
    files: dict[str, Any], reference: Reference
) -> None:
    bundle = imported(files)
    own = {n for n in bundle.model.state_dict() if n.startswith("logit_scale") or ".book_" in n or ".said_" in n}
    assert len(bundle.model.state_dict()) - len(own) == len(reference.state_dict())
    assert bundle.provenance["converted_from"] == "medslip"
    assert len(str(bundle.provenance["source_sha256"])) == 64
    assert bundle.model.banks["pathology"].names[8] == "effusion"
    assert {"effusion", "fibrosis"} <= set(bundle.labels)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: w.pop("mask_generator.bias"), r"1 are missing, such as heads\.image/medslip\.gate\.bias"),
        (lambda w: w.update({"bert.pooler": torch.zeros(1)}), r"1 are not expected, such as bert\.pooler"),
        (lambda w: w.update({"res_features.7.0.conv1.weight": torch.zeros(1)}), r"19 are missing, such as .*layer4"),
        (
            lambda w: w.update({"classifier_anatomy.weight": torch.zeros(3, WIDTH)}),
            r"1 differ in shape, such as heads\.image/medslip\.exist\.anatomy\.weight \(3, 16\) for \(2, 16\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    change: Any, sentence: str, reference: Reference, files: dict[str, Any], tmp_path: Path
) -> None:
    weights = dict(reference.state_dict())
    change(weights)
    torch.save({"model": weights}, tmp_path / "changed.pth")
    with pytest.raises(
        DataError, match=rf"The weights of .*changed\.pth do not fit: {sentence}.*: name the checkpoint"
    ):
        imported({**files, "source": tmp_path / "changed.pth"})


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "config": _Hostile(tmp_path / "ran")}, tmp_path / "hostile.pth")
    with pytest.raises(
        UserError, match=r"hostile\.pth cannot be read as weights alone .*save its state dict by itself"
    ):
        read_checkpoint(tmp_path / "hostile.pth", inside=("model",))
    assert not (tmp_path / "ran").exists()


def test_files_that_are_none_are_one_sentence(files: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth does not exist: name the checkpoint's file"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(UserError, match=r"^\S+ is a folder: name the checkpoint's file"):
        read_checkpoint(tmp_path)
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(UserError, match=r"empty\.pth holds no state dict \(looked under model\): name another file"):
        read_checkpoint(tmp_path / "empty.pth", inside=("model",))
    (tmp_path / "cut.pth").write_bytes(files["source"].read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cut\.pth cannot be read as weights alone"):
        read_checkpoint(tmp_path / "cut.pth")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"other\.pth is not .* medslip reads \(it lacks 'pathology_embedding_layer"):
        imported({**files, "source": tmp_path / "other.pth"})
    with pytest.raises(UserError, match=r"cannot be read as text vectors .*: give a safetensors file"):
        imported(files, vectors=str(tmp_path / "nothing.safetensors"))


def test_a_checkpoint_alone_does_not_determine_the_model(files: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="does not hold the text vectors that its decoders ask with: give vectors=FILE"):
        imported(files, vectors=None)
    with pytest.raises(ConfigError, match=r"--from medslip\.vector is not a known key: .*vectors"):
        imported(files, vector="x")
    with pytest.raises(ConfigError, match="no zoo component named 'medslipp': did you mean 'medslip'"):
        convert(files["source"], name="medslipp", options={})


def test_books_are_mapped_by_position_whatever_their_keys_are(files: dict[str, Any], tmp_path: Path) -> None:
    texts = {f"damaged {i}": f"sentence {i}" for i in range(75)}
    (tmp_path / "book.json").write_text(json.dumps(texts))
    encoder = {"name": "hashed_words", "width": BOOK}
    bundle = imported(files, vectors=None, encoder=encoder, pathology_book=str(tmp_path / "book.json"))
    bank = bundle.model.banks["pathology"]
    assert (bank.names[8], bank.texts[8]) == ("effusion", "sentence 8")
    assert bundle.model.banks["anatomy"].texts[1] == "It is located at left_hilar. "
    assert "in other words than in training" not in bundle.card
    assert "in other words than in training" in imported(files, vectors=None, encoder=encoder).card
    (tmp_path / "book.json").write_text(json.dumps({"a": "one"}))
    with pytest.raises(DataError, match=r"book\.json has 1 texts, and the model asks 75 queries: give one each"):
        imported(files, vectors=None, encoder=encoder, pathology_book=str(tmp_path / "book.json"))


def test_a_name_that_two_foreign_names_claim_is_refused() -> None:
    layer = nn.Linear(1, 1, bias=False)
    weights = {"a": torch.zeros(1, 1), "b": torch.zeros(1, 1)}
    with pytest.raises(DataError, match="1 are not expected, such as b"):
        load_strictly(layer, weights, lambda name: "weight", source=Path("x"))


def test_the_command_converts_once_to_a_bundle_that_scores(files: dict[str, Any], tmp_path: Path) -> None:
    import numpy as np
    from typer.testing import CliRunner

    from medvlp.answers.asking.model import load
    from medvlp.cli.main import app

    options = [f"{name}={value}" for name, value in files["options"].items()]
    said = CliRunner().invoke(
        app, ["convert", str(files["source"]), *options, "--from", "medslip", "--out", str(tmp_path / "out")]
    )
    assert said.exit_code == 0, said.output
    assert "findings" in said.stdout
    model = load(tmp_path / "out")
    pairs, scores = model.ask("pairs", np.zeros((30, 20))).pairs, model.ask("existence", np.zeros((30, 20))).scores
    assert pairs is not None
    assert scores is not None
    assert pairs.values.shape == (1, 51, 75)
    assert "infiltration" in scores
