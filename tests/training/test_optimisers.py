from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import nn

from medvlp.core.errors import ConfigError, UserError
from medvlp.core.registry import FromModel
from medvlp.models.build import build_model
from medvlp.models.encoders.biovil_t import BioVilT
from medvlp.models.encoders.timm import TimmEncoder
from medvlp.models.heads.mit import Mit
from medvlp.models.heads.prompter import Prompter
from medvlp.models.heads.slice_pooler import SlicePooler
from medvlp.training.optimisation import (
    OptimiserOptions,
    load_optimiser_state,
    make_optimiser,
    optimiser_state,
    set_rate,
)
from medvlp.training.phases import PhasePlan, optimiser_of
from tests.models.words import VISION, dual
from tests.plugins import installed


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def test_tensors_of_one_axis_have_no_weight_decay() -> None:
    optimiser = make_optimiser(net(), OptimiserOptions(weight_decay=0.1))
    decayed = {name: group["weight_decay"] for group in optimiser.param_groups for name in group["names"]}
    assert decayed == {"0.weight": 0.1, "2.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.bias": 0.0}


def test_learnt_places_have_no_weight_decay_whatever_their_names() -> None:
    """Of frames (X-CLIP), of slices, of the prior (BioViL-T): their authors spare them. Layers over places have it."""
    pair = BioVilT(slice={"name": "timm", "architecture": "resnet10t", "image_size": 64}, width=16, layers=1, heads=2)
    parts = {"mit": Mit(width=4, heads=1), "slices": SlicePooler(width=8, heads=2, place="learned"), "pair": pair}
    module = nn.ModuleDict({**parts, "prompter": Prompter(token_width=8, embed_dim=4)})
    groups = make_optimiser(module, OptimiserOptions(weight_decay=0.1)).param_groups
    decay = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert [decay[name] for name in ("mit.place", "slices.place.table", "pair.order")] == [0, 0, 0]
    assert [decay[name] for name in ("prompter.place.weight", "pair.to_tokens.weight")] == [0.1, 0.1]


def test_a_pattern_takes_weight_decay_from_what_it_matches() -> None:
    optimiser = make_optimiser(net(), OptimiserOptions(weight_decay=0.1, no_decay=["2.*"]))
    assert {n for group in optimiser.param_groups if group["weight_decay"] for n in group["names"]} == {"0.weight"}


def test_a_rate_pattern_scales_the_rate_of_what_it_matches() -> None:
    options = OptimiserOptions(rate=1e-2, warmup=0, schedule="constant", rates={"2.*": 0.1})
    optimiser = make_optimiser(net(), options)
    set_rate(optimiser, options, samples=5, horizon=10)
    rates = {name: group["lr"] for group in optimiser.param_groups for name in group["names"]}
    assert rates["0.weight"] == pytest.approx(1e-2)
    assert rates["2.weight"] == pytest.approx(1e-3)


@pytest.mark.parametrize("options", [{"betas": (0.9, 1.0)}, {"betas": (1.5, 0.9)}, {"rates": {"2.*": -0.1}}])
def test_moments_decay_and_no_rate_climbs(options: Any) -> None:
    with pytest.raises(ValidationError):
        OptimiserOptions(**options)


def test_one_step_is_adamw_by_its_formula() -> None:
    module = nn.Linear(2, 1, bias=False).double()
    before = module.weight.detach().clone()
    options = OptimiserOptions(rate=0.01, weight_decay=0.1, betas=(0.9, 0.98), warmup=0, schedule="constant")
    optimiser = make_optimiser(module, options)
    set_rate(optimiser, options, samples=0, horizon=1)
    module.weight.grad = torch.tensor([[0.5, -2.0]], dtype=torch.float64)
    optimiser.step()
    # Step 1: m_hat = g and v_hat = g^2, so the update is sign(g) up to eps, after the decay of the old weight.
    gradient = module.weight.grad
    expected = before * (1 - 0.01 * 0.1) - 0.01 * gradient / (gradient.abs() + 1e-8)
    assert torch.allclose(module.weight, expected, atol=1e-12)


