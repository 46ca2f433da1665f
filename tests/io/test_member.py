"""A name below a root is the file that the system comes to, or nothing where that file lies outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medvlp.io.member import below

NAMES = (
    "films/a.dcm", "films/none.dcm", "films/a.dcm/b", "./films//a.dcm", "films/../films/a.dcm", "films/a..b.dcm", "..",
    "../root/films/a.dcm", "../other/b.dcm", "inside/a.dcm", "film.dcm", "outside/b.dcm", "away.dcm", "deep/back/a.dcm",
    "/", "",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Films, a folder and a file beside the root, and links to each."""
    root = tmp_path.resolve() / "root"
    for folder in (root / "films", root / "deep", root.parent / "other"):
        folder.mkdir(parents=True)
    for file in (root / "films/a.dcm", root / "films/a..b.dcm", root.parent / "other/b.dcm"):
        file.touch()
    links = {"inside": "films", "film.dcm": "films/a.dcm", "outside": "../other", "away.dcm": "../other/b.dcm"}
    for name, target in {**links, "deep/back": "../outside/../root/films"}.items():
        (root / name).symlink_to(target)
    return root


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("absolute", [False, True])
def test_it_is_where_the_system_comes_to(root: Path, name: str, absolute: bool) -> None:
    asked = f"{root}/{name}" if absolute else name
    real = Path(os.path.realpath(root / asked))
    assert below(root, asked) == (real if real.is_relative_to(root) else None)


def test_links_of_other_roots_lead_in(root: Path) -> None:
    (root.parent / "way").symlink_to("root")
    assert below(root, f"{root.parent}/way/films/a.dcm") == root / "films/a.dcm"
    assert below(root, f"{root.parent}/rooted/a.dcm") is None


def test_what_is_no_path_is_an_error(root: Path) -> None:
    with pytest.raises(ValueError, match="null"):
        below(root, "films/\0.dcm")
