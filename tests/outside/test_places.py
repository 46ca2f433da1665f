"""Each place where something new goes is one file, which another package may bring.

Here an encoder, a layout, a view, a probe, an importer and a demo; an objective, an answer, a measure, a score, and
parts of a model or a run have tests of their own beside this one.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from medvlp.answers.asking.ask import answered, ask_samples
from medvlp.core.answers import Answer, Ask, ProbeTable, Rows
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key
from medvlp.core.protocols import Encoder, Model
from medvlp.core.registry import FromModel, available, build
from medvlp.core.sample import Sample
from medvlp.core.table import FeatureTable
from medvlp.data.catalogue import catalogue
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import apply_views
from medvlp.evaluation.results import load_result
from medvlp.features.embed import embed_parts
from medvlp.models.build import build_model
from medvlp.models.bundle import load_bundle
from medvlp.runs.data import build_views
from medvlp.zoo import convert
from tests.cli.conftest import cli
from tests.plugins import PACKAGES, installed
from tests.test_readme import BLOCK, PAGES
from tests.tiny import write_tree

__all__ = ["cli"]
Cli = Callable[..., Any]
COMPONENTS = {
    "mean_pixels": "models/encoders mean_pixels:MeanPixels",
    "class_folders": "data/layouts class_folders:index",
    "gain": "data/views gain:Gain",
    "nearest_mean": "adaptation nearest_mean:NearestMean",
    "plain_weights": "zoo plain_weights:plain_weights",
}


@pytest.fixture(scope="module", autouse=True)
def package() -> Iterator[None]:
    with installed(*COMPONENTS, "own_demo", **COMPONENTS):
        yield


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 pictures of 72 patients: those with an effusion are brighter."""
    folder, draw = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    for number in range(72):
        pixels = draw.normal(150 if number % 2 else 90, 20, (48, 48)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number:02}_{'with' if number % 2 else 'without'}.png")
    return folder


def test_the_command_line_reads_a_folder_by_the_layout(films: Path, cli: Cli, tmp_path: Path) -> None:
    assert cli("data", "index", "class_folders", films, "--out", tmp_path / "m.parquet").code == 0
    manifest = Manifest.load(tmp_path / "m.parquet")
    assert (len(manifest), manifest.record(1)["id.patient"], manifest.record(1)["label.effusion"]) == (72, "p01", 1.0)


@pytest.fixture(scope="module")
def run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other package's folder through its view into its encoder, under an objective of ours."""
    from typer.testing import CliRunner

    from medvlp.cli.main import app

    folder = tmp_path_factory.mktemp("places")
    tree = {
        "run": str(folder / "run"),
        "seed": 1,
        "data": {
            "root": str(films),
            "layout": "class_folders",
            "split": {"name": "patient", "fractions": {"train": 0.4, "validate": 0.3, "test": 0.3}, "seed": 0},
            "prefix": [{"name": "read", "size": 32}],
            "suffix": [{"name": "gain", "most": 0.1}],
            "cache": str(folder / "cache"),
        },
        "model": {"name": "vision", "vision": {"name": "mean_pixels", "width": 8}},
        "phases": [{"until": 400, "objectives": [{"name": "classify", "labels": ["effusion"]}]}],
        "optimiser": {"rate": 3.0e-2, "warmup": 16},
        "training": {"batch": 8, "validate_every": 200, "checkpoint_every": 200, "log_every": 40},
        "evaluation": {"resamples": 100, "min_positives": 1, "gallery": 0, "choose": "findings/auroc/effusion"},
    }
    done = CliRunner().invoke(app, ["train", str(write_tree(folder / "c.yaml", tree))])
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_a_bundle_of_the_encoder_gives_what_its_weights_say(run: Path, films: Path) -> None:
    bundle = load_bundle(run / "bundle")
    pixels = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    told = embed_parts(bundle.model, "image", list(pixels), ("pooled",))["pooled"]
    weights = bundle.model.state_dict()
    tiles = pixels.reshape(2, 4, 8, 4, 8).mean((2, 4)).reshape(2, 16)
    by_hand = tiles @ weights["towers.image.output.weight"].T + weights["towers.image.output.bias"]
    np.testing.assert_allclose(told, by_hand.numpy(), rtol=1e-5, atol=1e-6)


def test_a_form_made_for_one_size_refuses_a_tower_that_tells_none(run: Path, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra serve)")
    told = cli("export", run / "bundle", "--to", "onnx", "--out", tmp_path / "onnx").refused()
    assert "MeanPixels, the tower of images, tells none: give it the attributes channels and image_size" in told


def nothing(root: Annotated[Path, FromModel("root")]) -> None:
    """A layout that returns nothing."""


