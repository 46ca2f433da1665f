"""What tests of several folders share: a small synthetic hospital, made once, and the hash of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary


def sha256_of_tree(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder, by its path relative to it."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def tree_hashes() -> Callable[[Path], dict[str, str]]:
    """Give the function that hashes all files of a folder (tests are imported without a package of their own)."""
    return sha256_of_tree


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortSummary:
    """Twelve patients at 128 px with all three splits; read only: other tests share it."""
    from medvlp.phantom.cohort import make_cohort  # here, so that only who asks for a cohort imports the phantom

    return make_cohort(tmp_path_factory.mktemp("tiny") / "hospital", patients=12, image_size=128, workers=1)
