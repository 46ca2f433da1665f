"""Every shipped configuration is read, built at toy size, stepped once and released."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from medvlp.config.recipe import full_tree, recipe_of
from medvlp.config.tree import load_config
from medvlp.config.yaml import find_config, load_tree, read_yaml
from medvlp.core.resources import resource_folder
from medvlp.data.layouts.phantom import index
from medvlp.models.bundle import load_bundle, save_bundle
from medvlp.runs.evaluate import evaluate, load_evaluation
from medvlp.runs.grid.sweep import load_sweep
from medvlp.runs.grid.table import sweep
from medvlp.runs.slices import embed_slices
from medvlp.runs.train import train
from medvlp.zoo import convert
from tests.config.benchmark_trees import TREES, vqa_rad
from tests.models.words import VIT
from tests.tiny import MODEL, VISION, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained

CONFIGS = resource_folder("configs")
RUNS = sorted(
    f"{folder}/{path.name}"
    for folder in ("pretrain", "finetune", "compare")
    for path in (CONFIGS / folder).glob("*.yaml")
    if (folder, path.stem) != ("compare", "phantom")  # a sweep
)
SWEEPS = sorted(path.name for path in (CONFIGS / "sweep").glob("*.yaml"))
BATCH, SIZE = 8, 64
TREE_OF = {**TREES, "vqa_rad": vqa_rad}


@dataclass(frozen=True)
class World:
    """What shipped configurations name as made before: hospitals, bundles to start from, features of slices."""

    hospital: Path
    bundle: Path = Path()
    volumes: Path = Path()
    slices_bundle: Path = Path()
    features: Path = Path()
    both: Path = Path()
    starter: Path = Path()
    starter_features: Path = Path()
    cache: Path | None = None  # what one of them has read the next one finds; None: each reads its own

    def place(self, shipped: str) -> Path:
        """Where the thing is that a configuration calls so."""
        known = {
            "runs/quickstart/run/bundle": self.bundle,
            "runs/compare/budget/bundle": self.bundle,
            "runs/compare/dino/bundle": self.bundle,
            "runs/starter": self.starter,
            "runs/starter320": self.starter,
            "runs/ct": self.volumes,
            "runs/films_and_ct": self.both,
            "runs/phantom_ct_slices/bundle": self.slices_bundle,
            "runs/ct_features": self.features,
            "runs/ct_features/manifest.parquet": self.features / "manifest.parquet",
            "runs/hospital_ct_features": self.starter_features,
            "runs/hospital_ct_features/manifest.parquet": self.starter_features / "manifest.parquet",
        }
        return known.get(shipped, self.hospital)


def toy(tree: dict[str, Any], folder: Path, world: World) -> dict[str, Any]:
    """The same recipe, small: its names, objectives, states, banks, views and layouts stay."""
    tree["run"] = str(folder / "run")
    data = tree["data"]
    data["cache"], data["root"] = str(world.cache or folder / "cache"), str(world.place(data["root"]))
    if data.get("manifest") is not None:
        data["manifest"] = str(world.place(data["manifest"]))
    layout = data.get("layout")
    if isinstance(layout, dict) and layout["name"] == "hospital":
        layout["images"] = "dicom"
    if isinstance(layout, dict) and layout["name"] == "csv":
        made = as_label_maps if "volume" in layout["columns"] else as_csv
        data["root"] = str(made(folder / "csv", world))
    name = layout if isinstance(layout, str) else (layout or {}).get("name")
    if name == "covid_chestxray":
        data["root"] = str(as_lung_masks(folder / "lungs", layout["masks"]))
    elif name in TREE_OF:
        data["root"] = str(folder / name)
        TREE_OF[name](folder / name)
    if name == "rsna_pneumonia":  # whose split is drawn from all rows of the release
        data["split"] = {"name": "patient", "fractions": {"train": 0.6, "validate": 0.4}}
    for view in data["prefix"]:
        if view["name"] in ("read", "read_stack", "read_volume"):
            view["size"] = SIZE
    for view in data.get("suffix", ()):
        if view["name"] == "crops":
            view["size"] = SIZE
    if "tokenizer" in tree:
        tree["tokenizer"] |= {"vocab_size": 512, "max_length": 48}
    if "vision" in tree["model"]:
        for tower in (tree["model"]["vision"], tree["model"].get("stack")):
            if tower is not None and tower["name"] == "monai":
                tower["width"] = 12 if tower["architecture"] == "swin_unetr" else 4
            elif tower is not None and str(tree.get("init_from")).startswith("runs/starter"):
                tower |= {} if "slice" in tower else {"image_size": SIZE}  # the architecture is that of the weights
            elif tower is not None:
                inside = [tower[name] for name in ("slice", "first", "second") if name in tower]
                for each in inside or [tower]:
                    small = VIT if each["architecture"].startswith("vit_") else VISION
                    each |= {**small, "image_size": SIZE, "channels": each["channels"]}
                if "weights" in tower:
                    tower["weights"] = {name: str(world.place(place)) for name, place in tower["weights"].items()}
        if tree["model"].get("text", {}).get("name") == "transformer":
            tree["model"]["text"] |= MODEL["text"]
        if "embed_dim" in tree["model"]:
            tree["model"]["embed_dim"] = MODEL["embed_dim"]
    else:
        tree["model"] |= {"image_size": SIZE, "patch_size": 16, "width": 16, "layers": 1, "attention_heads": 2}
    if tree.get("tokenizer", {}).get("name") == "transformers":
        tree["tokenizer"]["path"] = str(tiny_bert(folder / "bert"))
        if tree["model"]["text"]["name"] == "transformers":
            tree["model"]["text"]["path"] = tree["tokenizer"]["path"]
    if tree.get("init_from") is not None:
        tree["init_from"] = str(world.place(tree["init_from"]))
    for state in tree.get("states", {}).values():
        if "bundle" in state:
            state["bundle"] = str(world.place(state["bundle"]))
    for i, phase in enumerate(tree["phases"]):
        phase["until"] = BATCH * (i + 1)
        for objective in phase["objectives"]:
            if "path" in objective.get("decoder", {}):
                objective["decoder"]["path"] = str(tiny_gpt2(folder / "gpt2"))
            if objective["name"] == "denoise":
                objective["denoiser"] = {**objective.get("denoiser", {}), "size": 16}
    remember = tree["training"].get("remember", False)
    tree["training"] = {"batch": BATCH, "log_every": BATCH, "remember": remember}
    return tree


def as_csv(folder: Path, world: World) -> Path:
    """Write the tiny hospital as a folder with a table, its files linked."""
    hospital = world.hospital
    manifest = index(hospital)
    folder.mkdir(parents=True)
    with open(folder / "table.csv", "w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["image", "report", "patient_id", "grade"])
        for i in range(len(manifest)):
            record = manifest.record(i)
            link = folder / f"{i}.dcm"
            link.hardlink_to(hospital / str(record["image"]))
            grade = ("", "mild", "moderate", "severe").index(record.get("severity.effusion") or "")
            rows.writerow([link.name, record["text"], record["id.patient"], grade])
    return folder


def as_label_maps(folder: Path, world: World) -> Path:
    """Write two small volumes, one to train on and one to validate, and their label maps, every class in every run."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        labels = draw.integers(0, 24, (32, 32, 40))
        for place, voxels in (("images", 40 * labels - 500), ("labels", labels)):
            volume = nibabel.Nifti1Image(voxels.astype(np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))
            nibabel.save(volume, folder / place / f"{name}.nii.gz")
    (folder / "table.csv").write_text("case,patient,split\na,a,train\nb,b,validate\n")
    return folder


