"""Real files: the data packs beside the repository and the radiographs of pydicom-data; a bundle to score them with.

What is absent is skipped with its reason; nothing is copied into the project and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.once import made_once

if TYPE_CHECKING:
    from medvlp.answers.asking.model import VisionLanguageModel
    from medvlp.phantom.cohort import CohortSummary

PACKS = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hundreds of real files take their time; each reader, layout and measure has its tests on made-up ones."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def pack() -> Callable[[str], Path]:
    """Give the folder of a data pack, or skip."""

    def find(name: str) -> Path:
        if not (PACKS / name / "README.md").is_file():
            pytest.skip(f"the data pack {name} is not at hand (looked for shared/data/{name} beside the repository)")
        return PACKS / name

    return find


@pytest.fixture(scope="session")
def pydicom_file() -> Callable[[str], Path]:
    """Give a file of the package pydicom-data, or skip."""

    def find(name: str) -> Path:
        from pydicom.data import get_testdata_file

        found = get_testdata_file(name, download=False)
        if not isinstance(found, str):
            pytest.skip(f"pydicom-data is not installed, which holds {name}")
        return Path(found)

    return find


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Overrides that make any pretraining configuration small: 64 pixels, batches of 16, a narrow model."""
    return [
        "data.prefix.0.size=64",
        "model.vision.image_size=64",
        "model.vision.options={layers: [1, 1, 1, 1], channels: [16, 32, 64, 128], stem_width: 16}",
        "model.text.width=64",
        "model.text.layers=1",
        "tokenizer.vocab_size=512",
        "training.batch=16",
        "training.log_every=16",
        "optimiser.warmup=64",
    ]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_cohort: CohortSummary, small: list[str]) -> Path:
    """A model that has seen 32 synthetic radiographs: it knows nothing, but it reads and scores as any other does."""
    from medvlp.config.tree import load_config
    from medvlp.runs.train import train

    def make(folder: Path) -> Path:
        words = [f"run={folder / 'run'}", f"data.root={tiny_cohort.root}", f"data.cache={folder / 'cache'}"]
        end = ["phases=[{until: 32, objectives: [{name: clip}]}]"]
        return train(load_config("pretrain/phantom_clip.yaml", [*words, *small, *end])).bundle

    return made_once(tmp_path_factory, "real_bundle", make)


@pytest.fixture(scope="session")
def model(bundle: Path) -> VisionLanguageModel:
    """The bundle at work."""
    import medvlp

    return medvlp.load(bundle)