def test_one_step_of_lion_is_the_sign_of_the_gradient() -> None:
    """Chen et al. 2023, algorithm 2, from moments of 0, with its decay beside it."""
    module = nn.Linear(2, 1, bias=False)
    before = module.weight.detach().clone()
    options = OptimiserOptions(name="lion", rate=0.01, weight_decay=0.1, warmup=0, schedule="constant")
    optimiser = make_optimiser(module, options)
    set_rate(optimiser, options, samples=0, horizon=1)
    module.weight.grad = torch.tensor([[0.5, -2.0]])
    optimiser.step()
    torch.testing.assert_close(module.weight, before * (1 - 0.01 * 0.1) - 0.01 * module.weight.grad.sign())


def test_a_step_of_lamb_is_as_long_as_its_weights() -> None:
    """You et al. 2020, algorithm 2: each tensor's update has the length of the tensor, times the rate."""
    module = net()
    options = OptimiserOptions(name="lamb", rate=0.01, weight_decay=0.1, warmup=0, schedule="constant")
    before = [p.detach().clone() for p in module.parameters()]
    optimiser = make_optimiser(module, options)
    set_rate(optimiser, options, samples=0, horizon=1)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5))
    optimiser.step()
    for parameter, old in zip(module.parameters(), before, strict=True):
        if parameter.dim() > 1:  # tensors that are not decayed keep Adam's update
            torch.testing.assert_close((parameter - old).norm(), 0.01 * old.norm(), rtol=1e-4, atol=0.0)


def test_a_step_of_muon_is_orthogonal_and_that_of_words_and_positions_adams() -> None:
    """Jordan et al. 2024: the nearest semi-orthogonal matrix; Liu et al. 2025, eq. 4: times 0.2 sqrt(max)."""
    module = nn.Sequential(nn.Embedding(8, 6), nn.Linear(6, 12, bias=False))
    module.register_parameter("position", nn.Parameter(torch.zeros(5, 6)))
    before = [p.detach().clone() for p in module.parameters()]
    gradients = [torch.randn(p.shape, generator=torch.Generator().manual_seed(5)) for p in before]
    options = OptimiserOptions(name="muon", rate=0.01, weight_decay=0.0, warmup=0, schedule="constant")
    optimiser = make_optimiser(module, options)
    set_rate(optimiser, options, samples=0, horizon=1)
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()
    moved = (old - parameter.detach() for old, parameter in zip(before, module.parameters(), strict=True))
    position, words, layer = moved
    torch.testing.assert_close(position, 0.01 * gradients[0].sign())
    torch.testing.assert_close(words, 0.01 * gradients[1].sign())
    lengths = torch.linalg.svdvals(layer) / (0.01 * 0.2 * 12**0.5)
    assert lengths.min() > 0.6  # five steps come near 1 only: Newton and Schulz, of fifth order
    assert lengths.max() < 1.3
    spread = torch.linalg.svdvals(gradients[2])
    assert spread.max() / spread.min() > 2.5


def momentum_sgd(
    *,
    groups: Annotated[list[Any], FromModel("groups")],
    rate: Annotated[float, FromModel("rate")],
    momentum: float = 0.9,
) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=rate, momentum=momentum)


def staircase(*, done: Annotated[float, FromModel("done")], final: Annotated[float, FromModel("final")]) -> float:
    return 1.0 if done < 0.5 else final


