"""Parts of a model, of a run and of what is asked that another package brings: head, patch, state, attack, recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from medvlp.answers.prompting.recipe import Given
from medvlp.answers.prompting.recipe_files import load_recipe
from medvlp.config.tree import check_config
from medvlp.core.context import Context
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import HeadSpec, Objective, State
from medvlp.core.registry import build
from medvlp.core.sample import Batch, Sample
from medvlp.core.term import Term, Terms
from medvlp.features.embed import embed_parts
from medvlp.measures.attacks import Attacks
from medvlp.models.bundle import load_bundle
from medvlp.models.patches import apply_patches
from medvlp.runs.train import Built, dry_run, train
from medvlp.text.prompts import PromptSet
from medvlp.training.checkpoints import latest
from tests.plugins import installed
from tests.tiny import MODEL, tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary


class Asking(Objective):
    """An objective that reads something which it does not say that it needs."""

    def __init__(self, *, reads: str) -> None:
        super().__init__()
        self.reads = reads

    def needs(self) -> frozenset[Key]:
        return keys("image/embedding")

    def forward(self, ctx: Context) -> Terms:
        _ = ctx.state[self.reads.partition(":")[2]] if parse_key(self.reads).is_state else ctx[self.reads]
        return {"": Term.of(ctx["image/embedding"].sum(1))}


class Careless(State):
    """A state that breaks a promise of its kind."""

    def __init__(self, *, promise: str) -> None:
        self.promise = promise

    def needs(self) -> Any:
        return {"image/embedding"} if self.promise == "keys" else frozenset()

    def state_dict(self) -> Any:
        return {"seen": 3 if self.promise == "tensors" else torch.tensor(3)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing that counts."""


class Headed(Objective):
    """An objective with a head of some width, under a name that another may take."""

    def __init__(self, *, classes: int, keep: bool = False) -> None:
        super().__init__()
        self.head = HeadSpec("linear", {"classes": classes}, keep=keep)

    def needs(self) -> frozenset[Key]:
        return keys("image/mine")

    def heads(self) -> Mapping[str, HeadSpec]:
        return {"mine": self.head}

    def forward(self, ctx: Context) -> Terms:
        return {"": Term.of(ctx["image/mine"].sum(1))}


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """A view that gives pixels as a file has them."""

    random: ClassVar[bool] = True

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        pixels: Any = sample.fields["image"]
        return replace(sample, fields={**sample.fields, "image": (255 * pixels).to(torch.uint8)})


HERE = {"asking": "objectives", "headed": "objectives", "careless": "state", "bytes": "data/views"}
COMPONENTS = {
    "gated": "models/heads gated:Gated",
    "shrink": "models/patches shrink:Shrink",
    "running_mean": "state running_mean:RunningMean",
    "darker": "adaptation/attacks darker:Darker",
    "margin": "answers/recipes margin:Margin",
    **{name: f"{folder} {__name__}:{name.title()}" for name, folder in HERE.items()},
}


@pytest.fixture(scope="module", autouse=True)
def package() -> Iterator[None]:
    with installed(*(name for name in COMPONENTS if name not in HERE), **COMPONENTS):
        yield