def as_lung_masks(folder: Path, masks: str) -> Path:
    """Write the COVID-19 collection with forty films of noise and their lung masks."""
    (folder / "images").mkdir(parents=True)
    (folder / masks).mkdir(parents=True)
    head = "patientid,finding,view,modality,location,folder,filename,url,clinical_notes,other_notes,offset,sex,age"
    rows, draw = [f"{head},survival"], np.random.default_rng(0)
    for number in range(40):
        pixels = draw.integers(0, 256, (60, 80)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        Image.fromarray(np.where(pixels > 128, 255, 0).astype(np.uint8)).save(folder / masks / f"{number}_mask.png")
        rows.append(f"{number},No Finding,PA,X-ray,here,images,{number}.png,https://x.org/{number},,,0,F,50,")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder


def tiny_bert(folder: Path) -> Path:
    """A BERT of two thousand numbers with a vocabulary of its own, as transformers saves it."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "effusion", "left", "right", "no", "lung", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(str(folder))
    small = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(small).save_pretrained(str(folder))
    return folder


def tiny_gpt2(folder: Path) -> Path:
    """A GPT-2 with the vocabulary of `tiny_bert`, as transformers saves it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    small = GPT2Config(vocab_size=12, n_embd=16, n_layer=1, n_head=2, n_positions=128, bos_token_id=2, eos_token_id=3)
    GPT2LMHeadModel(small).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def quick(tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The quick start's recipe at toy size: its bundle is what others start from."""
    folder = tmp_path_factory.mktemp("quick")
    tree = toy(load_tree("pretrain/phantom_clip.yaml"), folder, World(tiny_cohort.root))
    return train(load_config(write_tree(folder / "toy.yaml", tree)))


@pytest.fixture(scope="module")
def world(
    tiny_cohort: CohortSummary, films_and_volumes: Path, quick: Trained, tmp_path_factory: pytest.TempPathFactory
) -> World:
    """Beside the quick start: volumes, the 2D model of their slices, and the features that it makes of each."""
    folder = tmp_path_factory.mktemp("volumes")
    volumes = films_and_volumes / "ct"
    first = toy(load_tree("pretrain/phantom_ct_slices.yaml"), folder, World(tiny_cohort.root, volumes=volumes))
    bundle = train(load_config(write_tree(folder / "toy.yaml", first))).bundle
    index(volumes).save(folder / "volumes.parquet")
    features = folder / "features"
    embed_slices(bundle, folder / "volumes.parquet", root=None, folder=features, windows=[], workers=0)
    starter = folder / "starter"
    save_bundle(starter, convert(Path("efficientnet_lite0"), name="starter", options={"random": 1}))
    seen = folder / "starter_features"
    windows = ["ct_lung_v1", "ct_mediastinum_v1", "ct_bone_v1"]
    embed_slices(starter, folder / "volumes.parquet", root=None, folder=seen, windows=windows, workers=0)
    return World(
        tiny_cohort.root, quick.bundle, volumes, bundle, features, films_and_volumes, starter, seen, folder / "cache"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_it_is_built_stepped_and_released(name: str, world: World, tmp_path: Path) -> None:
    tree = toy(load_tree(name), tmp_path, world)
    config = load_config(write_tree(tmp_path / "toy.yaml", tree))
    done = train(config)
    assert done.outcome.samples_seen == BATCH * len(config.phases)
    assert done.outcome.skipped == 0
    released = load_bundle(done.bundle)
    assert released.provenance["recipe"] == recipe_of(config)
    assert not released.model.training
    # The tree in the run folder is complete, and the same recipe: it can be resumed from.
    written = load_config(done.run / "config.yaml")
    assert full_tree(written) == full_tree(config)
    assert recipe_of(written) == recipe_of(config)


@pytest.mark.slow
def test_questions_are_measured_by_their_configuration(world: World, tmp_path: Path) -> None:
    done = train(
        load_config(write_tree(tmp_path / "toy.yaml", toy(load_tree("finetune/vqa_rad_mevf.yaml"), tmp_path, world)))
    )
    words = [f"model={done.bundle}", f"out={tmp_path / 'out'}", f"data.root={tmp_path / 'vqa_rad'}", "workers=1"]
    words += [f"data.cache={tmp_path / 'cache'}", "evaluation.resamples=100"]
    found = evaluate(load_evaluation("evaluate/vqa_rad.yaml", words), page=False).found
    asked = found["question"].cases
    assert asked is not None
    closed, opened = (found["question"].find("accuracy", label) for label in ("closed", "open"))
    assert (closed.counts.n, opened.counts.n) == (asked["closed"].sum(), (~asked["closed"]).sum())
    assert closed.value == asked.loc[asked["closed"], "right"].mean()
    assert opened.value == 0  # its list has none
    assert found["question_usual"].role == "control"


@pytest.mark.parametrize("name", RUNS)
def test_as_shipped_it_is_read_without_a_fault(name: str) -> None:
    config = load_config(name)
    assert config.phases
    assert full_tree(config)["model"]


@pytest.mark.slow
def test_a_rate_that_a_comment_names_is_that_of_the_configuration() -> None:
    said = [name for name in RUNS if re.search(r"# .*a tenth of the( head's)? rate", (CONFIGS / name).read_text())]
    assert "pretrain/transformers_text.yaml" in said
    slow = {name: sorted(load_config(name).optimiser.rates.values()) for name in said}
    assert {name: rates for name, rates in slow.items() if 0.1 not in rates} == {}


def test_a_released_model_can_teach_with_a_bank_of_the_run(
    tiny_cohort: CohortSummary, quick: Trained, tmp_path: Path
) -> None:
    """The bank is the configuration's; the teacher, whose bundle knows none, encodes it with its own text tower."""
    tree = toy(load_tree("pretrain/phantom_distill.yaml"), tmp_path, World(tiny_cohort.root, quick.bundle))
    tree["states"] = {"before": {"name": "frozen", "bundle": str(quick.bundle)}}
    done = train(load_config(write_tree(tmp_path / "toy.yaml", tree)))
    assert done.outcome.samples_seen == BATCH
    released = load_bundle(done.bundle).model
    assert "phrases" in released.banks


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_laid_out_as_shipped(name: str) -> None:
    plan = load_sweep(f"sweep/{name}")
    assert len(plan.runs) == len(plan.cells) * len(plan.config.seeds) > 1
    assert plan.reference in [cell.name for cell in plan.cells]


def small_sweep(name: str, folder: Path, world: World) -> Path:
    """The same sweep over the recipe at toy size."""
    tree = read_yaml(find_config(f"sweep/{name}"))
    tree["base"] = str(write_tree(folder / "toy.yaml", toy(load_tree(tree["base"]), folder, world)))
    for overrides in (choice.get("overrides", {}) for choices in tree["axes"].values() for choice in choices):
        for phase in overrides.get("phases", ()):
            phase["until"] = BATCH
        for view in overrides.get("data.suffix", ()):
            view |= {"size": SIZE} if view["name"] == "crops" else {}
    for measure in tree["report"]:  # two test patients are too few for five
        measure["metric"] = measure["metric"].replace("@5", "@1")
    return write_tree(folder / name, tree)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SWEEPS if name != "nih_methods.yaml"])
def test_a_sweep_of_one_seed_and_step_comes_to_its_table(name: str, world: World, tmp_path: Path) -> None:
    config = small_sweep(name, tmp_path, world)
    words = ["seeds=[0]", "resamples=100", "evaluation.resamples=100"]
    done = sweep(config, words, out=tmp_path / "out", jobs=2)
    assert (done.failed, done.unfinished) == ((), ())
    assert done.table is not None
    assert len(done.table.rows) == len(load_sweep(f"sweep/{name}").cells)
    assert len({row.identity for row in done.table.rows}) == len(done.table.rows)
    asked = load_sweep(config).config.report
    assert {measure.metric for measure in asked} == {measure.metric for measure in done.table.measures}


@pytest.mark.slow
def test_every_method_is_stepped_on_real_films_that_have_labels_alone(world: World, tmp_path: Path) -> None:
    plan = load_sweep(small_sweep("nih_methods.yaml", tmp_path, world), ["seeds=[0]"], out=tmp_path / "out")
    assert len(plan.runs) == 11
    for run in plan.runs:
        assert run.training is not None
        outcome = train(run.training).outcome
        assert (outcome.samples_seen, outcome.skipped) == (2 * BATCH, 0)
