"""CLIP2Scene: labels of slices become those of voxels; blocks agree within a label; how cells are projected."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys, parse_key
from medvlp.models.heads.voxel_texts import VoxelTexts
from medvlp.objectives._voxels import cells_of, grouped, projected
from medvlp.objectives.clip2scene import Clip2scene
from medvlp.state.frozen import Frozen
from tests.models.words import dual

D, K, DEPTHS = 6, 3, (3, 2)


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Texts(nn.Module):
    """Notes what it is given."""

    noted: Tensor | None = None

    def note(self, texts: Tensor) -> None:
        self.noted = texts


def context(meaning: Tensor, place: Tensor, cells: Tensor, texts: Tensor, **options: Any) -> Context:
    """Two stacks of three and two slices, one of them padded; cells (5, 4, D) lie in grids of 2 by 2."""
    mask = torch.tensor([[True, True, True], [True, True, False]])
    owner = torch.arange(2)
    columns = {"stack": Column(torch.zeros(2, 3, 1, 8, 8), owner, mask, torch.zeros(2, 3, 3))}
    parts = {
        "stack/voxels_meaning": Part(meaning, owner),
        "stack/voxels_place": Part(place, owner),
        "stack/voxels": Part(meaning[:, :K], owner),
        "frozen:image.slices/local": Part(cells, torch.tensor([0, 0, 0, 1, 1]), (2, 2)),
        "frozen:bank.regions/embedding": Part(texts, torch.full((len(texts),), -1)),
    }
    batch = Batch(("a", "b"), owner, columns)
    made = {parse_key(key): part for key, part in parts.items()}
    return Context(parts=made, batch=batch, states={"frozen": Frozen()}, heads={"stack/voxels": Texts()}, **options)


def objective(**options: Any) -> Clip2scene:
    return Clip2scene(teacher="frozen", bank="regions", labels=["a", "b"], cells="local", **options)


def test_the_two_terms_by_hand() -> None:
    meaning, place = rand(2, D, 3, 2, 2, seed=1), rand(2, D, 3, 2, 2, seed=2)
    cells, texts = rand(5, 4, D, seed=3), unit(rand(K, D, seed=4))
    ctx = context(meaning, place, cells, texts)
    terms = objective(cell=(3, 1, 2))(ctx)
    label = (unit(cells) @ texts.T).argmax(2).view(5, 2, 2)
    voxels = [(r, s, y, x) for r, depth in enumerate(DEPTHS) for s in range(depth) for y in range(2) for x in range(2)]
    labels = {(r, s, y, x): int(label[3 * r + s, y, x]) for r, s, y, x in voxels}
    semantic = alike = 0.0
    for voxel in voxels:
        r, s, y, x = voxel
        m, k = meaning[r, :, s, y, x], labels[voxel]
        semantic -= float((texts @ m).log_softmax(0)[k])
        same = [v for v in voxels if v[0] == r and v[2] == y and labels[v] == k]  # a block is a row of all slices
        vectors = torch.stack([place[v[0], :, v[1], v[2], v[3]] for v in same])
        f = (vectors @ texts[k]).softmax(0) @ vectors
        alike += 1 - float((f @ place[r, :, s, y, x]).sigmoid())
    assert float(terms["semantic"].value()) == pytest.approx(semantic / len(voxels))
    assert float(terms["grouped"].value()) == pytest.approx(alike / len(voxels))
    torch.testing.assert_close(ctx.heads["stack/voxels"].noted, texts)


def test_cells_and_texts_count_by_their_directions_between_cells_too() -> None:
    """Of five voxels by five some lie between the cells of a slice, two by two: a longer cell would have its way."""
    meaning, cells, texts = rand(2, D, 3, 5, 5, seed=1), rand(5, 4, D, seed=3), unit(rand(K, D, seed=4))
    terms = objective()(context(meaning, meaning, cells, texts))
    longer = cells * rand(5, 4, 1, seed=5).exp(), texts * torch.tensor([[1.0], [3.0], [0.2]])
    again = objective()(context(meaning, meaning, *longer))
    for name, term in terms.items():
        torch.testing.assert_close(again[name].value(), term.value())


def test_a_volume_tower_that_copies_the_teacher_agrees_everywhere() -> None:
    cells, texts = rand(5, 4, D, seed=3), unit(rand(K, D, seed=4))
    copied = torch.zeros(2, D, 3, 2, 2, dtype=torch.float64)
    for n, (r, s) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
        copied[r, :, s] = cells[n].T.view(D, 2, 2)
    ctx = context(copied, copied, cells, texts)
    labels, real = objective()._taught(ctx, texts, copied)
    own = torch.einsum("rdzyx,kd->rkzyx", copied, texts).argmax(1)
    assert real.sum() == 20
    assert torch.equal(own[real], labels[real])


def test_its_own_labels_teach_half_of_the_volumes_from_some_moment_on() -> None:
    meaning, cells, texts = rand(2, D, 3, 2, 2, seed=1), rand(5, 4, D, seed=3), unit(rand(K, D, seed=4))

    def semantic(seen: int, own_from: int | None, seed: int = 0) -> float:
        ctx = context(meaning, meaning, cells, texts, samples_seen=seen, seed=seed)
        return float(objective(own_from=own_from)(ctx)["semantic"].value())

    assert semantic(9, 10) == semantic(9, None)
    later = [round(semantic(10, 10, seed), 9) for seed in range(100)]
    assert len({*later}) == 4  # neither, either or both of two volumes
    assert max(later) == pytest.approx(semantic(9, None))
    assert later.count(max(later)) == pytest.approx(25, abs=10)  # neither


def test_blocks_cover_every_voxel_once_and_padding_weighs_nothing() -> None:
    values = torch.arange(2 * 5 * 3 * 4, dtype=torch.float64).view(2, 1, 5, 3, 4)
    blocks = cells_of(values + 1, (3, 2, 2))
    assert blocks.shape == (2 * 2 * 2 * 2, 12, 1)
    assert sorted(blocks[blocks > 0].tolist()) == (values.flatten() + 1).tolist()
    vectors, texts = rand(1, 4, D, seed=5), unit(rand(K, D, seed=6))
    labels = torch.zeros(1, 4, dtype=torch.int64)
    padded = torch.cat([vectors, rand(1, 2, D, seed=7)], dim=1)
    there = torch.tensor([[True] * 4 + [False] * 2])
    more = torch.zeros(1, 6, dtype=torch.int64)
    dense = grouped(vectors, texts, labels, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(grouped(padded, texts, more, there)[:, :4], dense)


def test_a_cell_is_projected_as_a_picture_that_is_all_like_it() -> None:
    """Of a tower that pools by mean and maximum in two columns, whose picture is one cell, twice."""
    vision = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "norm": "group", "pool": "catavgmax"}
    vision |= {"columns": 2, "options": {"channels": [8, 8, 16, 16], "stem_width": 8}}
    model = dual(vision=vision).eval()
    teacher = Frozen()
    teacher._keep(model)
    tokens = torch.rand(2, 3, 16)
    got = projected(teacher, tokens)
    raw = model.heads["image/raw"]
    from medvlp.core.encoded import Encoded

    for n in range(2):
        for m in range(3):
            pooled = tokens[n, m].repeat(4)[None]
            single = raw(Encoded(owner=torch.arange(1), pooled=pooled), "raw")["raw"][0]
            torch.testing.assert_close(got[n, m], single)
    assert model.towers["image"].width == 64
    plan = Plan.of(keys("image/tokens", "image/pooled"))
    seen = model(Batch.of({"image": torch.full((1, 1, 32, 32), 0.5)}), plan)["image"]
    assert seen.part("pooled").shape[1] == 4 * seen.part("tokens").shape[2]


def test_the_head_asks_by_the_texts_that_were_noted() -> None:
    from medvlp.core.encoded import Encoded
    from medvlp.core.protocols import Level

    torch.manual_seed(0)
    head = VoxelTexts(levels=(Level(4, (1, 2, 2)),), classes=K, embed_dim=D, width=8)
    mask = torch.tensor([[True, True, False]])
    rows = Encoded(owner=torch.arange(1), mask=mask, size=(3, 4, 4), extra={"level[0]": torch.rand(1, 4, 3, 2, 2)})
    texts = unit(rand(K, D, seed=4)).float()
    assert float(head(rows, "v")["v"].abs().max()) == 0
    head.note(texts)
    out = head(rows, "v")
    logits = torch.einsum("rdzyx,kd->rkzyx", out["v_meaning"], texts)
    torch.testing.assert_close(out["v"][..., 1:3, 1:3].mean((3, 4)), logits.mean((3, 4)))
    assert "texts" in head.state_dict()


def test_a_step_without_a_volume_teaches_nothing() -> None:
    """No sample has the field, and so the batch has none."""
    meaning, texts = rand(2, D, 3, 2, 2, seed=1), unit(rand(K, D, seed=4))
    whole = context(meaning, meaning, rand(5, 4, D, seed=3), texts)
    parts = {
        key: part if key.is_bank else Part(part.values[:0], part.owner[:0], part.grid)
        for key, part in whole.parts.items()
    }
    batch = Batch(("a",), torch.arange(1), {})
    terms = objective()(Context(parts=parts, batch=batch, states=whole.state, heads=whole.heads))
    assert {(float(term.sum), float(term.count)) for term in terms.values()} == {(0.0, 0.0)}


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs labels"):
        Clip2scene(teacher="frozen", bank="regions", labels=[])
    meaning, texts = rand(2, D, 3, 2, 2, seed=1), unit(rand(K, D, seed=4))
    with pytest.raises(ConfigError, match=r"4 rows of 'image\.slices' do not fit 5 slices"):
        objective()(context(meaning, meaning, rand(4, 4, D, seed=3), texts))
    with pytest.raises(ConfigError, match="give a text more than labels"):
        objective()(context(meaning, meaning, rand(5, 4, D, seed=3), texts[:2]))
