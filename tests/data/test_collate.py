from __future__ import annotations

import pytest
import torch

from medvlp.core.errors import DataError
from medvlp.core.sample import Sample, Stack
from medvlp.data.collate import collate


def image(value: float, size: int = 2) -> torch.Tensor:
    return torch.full((1, size, size), float(value))


def test_missing_image_and_text_are_no_row_and_owners_say_whose_rows_there_are() -> None:
    batch = collate(
        [
            Sample("a", {"image": image(1)}),
            Sample("b", {"text": ("one", "two")}),
            Sample("c", {"image": image(3), "text": "x"}),
        ],
        torch.tensor([7, 8, 9]),
    )
    assert batch.ids == ("a", "b", "c")
    assert batch.positions.tolist() == [7, 8, 9]
    assert batch["image"].owner.tolist() == [0, 2]
    assert torch.equal(batch["image"].values, torch.stack([image(1), image(3)]))
    assert batch["text"].values == ("one", "two", "x")
    assert batch["text"].owner.tolist() == [1, 1, 2]
    assert batch.strings("text") == ["", "one two", "x"]


def test_missing_labels_are_nan_missing_ids_are_empty_even_where_the_whole_batch_lacks_them() -> None:
    batch = collate(
        [Sample("a", {"label.f": -1.0, "id.patient": "p"}), Sample("b", {"text": "x"})],
        torch.arange(2),
        fields=("label.f", "label.g", "id.patient", "id.study"),
    )
    torch.testing.assert_close(batch["label.f"].values, torch.tensor([-1.0, float("nan")]), equal_nan=True)
    assert bool(batch["label.g"].values.isnan().all())
    assert batch["id.patient"].values == ("p", "")
    assert batch["id.study"].values == ("", "")


def test_stacks_are_padded_with_a_mask_and_boxes_are_joined_with_their_owners() -> None:
    batch = collate(
        [
            Sample("a", {"stack": torch.ones(3, 1, 2, 2), "boxes": torch.ones(2, 4)}),
            Sample("b", {"boxes": torch.zeros(0, 4)}),
            Sample("c", {"stack": torch.ones(1, 1, 2, 2), "boxes": torch.full((1, 4), 2.0)}),
        ],
        torch.arange(3),
    )
    stack = batch["stack"]
    assert stack.owner.tolist() == [0, 2]
    assert stack.mask is not None
    assert stack.mask.tolist() == [[True, True, True], [True, False, False]]
    assert isinstance(stack.values, torch.Tensor)
    assert float(stack.values.sum()) == 16
    assert batch["boxes"].owner.tolist() == [0, 0, 2]


def test_a_field_that_nobody_has_is_absent() -> None:
    assert "text" not in collate([Sample("a", {"image": image(1)})], torch.arange(1))


def test_unlike_shapes_and_unread_images_are_one_sentence() -> None:
    with pytest.raises(DataError, match=r"different shapes in one batch \(\(1, 2, 2\) and \(1, 3, 3\)\)"):
        collate([Sample("a", {"image": image(1)}), Sample("b", {"image": image(1, 3)})], torch.arange(2))
    with pytest.raises(DataError, match="holds a path, not pixels: put the view `read` first"):
        collate([Sample("a", {"image": "x.png"})], torch.arange(1))


def test_stacks_of_different_depth_are_padded_with_their_positions_and_a_mask():
    def stack(depth: int, value: float) -> Stack:
        position = torch.arange(depth)[:, None] * torch.tensor([0.0, 0.0, 2.5]) + value
        return Stack(torch.full((depth, 1, 2, 2), value), position)

    batch = collate([Sample("a", {"stack": stack(2, 1.0)}), Sample("b", {}), Sample("c", {"stack": stack(3, 2.0)})],
                    torch.arange(3))  # fmt: skip
    column = batch["stack"]
    assert column.values.shape == (2, 3, 1, 2, 2)
    assert column.owner.tolist() == [0, 2]
    assert column.mask.tolist() == [[True, True, False], [True, True, True]]
    assert column.position[:, :, 2].tolist() == [[1.0, 3.5, 0.0], [2.0, 4.5, 7.0]]
    last = batch.take(2, 3)["stack"]
    assert last.position.tolist() == [stack(3, 2.0).position.tolist()]
    assert last.owner.tolist() == [0]


def test_a_stack_whose_positions_are_not_its_slices_is_refused():
    with pytest.raises(DataError, match=r"A stack of shape \(2, 1, 4, 4\) with positions \(3, 3\) is none"):
        Stack(torch.zeros(2, 1, 4, 4), torch.zeros(3, 3))