def test_a_layout_that_makes_no_manifest_is_one_sentence(films: Path, cli: Cli, tmp_path: Path) -> None:
    with installed(nothing=f"data/layouts {__name__}:nothing"):
        told = cli("data", "index", "nothing", films, "--out", tmp_path / "m.parquet").refused()
        assert "The layout 'nothing' gave NoneType and no Manifest: let it return Manifest.of(...)" in told
        assert next(entry.title for entry in catalogue() if entry.name == "nothing") == "A layout that returns nothing"


def unasked(root: Path) -> Manifest:
    """A layout whose folder is an option."""
    return Manifest.of({"id": ["a"]}, root=root)


def test_a_layout_that_is_not_given_its_folder_is_told_how_it_would_be(films: Path, cli: Cli, tmp_path: Path) -> None:
    with installed(unasked=f"data/layouts {__name__}:unasked"):
        told = cli("data", "index", "unasked", films, "--out", tmp_path / "m.parquet").refused()
    mended = f"Or annotate it FromModel('root') in {__name__}: then it is given."
    assert f"options.root is missing: give it a value. {mended}" in told


def module(*, source: Annotated[Path, FromModel("source")]) -> torch.nn.Module:
    """An importer that returns what it read, and no bundle."""
    return torch.nn.Linear(2, 2)


def test_an_importer_that_makes_no_bundle_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    with installed(module=f"zoo {__name__}:module"):
        told = cli("convert", tmp_path, "--from", "module", "--out", tmp_path / "bundle").refused()
    assert "The importer 'module' gave Linear: let it return Bundle(...)." in told


