from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.protocols import Head
from medvlp.models.patches._patch import apply_patches
from medvlp.objectives._draws import normal
from medvlp.objectives.denoise import Denoise
from medvlp.training.phases import set_trainable
from medvlp.training.task import Task, make_plan
from tests.models.words import DUAL, VIT, dual, pairs
from tests.training.world import FLOAT32

ROWS, SIDE, WIDTH = 3, 4, 5
BETAS = torch.linspace(1e-4, 2e-2, 1000)
SMALL = {"size": 8, "channels": [8, 8]}
DENOISER, TOWER = ["model.heads.denoiser.*"], ["model.towers.image.*", "model.heads.image/raw.*"]


class Linear(Head):
    """phi(x, t, c) = k(t) (x - sqrt(a_t) W c): with k(t) below the best guess where x ~ N(W c, s^2) given c."""

    stage = "call"

    def __init__(self, spread: float = 0.5) -> None:
        super().__init__()
        weight = torch.randn(SIDE**2, WIDTH, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        self.weight, self.spread = nn.Parameter(weight), spread
        self.asked: list[tuple[Tensor, Tensor | None]] = []

    def pictures(self, pixels: Tensor) -> Tensor:
        return pixels

    def denoise(self, noisy: Tensor, steps: Tensor, vector: Tensor, tokens: Tensor | None) -> Tensor:
        self.asked.append((steps, tokens))
        a = (1 - BETAS).cumprod(0).double()[steps.long()][:, None]
        k = (1 - a).sqrt() / (a * self.spread**2 + 1 - a)
        return (k * (noisy.flatten(1) - a.sqrt() * vector @ self.weight.T)).view(noisy.shape)


class Knowing(Linear):
    """Remembers the clean pictures, and so knows the direction of the flow."""

    def pictures(self, pixels: Tensor) -> Tensor:
        self.clean = pixels
        return pixels

    def denoise(self, noisy: Tensor, steps: Tensor, vector: Tensor, tokens: Tensor | None) -> Tensor:
        clean = self.clean.repeat_interleave(len(noisy) // len(self.clean), 0)
        return (noisy - clean) / (steps / 1000)[:, None, None, None]


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def context(head: nn.Module, vector: Tensor, pixels: Tensor, more: Mapping[str, Tensor] | None = None) -> Context:
    rows, owner = {"image/embedding": vector, **(more or {})}, torch.arange(len(pixels))
    parts = {parse_key(key): Part(each, owner) for key, each in rows.items()}
    batch = Batch(tuple(map(str, owner.tolist())), owner + 40, {"image": Column(pixels, owner)})
    return Context(parts=parts, batch=batch, heads={"denoiser": head}, seed=7)


def drawn(ctx: Context, draws: int) -> tuple[Tensor, Tensor]:
    shape = (draws, 1, SIDE, SIDE)
    return normal(ctx.uniform(*shape, name="denoiser noise")), ctx.uniform(draws, name="denoiser time").double()


@pytest.mark.parametrize("parametrisation", ["noise", "flow"])
@pytest.mark.parametrize("times", ["uniform", "logit_normal"])
def test_it_is_the_loop_over_images_and_draws(parametrisation, times):
    head, vector, pixels = Linear(), values(ROWS, WIDTH), values(ROWS, 1, SIDE, SIDE, seed=1)
    ctx = context(head, vector, pixels)
    noise, share = drawn(ctx, 2)
    share = share if times == "uniform" else normal(share).sigmoid()
    errors = []
    for i in range(ROWS):
        for k in range(2):
            e, x, t = noise[i, k, 0], pixels[i, 0], float(share[i, k])
            step = torch.tensor([1000 * t])
            a = float((1 - BETAS).cumprod(0)[int(step)])
            seen = a**0.5 * x + (1 - a) ** 0.5 * e if parametrisation == "noise" else (1 - t) * x + t * e
            guess = head.denoise(seen[None, None], step, vector[i : i + 1], None)[0, 0]
            errors.append(((e if parametrisation == "noise" else e - x) - guess).square().mean().item())
    term = Denoise(parametrisation=parametrisation, times=times, draws=2)(ctx)["denoising"]
    assert term.count.item() == ROWS
    assert term.value().item() == pytest.approx(sum(errors) / len(errors), rel=1e-5)  # a_t and t are float32


def test_a_flow_whose_direction_is_known_is_without_error():
    ctx = context(Knowing(), values(ROWS, WIDTH), values(ROWS, 1, SIDE, SIDE, seed=1))
    assert Denoise(parametrisation="flow", times="logit_normal", draws=3)(ctx)["denoising"].value().item() < 1e-9


def test_of_a_linear_gaussian_denoiser_the_gradient_in_the_embedding_is_the_analytic_one():
    """dL/dc = 2/P k sqrt(a) W^T r with r = e - phi; in the mean over e it is 2/P k^2 a W^T (W c - x): least squares."""
    head, count, pixels = Linear(), 4000, values(1, 1, SIDE, SIDE, seed=1)
    vector = values(1, WIDTH).requires_grad_()
    ctx = context(head, vector, pixels)
    Denoise(draws=count)(ctx)["denoising"].value().backward()
    noise, share = drawn(ctx, count)
    e, x = noise.flatten(2)[0], pixels.flatten()
    a = (1 - BETAS).cumprod(0).double()[(1000 * share[0]).long()][:, None]
    k, drawn_from = (1 - a).sqrt() / (a * 0.25 + 1 - a), head.weight @ vector[0]
    rest = e - k * (a.sqrt() * x + (1 - a).sqrt() * e - a.sqrt() * drawn_from)
    sampled = (2 / SIDE**2 * k * a.sqrt() * (rest @ head.weight)).mean(0)
    torch.testing.assert_close(vector.grad[0], sampled, rtol=1e-9, atol=1e-12)
    expected = (2 / SIDE**2 * k**2 * a * ((drawn_from - x) @ head.weight)).mean(0)
    assert (vector.grad[0] - expected).norm() < 0.05 * expected.norm()


def test_draws_of_a_sample_depend_on_neither_its_neighbours_nor_its_place_in_the_batch():
    head, vector, pixels = Linear(), values(ROWS, WIDTH), values(ROWS, 1, SIDE, SIDE, seed=1)
    whole = Denoise(draws=2)(context(head, vector, pixels))["denoising"].sum
    apart = []
    for i in range(ROWS):
        ctx = context(head, vector[i : i + 1], pixels[i : i + 1])
        ctx.batch = Batch(("x",), torch.tensor([40 + i]), ctx.batch.columns)
        apart.append(Denoise(draws=2)(ctx)["denoising"].sum)
    torch.testing.assert_close(whole, torch.stack(apart).sum(), rtol=1e-12, atol=0)


def test_logit_normal_times_are_those_of_a_squashed_normal():
    head = Linear()
    ctx = context(head, values(1, WIDTH), values(1, 1, SIDE, SIDE))
    Denoise(parametrisation="flow", times="logit_normal", draws=4000)(ctx)
    times = head.asked[0][0] / 1000
    expected = torch.tensor([-1.2816, 0.0, 1.2816], dtype=torch.float64).sigmoid()  # its deciles and median
    assert torch.allclose(times.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)), expected, atol=0.02)


