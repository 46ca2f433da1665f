"""CLOC's prompter by hand: corners in sines, one attention head over prompt and placed tokens, boxes in the picture."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.models.heads.prompter import Prompter

WIDTH, DIM, GRID = 6, 5, (2, 3)


def prompter() -> Prompter:
    torch.manual_seed(0)
    return Prompter(token_width=WIDTH, embed_dim=DIM).double()


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def in_sines(x: float, y: float) -> Tensor:
    """Sixteen wavelengths of each of x and y, from the picture's side down to a sixteenth of it."""
    angles = [2 * math.pi * 16 ** (i / 15) * at for at in (x, y) for i in range(16)]
    return torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=torch.float64)


def asked(head: Prompter, prompt: list[Tensor], tokens: Tensor) -> Tensor:
    """One pre-norm block with a single head over prompt and tokens, a norm, their mean, a linear map."""
    middles = [((column + 0.5) / GRID[1], (row + 0.5) / GRID[0]) for row in range(GRID[0]) for column in range(GRID[1])]
    placed = [token + head.place(in_sines(*at)) for token, at in zip(tokens, middles, strict=True)]
    x, block = torch.stack([*prompt, *placed]), head.block
    q, k, v = F.linear(block.norm1(x), block.self_attn.in_proj_weight, block.self_attn.in_proj_bias).chunk(3, dim=1)
    x = x + block.self_attn.out_proj((q @ k.T / WIDTH**0.5).softmax(dim=1) @ v)
    x = x + block.linear2(F.gelu(block.linear1(block.norm2(x))))
    return head.output(head.norm(x).mean(dim=0))


def test_a_box_is_asked_for_by_its_two_corners() -> None:
    head, tokens = prompter(), drawn(2, 6, WIDTH, seed=1)
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    found = head.of_boxes(tokens, GRID, boxes)
    for row, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        corners = [head.corner[0](in_sines(x0, y0)), head.corner[1](in_sines(x1, y1))]
        torch.testing.assert_close(found[row], asked(head, corners, tokens[row]))


def test_a_box_turned_end_for_end_is_another() -> None:
    """The block knows no order of its tokens: a map that both corners share could not tell which is which."""
    head, tokens, boxes = prompter(), drawn(1, 6, WIDTH, seed=1), torch.tensor([[0.1, 0.2, 0.5, 0.9]]).double()
    one, other = (head.of_boxes(tokens, GRID, each) for each in (boxes, boxes[:, [2, 3, 0, 1]]))
    assert (one - other).abs().max() > 1e-3


def test_a_phrase_is_asked_for_by_its_embedding_and_its_box_lies_within_the_picture() -> None:
    head, tokens, phrases = prompter(), drawn(2, 6, WIDTH, seed=1), drawn(2, DIM, seed=2)
    with torch.no_grad():
        head.box[2].weight.mul_(50)
    found = head.boxes_of(tokens, GRID, phrases)
    assert ((found > 0) & (found < 1)).all()
    for row in range(2):
        expected = head.box(asked(head, [head.phrase(phrases[row])], tokens[row])).sigmoid()
        torch.testing.assert_close(found[row], expected)