def test_an_optimiser_and_a_schedule_of_another_package_are_one_function_each() -> None:
    names = {"momentum_sgd": "training/optimisers", "staircase": "training/schedules"}
    with installed(**{name: f"{kind} {__name__}:{name}" for name, kind in names.items()}):
        options = OptimiserOptions(
            name="momentum_sgd", options={"momentum": 0.5}, schedule="staircase", warmup=0, rate=1
        )
        optimiser = make_optimiser(net(), options)
        rates = [set_rate(optimiser, options, samples=samples, horizon=10) for samples in (0, 4, 5, 10)]
        with pytest.raises(ConfigError, match=r"optimiser\.moment is not a known key: did you mean 'momentum'"):
            make_optimiser(net(), options.model_copy(update={"options": {"moment": 0.5}}))
    assert {group["momentum"] for group in optimiser.param_groups} == {0.5}
    assert rates == [1.0, 1.0, 0.01, 0.01]


@pytest.mark.parametrize(("schedule", "middle"), [("constant", 1.0), ("linear", 0.55), ("cosine", 0.55)])
def test_after_its_warm_up_the_rate_goes_by_its_schedule(schedule: str, middle: float) -> None:
    options = OptimiserOptions(rate=2.0, warmup=20, schedule=schedule, final=0.1)
    optimiser = make_optimiser(net(), options)
    found = [set_rate(optimiser, options, samples=samples, horizon=120) for samples in (0, 10, 20, 45, 70, 120, 150)]
    quarter = {"linear": 1 - 0.9 / 4, "cosine": 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2}.get(schedule, 1.0)
    end = 1.0 if schedule == "constant" else 0.1
    assert found == pytest.approx([2 / 20, 1.0, 2.0, 2 * quarter, 2 * middle, 2 * end, 2 * end])


@pytest.mark.parametrize("name", ["adamw", "lamb", "lion", "muon", "schedule_free"])
def test_state_by_name_goes_on_bit_for_bit(name: Any) -> None:
    options = OptimiserOptions(name=name, schedule="constant", rate=0.01)
    draws = torch.Generator().manual_seed(1)
    gradients = [[torch.randn(p.shape, generator=draws) for p in net().parameters()] for _ in range(6)]

    def steps(module: nn.Module, optimiser: torch.optim.Optimizer, which: range) -> None:
        for i in which:
            for parameter, gradient in zip(module.parameters(), gradients[i], strict=True):
                parameter.grad = gradient.clone()
            optimiser.step()

    whole = net()
    steps(whole, make_optimiser(whole, options), range(6))
    first = net()
    half = make_optimiser(first, options)
    steps(first, half, range(3))
    saved = {name: tensor.clone() for name, tensor in optimiser_state(half).items()}
    second = make_optimiser(first, options)
    load_optimiser_state(second, saved)
    steps(first, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), first.parameters(), strict=True))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"schedule": "cosine"}, r"takes the place of schedule 'cosine': set it to"),
        ({"betas": (0.0, 0.9)}, r"begin with 0"),
    ],
)
def test_a_schedule_free_optimiser_has_no_schedule_and_a_share_of_its_average(wrong: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_optimiser(net(), OptimiserOptions(**{"name": "schedule_free", "schedule": "constant", **wrong}))


def test_nothing_to_train_is_refused_with_the_key_to_mend() -> None:
    with pytest.raises(UserError, match=r"widen phases\[\]\.trainable"):
        make_optimiser(net().requires_grad_(False), OptimiserOptions())


# layer-wise rates ---------------------------------------------------------------------------------------------------


def factors(module: nn.Module, decay: float, **options: Any) -> dict[str, float]:
    made = make_optimiser(module, OptimiserOptions(layer_decay=decay, **options))
    return {name: group["factor"] for group in made.param_groups for name in group["names"]}


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "resnet10t"])
def test_the_rates_of_a_timm_tower_are_those_of_timm(architecture: str) -> None:
    from timm.optim import param_groups_layer_decay

    tower = TimmEncoder(architecture=architecture)
    peer = param_groups_layer_decay(tower.backbone, weight_decay=0.0, layer_decay=0.7)
    names = {id(p): f"backbone.{name}" for name, p in tower.backbone.named_parameters()}
    expected = {names[id(p)]: group["lr_scale"] for group in peer for p in group["params"]}
    assert len(set(expected.values())) > 3
    assert factors(tower, 0.7) == pytest.approx(expected)