def test_a_share_of_the_rows_own_tokens_is_heard_drawn_with_replacement():
    head, tokens = Linear(), torch.arange(10.0).double().view(1, 10, 1) + 100 * torch.arange(2).view(2, 1, 1)
    ctx = context(head, values(2, WIDTH), values(2, 1, SIDE, SIDE), {"image/tokens": tokens})
    Denoise(local=0.3, draws=200)(ctx)
    heard = head.asked[0][1]
    assert heard.shape == (400, 3, 1)
    assert set(heard[:200].flatten().int().tolist()) == set(range(10))
    assert set(heard[200:].flatten().int().tolist()) == set(range(100, 110))
    assert any(len(set(row)) < 3 for row in heard[..., 0].tolist())
    assert not torch.equal(heard[0], heard[1])


def test_without_an_image_it_adds_nothing():
    vector = values(0, WIDTH).requires_grad_()
    term = Denoise()(context(Linear(), vector, values(0, 1, SIDE, SIDE)))["denoising"]
    assert (term.sum.item(), term.count.item(), term.sum.requires_grad) == (0, 0, True)


def test_what_is_no_image_is_refused():
    with pytest.raises(ConfigError, match="Objective 'denoise' draws images, and 'volume' is none"):
        Denoise(image="volume")


def steps(model, objective: Denoise, trainable: list[str], number: int) -> dict[str, Tensor]:
    """Take steps with what a phase trains; return the weights after them."""
    task = Task(model=model, objectives={"denoise": objective}, states={}, seed=0, chunks=1, precision=FLOAT32)
    set_trainable(task, trainable, where="test")
    optimiser = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-2)
    for i in range(number):
        optimiser.zero_grad()
        task.backward(pairs(), {"denoise": 1.0}, samples_seen=3 * i)
        optimiser.step()
    return {name: each.clone() for name, each in task.named_parameters()}


