"""A run draws the masks that its objectives read, on crops too, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medvlp.config.tree import load_config
from medvlp.core.context import Context
from medvlp.core.errors import UserError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms
from medvlp.phantom.cohort import CohortSummary
from medvlp.runs.train import dry_run
from tests.plugins import installed
from tests.tiny import tiny_tree, write_tree


class Share(Objective):
    """How much of a picture a mask covers: over rows whose mask is known."""

    scope = "sample"

    def __init__(self, *, mask: str = "mask.cardiomegaly") -> None:
        super().__init__()
        self.mask = mask

    def needs(self) -> frozenset[Key]:
        """The mask, and the picture it lies on."""
        return keys("image/pooled", self.mask)

    def forward(self, ctx: Context) -> Terms:
        """Refuse a batch with masks that nobody asked for."""
        assert [name for name in ctx.batch.columns if name.startswith(("mask", "boxes."))] in (
            [self.mask], ["boxes.crop.local", self.mask],
        )  # fmt: skip
        covered = ctx[self.mask].float().flatten(1).mean(1)
        return {"share": Term.of(covered + 0 * ctx["image/pooled"].sum())}


@pytest.fixture(autouse=True)
def other_package() -> Iterator[None]:
    with installed(share=f"objectives {__name__}:Share"):
        yield


@pytest.mark.parametrize("mask", ["mask.cardiomegaly", "mask.local.cardiomegaly"])
def test_a_run_draws_what_its_objectives_read(mask: str, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    if "local" in mask:
        tree["data"]["suffix"].append({"name": "crops", "number": 2, "size": 16, "scale": [0.9, 1.0]})
    tree["phases"][0]["objectives"] = [{"name": "share", "mask": mask}]
    told = dry_run(load_config(write_tree(tmp_path / "config.yaml", tree)))
    assert 0 < float(told.partition("share/share ")[2].partition(")")[0]) < 0.3


def test_a_mask_that_the_data_lacks_is_refused_when_built(tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    tree["phases"][0]["objectives"] = [{"name": "share", "mask": "mask.cardiomegali"}]
    with pytest.raises(
        UserError, match=r"needs the field 'mask.cardiomegali', which the data lacks: did you mean 'mask"
    ):
        dry_run(load_config(write_tree(tmp_path / "config.yaml", tree)))


def test_masks_do_not_enter_the_cache(tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    sizes = []
    for name, objective in (("with", {"name": "share"}), ("without", {"name": "clip"})):
        tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / name)
        tree["phases"][0]["objectives"] = [objective]
        dry_run(load_config(write_tree(tmp_path / "config.yaml", tree)))
        sizes.append(sorted((p.name, p.stat().st_size) for p in (tmp_path / name).rglob("*.bin")))
    assert sizes[0] == sizes[1]