def test_an_importer_that_fails_before_it_is_called_accuses_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's mistake is a sentence, and a bug is a traceback."""
    (tmp_path / "zero_division_zoo.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with installed(broken="zoo zero_division_zoo:importer"), pytest.raises(ZeroDivisionError):
        convert(tmp_path / "good.pt", name="broken", options={})


@dataclass(frozen=True)
class InPlace:
    """A view that changes its sample and forgets to return it."""

    random: ClassVar[bool] = False

    def __call__(self, sample: Sample, generator: torch.Generator) -> None:
        sample.fields["image"] *= 2


def test_a_view_that_returns_no_sample_is_one_sentence() -> None:
    sample = Sample("a", {"image": torch.ones(1, 2, 2)})
    with pytest.raises(ConfigError, match=r"The view '.*InPlace' gave NoneType: let it return a Sample\."):
        apply_views(sample, [InPlace()])  # type: ignore[list-item]


@dataclass(frozen=True)
class Unsaid:
    """A view that draws, and does not say it: a pass in order would not leave it out."""

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        return replace(sample, fields={"image": torch.rand(1, 2, 2, generator=generator)})


def test_a_view_that_does_not_say_whether_it_draws_is_one_sentence() -> None:
    with (
        installed(unsaid=f"data/views {__name__}:Unsaid"),
        pytest.raises(ConfigError, match=r"^data\.suffix: Unsaid does not say whether it draws: give its class random"),
    ):
        build_views([{"name": "read", "size": 32}, {"name": "unsaid"}], where="data.suffix")


class Scores(Answer):
    """An answer that gives a dictionary."""

    def needs(self, model: Model) -> frozenset[Key]:
        return frozenset()

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Any:
        return {"effusion": np.zeros(len(rows.table.ids))}


def test_an_answer_that_makes_no_predictions_is_one_sentence() -> None:
    model: Any = None
    for said in (
        lambda: answered(Scores(), model, FeatureTable(["a"], {})),
        lambda: ask_samples({"it": Streamed()}, model, [Sample("a", {})]),
    ):
        with pytest.raises(ConfigError, match=r"\.answer gave dict: let it return Predictions\(\.\.\.\)\."):
            said()


class Streamed(Scores):
    """The same, group by group."""

    streams = True


class Weights:
    """A probe that gives its weights."""

    def fit(self, train: ProbeTable, validation: ProbeTable, bank: Mapping[str, np.ndarray]) -> np.ndarray:
        return train.features.mean(0)


class Bright(Encoder):
    """An encoder that gives a tensor."""

    kinds = ("image",)

    def __init__(self) -> None:
        super().__init__()
        self.width = self.token_width = 1
        self.offers = frozenset({"pooled"})

    def forward(self, values: torch.Tensor, **parts: Any) -> torch.Tensor:  # type: ignore[override]
        return values.flatten(1).mean(1, keepdim=True)

    def sites(self) -> dict[str, Any]:
        return {}

    def blank(self, device: torch.device) -> torch.Tensor:
        return torch.zeros(1, 1, 8, 8, device=device)


def test_a_tower_that_gives_a_tensor_is_one_sentence() -> None:
    with installed(bright=f"models/encoders {__name__}:Bright"):
        model = build_model({"name": "vision", "vision": {"name": "bright"}}, tokenizer=None, seed=0)
        with pytest.raises(ConfigError, match=r"Bright gave Tensor: let it return Encoded\(\.\.\.\)\."):
            embed_parts(model, "image", [torch.ones(1, 8, 8)], ("pooled",))


class Wide(Bright):
    """An encoder whose rows have two numbers where it says one."""

    def forward(self, values: torch.Tensor, **parts: Any) -> Encoded:  # type: ignore[override]
        return Encoded(torch.arange(len(values)), pooled=values.flatten(1)[:, :2])


def test_a_tower_of_another_width_than_it_says_is_one_sentence() -> None:
    with installed(wide=f"models/encoders {__name__}:Wide"):
        model = build_model({"name": "vision", "vision": {"name": "wide"}}, tokenizer=None, seed=0)
        with pytest.raises(ConfigError, match="Wide gave pooled of width 2, and its width is 1: let both be the same"):
            embed_parts(model, "image", [torch.ones(1, 8, 8)], ("pooled",))


def test_the_view_is_replayed_from_its_generator() -> None:
    view = build("data/views", {"name": "gain", "most": 0.5}, where="t")
    sample = Sample("a", {"image": torch.ones(1, 2, 2)})
    drawn = [view(sample, torch.Generator().manual_seed(7)).fields["image"] for _ in range(2)]
    assert torch.equal(*drawn)
    assert 0.5 <= float(drawn[0][0, 0, 0]) <= 1


def test_the_probe_is_fitted_and_judged_by_the_evaluation(run: Path, films: Path, cli: Cli, tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "model": str(run / "bundle"),
        "out": str(tmp_path / "out"),
        "data": {"root": str(films), "layout": "class_folders", "cache": None}
        | {"split": {"name": "patient", "fractions": {"train": 0.4, "validate": 0.3, "test": 0.3}, "seed": 0}},
        "evaluation": {"resamples": 100, "min_positives": 1, "gallery": 0, "fit": None}
        | {"measures": {"probes": {"probes": ["nearest_mean"]}}},
    }
    assert cli("evaluate", write_tree(tmp_path / "e.yaml", tree)).code == 0
    rows = load_result(tmp_path / "out" / "results" / "nearest_mean_probe.json").metrics
    assert next(row.value for row in rows if row.metric == "auroc" and row.label == "effusion") > 0.9
    tree["evaluation"]["measures"]["probes"]["probes"] = ["weights"]
    with installed(weights=f"adaptation {__name__}:Weights"):
        told = cli("evaluate", write_tree(tmp_path / "w.yaml", tree)).refused()
    assert "The probe 'weights' gave ndarray: let its fit return an Answer." in told


def test_the_probe_scores_by_the_difference_of_means() -> None:
    told = {"effusion": np.array([1.0, 0.0])}
    table = ProbeTable(np.array([[3.0, 1.0], [1.0, 2.0]]), told, ["a", "b"])
    answer = build("adaptation", {"name": "nearest_mean"}, where="t").fit(table, table, {})
    assert answer.weights["effusion"].tolist() == [2.0, -1.0]


def test_the_importer_makes_a_bundle_and_refuses_other_weights(tmp_path: Path, cli: Cli) -> None:
    weights = {"fc.weight": torch.randn(16, 16), "fc.bias": torch.randn(16)}
    save_file(weights, tmp_path / "theirs.safetensors")
    assert cli("convert", tmp_path / "theirs.safetensors", "--from", "plain_weights", "--out", tmp_path / "b").code == 0
    ours = load_bundle(tmp_path / "b").model.state_dict()
    assert torch.equal(ours["towers.image.output.weight"], weights["fc.weight"])
    save_file({**weights, "fc.more": torch.zeros(1)}, tmp_path / "other.safetensors")
    told = cli("convert", tmp_path / "other.safetensors", "--from", "plain_weights", "--out", tmp_path / "c").refused()
    assert "fc.more" in told


def test_the_demo_stands_on_serving_alone_and_gives_the_numbers_of_predict(run: Path, films: Path, cli: Cli) -> None:
    import own_demo  # pyrefly: ignore

    told = ast.parse((PACKAGES / "own_demo.py").read_text())
    ours = {n.module for n in ast.walk(told) if isinstance(n, ast.ImportFrom) and str(n.module).startswith("medvlp")}
    assert ours == {"medvlp.serving"}
    path = films / "p01_with.png"
    (said,) = json.loads(cli("predict", run / "bundle", path, "--json").out)["results"]
    assert own_demo.demo(run / "bundle").fn(str(path)) == said["scores"]


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("encoder", "mean_pixels"),
        ("probe", "nearest_mean"),
        ("view", "gain"),
        ("importer", "plain_weights"),
        ("demo", "own_demo"),
    ],
)
def test_the_manuals_page_shows_the_file_that_is_installed_here(page: str, shown: str) -> None:
    blocks = BLOCK.findall(PAGES[f"docs/contributing/{page}.md"])
    assert [text for kind, text in blocks if kind == "python"] == [(PACKAGES / f"{shown}.py").read_text()]


def test_all_are_listed_beside_our_own() -> None:
    for name, where in COMPONENTS.items():
        assert name in available(where.split()[0])