@pytest.mark.parametrize("options", [{}, {"parametrisation": "flow", "denoiser": {"adapters": True}}])
def test_first_the_denoiser_learns_and_then_the_tower_and_the_other_stays_bit_for_bit(options):
    objective = Denoise(**{**options, "denoiser": {**SMALL, **options.get("denoiser", {})}})
    model = dual(DUAL)
    model.mount(objective.heads(), make_plan({"denoise": objective}, {}))
    before = {f"model.{name}": each.clone() for name, each in model.named_parameters()}
    first = steps(model, objective, DENOISER, 4)  # what starts at zero lets nothing through for three of them
    then = steps(model, objective, TOWER, 1)

    def moved(old: dict[str, Tensor], new: dict[str, Tensor]) -> set[str]:
        return {".".join(name.split(".")[1:3]) for name in new if not torch.equal(old[name], new[name])}

    assert moved(before, first) == {"heads.denoiser"}
    assert moved(first, then) == {"towers.image", "heads.image/raw"}
    assert any(name.startswith("heads.denoiser.") for name in model.left_out())


def test_with_the_tower_of_diva_only_the_linear_maps_of_its_tokens_learn():
    objective = Denoise(local=0.3, draws=2, denoiser={**SMALL, "slots": 1, "vector": False})
    model = dual(DUAL)
    model.mount(objective.heads(), make_plan({"denoise": objective}, {}))
    first = steps(model, objective, DENOISER, 4)
    then = steps(model, objective, [*TOWER, "model.heads.denoiser.context.*", "model.heads.denoiser.local.*"], 1)
    moved = {name for name in then if not torch.equal(first[name], then[name])}
    assert {name.split(".")[3] for name in moved if "denoiser" in name} == {"context", "local"}
    assert any(name.startswith("model.towers.image.") for name in moved)


def test_low_rank_updates_that_start_at_zero_leave_loss_and_embedding_as_they_were():
    objective = Denoise(denoiser=SMALL)
    model = dual({**DUAL, "vision": {**VIT, "image_size": 32}})
    plan = make_plan({"denoise": objective}, {})
    model.mount(objective.heads(), plan)
    model.eval()

    def found() -> Tensor:
        rows = model(pairs(), plan)["image"].part("embedding")
        heads = {"denoiser": model.heads["denoiser"]}
        ctx = Context(parts={parse_key("image/embedding"): Part(rows, torch.arange(3))}, batch=pairs(), heads=heads)
        return torch.cat([rows.flatten(), objective(ctx)["denoising"].sum[None]])

    before = found()
    handle = apply_patches(model, [{"name": "lora", "on": "linear[blocks.*]", "rank": 4}])
    assert torch.equal(before, found())
    with torch.no_grad():
        for name, each in model.patches.named_parameters():
            each.add_(0.1 if name.endswith("up") else 0.0)
    assert not torch.equal(before, found())
    handle.remove()
    assert torch.equal(before, found())