@pytest.fixture(scope="module")
def run(tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    tree: dict[str, Any] = tiny_tree(folder / "run", tiny_cohort.root, folder / "cache")
    tree["model"] = {**MODEL, "heads": {"image/gate": {"name": "gated", "out": 4}}}
    tree["states"] = {"mean": {"name": "running_mean"}}
    tree["phases"][0] |= {"until": 32, "patches": [{"name": "shrink"}]}
    return train(check_config(tree, source="t")).run


def test_the_head_goes_into_the_bundle_and_gives_its_equation(run: Path) -> None:
    model = load_bundle(run / "bundle").model
    pixels = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    told = embed_parts(model, "image", list(pixels), ("pooled", "gate"))
    rows = torch.tensor(told["pooled"])
    head: Any = model.heads["image/gate"]
    expected = torch.nn.functional.linear(rows, head.value.weight, head.value.bias)
    expected = expected * torch.nn.functional.linear(rows, head.gate.weight, head.gate.bias).sigmoid()
    torch.testing.assert_close(torch.tensor(told["gate"]), expected.detach())


def test_the_state_has_seen_every_row_and_lies_in_the_checkpoint(run: Path) -> None:
    held = load_file(latest(run) / "states.safetensors")
    assert held["mean|count"].item() == 32
    assert held["mean|sum"].norm() <= 32  # of rows at unit length


@pytest.mark.parametrize(
    ("reads", "sentence"),
    [
        ("image/pooled", r"Key 'image/pooled' was not planned: did you mean 'image/embedding'\?.*let needs\(\) name"),
        ("label.effusion", r"Field 'label.effusion' was not planned: .*let needs\(\) name it"),
        ("state:mean", r"State 'mean' was not planned: there is none; let needs\(\) name it, as state:mean"),
    ],
)
def test_what_an_objective_reads_and_does_not_need_is_refused_at_its_first_step(
    reads: str, sentence: str, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    """The data and the run have it: some batch, or another recipe, would not."""
    tree: dict[str, Any] = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    tree["states"] = {"mean": {"name": "running_mean"}}
    tree["phases"][0]["objectives"] = [{"name": "asking", "reads": reads}]
    with pytest.raises(ConfigError, match=sentence):
        dry_run(check_config(tree, source="t"))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"states": {"a": {"name": "careless", "promise": "keys"}}}, r"states\.a: 'careless' needs {'image.*, no keys"),
        ({"states": {"a": {"name": "careless", "promise": "tensors"}}}, r"states\.a: 'careless' cannot be saved: let"),
        (
            {"objectives": [{"name": "headed", "classes": n, "as": f"of{n}"} for n in (2, 3)]},
            r"phases\[0\]: objective 'of3' declares the head 'mine' as {.*'classes': 3.*}, and another as {",
        ),
        (
            {"suffix": ["bytes"]},
            r"The field 'image' holds torch\.uint8: let the view that makes it give float32 in \[0, 1",
        ),
    ],
)
def test_a_part_that_breaks_a_promise_of_its_kind_is_refused_before_anything_is_trained(
    more: dict[str, Any], sentence: str, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    """Each was taken: as one of two heads, as pixels 255 times as bright, or until it was saved."""
    tree: dict[str, Any] = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    tree["states"] = more.get("states", {})
    tree["phases"][0]["objectives"] = more.get("objectives", ["clip"])
    tree["data"]["suffix"] = more.get("suffix", [])
    with pytest.raises(ConfigError if "suffix" not in more else DataError, match=sentence):
        dry_run(check_config(tree, source="t"))


def test_a_head_that_two_objectives_declare_alike_is_one_and_is_kept_if_either_keeps_it(
    tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    tree: dict[str, Any] = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    keep = [{"name": "headed", "classes": 2, "keep": keep, "as": f"keep{keep}"} for keep in (True, False)]
    tree["phases"][0]["objectives"] = ["clip", *keep]
    model: Any = Built(check_config(tree, source="t")).parts.model
    assert "image/mine" in model.spec["heads"]
    assert "image/mine" not in model.training_only


def test_the_patch_is_on_while_it_is_asked_for_and_leaves_nothing(run: Path) -> None:
    model = load_bundle(run / "bundle").model
    pixels = list(torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    before = embed_parts(model, "image", pixels, ("pooled",))["pooled"]
    applied = apply_patches(model, [{"name": "shrink", "factor": 0.25}], seed=0, where="t")
    np.testing.assert_allclose(embed_parts(model, "image", pixels, ("pooled",))["pooled"], before / 4, rtol=1e-6)
    applied.remove()
    np.testing.assert_array_equal(embed_parts(model, "image", pixels, ("pooled",))["pooled"], before)


def test_the_attack_is_chosen_by_name_and_moves_pixels_in_its_ball() -> None:
    assert sorted(Attacks(attacks=("darker",)).attacks) == ["darker=8", "random_signs=8"]
    batch = Batch.of({"image": torch.tensor([[[[0.5, 0.01]]]])})
    moved = build("adaptation/attacks", {"name": "darker", "epsilon": 51.0}, where="t").fit(None, [])(batch)
    torch.testing.assert_close(moved["image"].values, torch.tensor([[[[0.3, 0.0]]]]))
    torch.testing.assert_close(batch["image"].values, torch.tensor([[[[0.5, 0.01]]]]))


def test_the_recipe_is_loaded_by_name_with_the_models_prompts() -> None:
    made = load_recipe("margin", own=[PromptSet("v1", "a", ("a",), ("no a",))])
    texts = {"embedding": np.array([[0.6, 0.8], [1.0, 0.0]])}
    given = Given(made.prompts, {"embedding": np.eye(2)}, ("a", "no a"), texts)
    np.testing.assert_allclose(made.recipe.scores(given), [[-0.4], [0.8]])