def test_the_rates_of_a_text_tower_fall_from_its_last_block_to_its_words() -> None:
    model = dual()
    found = factors(nn.ModuleDict({"model": model}), 0.5, rates={"model.towers.text.*": 0.1})
    text = {name.removeprefix("model.towers.text."): f for name, f in found.items() if "towers.text" in name}
    assert text["word.weight"] == text["position"] == pytest.approx(0.1 * 0.5**2)
    assert text["trunk.blocks.0.mlp.0.weight"] == pytest.approx(0.1 * 0.5)
    assert text["trunk.blocks.1.attention.qkv.bias"] == pytest.approx(0.1)
    assert text["trunk.norm.weight"] == pytest.approx(0.1)
    assert {f for name, f in found.items() if "towers" not in name} == {1.0}


def test_a_shared_trunk_and_the_slices_of_a_volume_have_them_too() -> None:
    single = {"name": "single", "image_size": 32, "patch_size": 8, "width": 16, "layers": 2, "attention_heads": 2}
    found = factors(dual({**single, "embed_dim": 8}), 0.5)
    assert {f for name, f in found.items() if "blocks.0." in name} == {0.5}
    assert {f for name, f in found.items() if name.endswith("word.weight")} == {0.25}
    stack = {"name": "vision", "vision": {"name": "slices", "slice": VISION}}
    assert len(set(factors(build_model(stack, tokenizer=None), 0.5).values())) > 3


# patterns -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"rates": {"0.*": 0.1, "two.*": 0.1}},
            r"^optimiser\.rates has 'two\.\*', which matches no par.*: allowed are 0\.bias",
        ),
        ({"no_decay": ["2.wieght"]}, r"optimiser\.no_decay has '2\.wieght', which .*: did you mean '2\.weight\.\*'\?"),
    ],
)
def test_a_pattern_that_matches_no_parameter_is_refused(options: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_optimiser(net(), OptimiserOptions(**options))


def test_a_pattern_may_be_of_what_is_frozen() -> None:
    module = net()
    module[0].requires_grad_(False)
    optimiser = make_optimiser(module, OptimiserOptions(rates={"0.*": 0.1}, no_decay=["0.*"]))
    assert {group["factor"] for group in optimiser.param_groups} == {1.0}


def phase(options: OptimiserOptions, **others: Any) -> PhasePlan:
    return PhasePlan(until=8, objectives={}, weights={}, optimiser=options, batches=lambda start: (), **others)


def test_what_another_phase_may_bring_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Options that phases share may be about patches of one of them; those of a phase alone are about itself."""
    options = OptimiserOptions(rates={"model.patches.*": 0.1})
    reshaping = phase(OptimiserOptions(), own_optimiser=True, patches=[{"name": "lora"}])
    with caplog.at_level("WARNING"):
        optimiser_of(net(), [phase(options), reshaping], 0)
    assert "optimiser.rates has 'model.patches.*', which matches no parameter" in caplog.text
    with pytest.raises(ConfigError, match=r"^optimiser\.rates has 'model\.patches\.\*'"):
        optimiser_of(net(), [phase(options), phase(options)], 0)
    with pytest.raises(ConfigError, match=r"^phases\[1\]\.optimiser\.rates has 'model\.patches\.\*'"):
        optimiser_of(net(), [reshaping, phase(options, own_optimiser=True)], 1)


def test_of_a_vision_transformer_is_decayed_what_timm_decays() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", embed_dim=16, depth=1, num_heads=2, reg_tokens=2, img_size=32)
    groups = timm.optim.param_groups_weight_decay(vit, 0.1, no_weight_decay_list=vit.no_weight_decay())
    theirs = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    made = make_optimiser(vit, OptimiserOptions(weight_decay=0.1)).param_groups
    assert {id(parameter) for group in made if group["weight_decay"] for parameter in group["params"]} == theirs
    assert id(vit.reg_token) not in theirs
