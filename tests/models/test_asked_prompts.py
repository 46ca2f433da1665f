"""Prompts that are others for each picture (CoCoOp, CTP with TFT, GOPro) against their equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch
from medvlp.models.architectures._towers import TowerModel
from tests.models.prompts import FINDINGS, NAMES, batch, drawn, logits, model, pictures, prompted, word_vectors
from tests.models.words import VISION

COOP, COCOOP, CTP, GOPRO = (
    {"name": name, "view": "bank.names", "tokens": 3} for name in ("coop", "cocoop", "ctp", "gopro")
)
CTP |= {"heads": 2}
ASKED = [COCOOP, CTP, GOPRO]


def built_with(spec: dict[str, Any], **changes: Any) -> tuple[TowerModel, Any]:
    built = model([spec], **changes)
    (patch,) = built.patches.values()
    drawn(patch)
    return built, patch


def by_hand(built: TowerModel, context: Tensor, shifts: list[list[Tensor]]) -> Tensor:
    """(R, K, D): the text of class k with the context moved by what picture r says to it."""
    rows = [[prompted(built, name, [*(context + row[k])]) for k, name in enumerate(NAMES)] for row in shifts]
    return torch.stack([torch.stack(row) for row in rows])


def check(built: TowerModel, texts: Tensor) -> None:
    seen = pictures(built, "embedding")["embedding"]
    expected = torch.stack([built.logit_scale.value * texts[r] @ seen[r] for r in range(len(seen))])
    torch.testing.assert_close(logits(built), expected, atol=1e-4, rtol=1e-4)


def test_cocoop_is_its_equation() -> None:
    built, patch = built_with(COCOOP)
    first, _, second = patch.meta
    shifts = []
    for v in pictures(built, "embedding")["embedding"]:
        moved = second.weight @ (first.weight @ v + first.bias).clamp(min=0) + second.bias
        shifts.append([moved] * len(NAMES))
    check(built, by_hand(built, patch.context[0], shifts))


def test_ctp_is_its_equation() -> None:
    built, patch = built_with(CTP)
    attention, shifts = patch.attention, []
    for tokens in pictures(built, "tokens")["tokens"]:
        keys_, values = (attention.key_value.weight @ tokens.T + attention.key_value.bias[:, None]).T.chunk(2, dim=1)
        moved = []
        for name in NAMES:
            own = torch.stack(word_vectors(built, name.rstrip("."))[1:-1]).mean(dim=0)
            query = attention.query.weight @ own + attention.query.bias
            heads = []
            for h in range(2):
                part = slice(8 * h, 8 * h + 8)
                shares = (keys_[:, part] @ query[part] / 8**0.5).softmax(dim=0)
                heads.append(shares @ values[:, part])
            moved.append(attention.output.weight @ torch.cat(heads) + attention.output.bias)
        shifts.append(moved)
    check(built, by_hand(built, patch.context[0], shifts))


def test_gopro_is_its_equation() -> None:
    built, patch = built_with(GOPRO)
    shifts = []
    for layers in pictures(built, "layers")["layers"]:
        moved = torch.zeros(16)
        for i, tokens in enumerate(layers):
            mean = sum(tokens) / len(tokens)
            deviation = (sum((t - mean) ** 2 for t in tokens) / len(tokens)).sqrt()
            style = patch.style[i].weight @ ((mean + deviation) / 2) + patch.style[i].bias
            content = patch.content[i].weight @ mean + patch.content[i].bias
            moved = moved + patch.mix.weight[0, i] * (style + content) / 2
        shifts.append([moved] * len(NAMES))
    check(built, by_hand(built, patch.context[0], shifts))


def test_pictures_that_look_at_the_texts_are_their_equation() -> None:
    built = model([COOP], head={"name": "text_guided_classifier", "heads": 2})
    drawn(built.heads["image/findings"])
    guide = built.heads["image/findings"].guide
    texts = built(batch(), Plan.of(keys("bank.names/embedding")))["bank.names"].part("embedding")
    expected = []
    for v in pictures(built, "embedding")["embedding"]:
        query = guide.query.weight @ v + guide.query.bias
        keys_, values = (texts @ guide.key_value.weight.T + guide.key_value.bias).chunk(2, dim=1)
        heads = [(keys_[:, p] @ query[p] / 2).softmax(dim=0) @ values[:, p] for p in (slice(0, 4), slice(4, 8))]
        moved = v + guide.output.weight @ torch.cat(heads) + guide.output.bias
        expected.append(built.logit_scale.value * texts @ (moved / moved.norm()))
    torch.testing.assert_close(logits(built), torch.stack(expected))


# reductions -----------------------------------------------------------------------------------------------------------


def silenced(patch: Any, name: str) -> None:
    """Set to zero what the projection that a method ends in gives."""
    last = {"cocoop": lambda: patch.meta[2], "ctp": lambda: patch.attention.output, "gopro": lambda: patch.mix}[name]()
    for parameter in last.parameters():
        torch.nn.init.zeros_(parameter)


@pytest.mark.parametrize("spec", ASKED, ids=lambda s: s["name"])
def test_with_a_last_projection_of_zero_it_is_coop(spec: dict[str, Any]) -> None:
    built, patch = built_with(spec)
    plain, other = built_with(COOP)
    with torch.no_grad():
        other.context.copy_(patch.context)
    assert not torch.allclose(logits(built), logits(plain), atol=1e-3)
    silenced(patch, spec["name"])
    torch.testing.assert_close(logits(built), logits(plain))


def test_ctp_and_its_classifier_start_as_coop() -> None:
    head = {"name": "text_guided_classifier", "heads": 2}
    built, plain = model([CTP], head=head), model([COOP])
    with torch.no_grad():
        next(iter(built.patches.values())).context.copy_(next(iter(plain.patches.values())).context)
    torch.testing.assert_close(logits(built), logits(plain))


def shifts_of(built: TowerModel, patch: Any) -> Tensor:
    """(R, K, W): by how much each text's context was moved."""
    seen: list[Tensor] = []
    hook = built.towers["text"].words_input.register_forward_hook(lambda _m, _i, out: seen.append(out))
    logits(built)
    hook.remove()
    return (seen[0][:, 1] - patch.context[0, 0]).unflatten(0, (3, len(NAMES)))


def test_equal_names_make_ctp_move_all_classes_alike_as_cocoop_does() -> None:
    built, patch = built_with(CTP)
    apart = shifts_of(built, patch)
    assert (apart - apart[:, :1]).abs().max() > 1e-2
    with torch.no_grad():
        built.towers["text"].word.weight.copy_(
            built.towers["text"].word.weight[:1].expand_as(built.towers["text"].word.weight)
        )
    alike = shifts_of(built, patch)
    torch.testing.assert_close(alike, alike[:, :1].expand_as(alike))
    other, conditioned = built_with(COCOOP)
    alike = shifts_of(other, conditioned)
    torch.testing.assert_close(alike, alike[:, :1].expand_as(alike))


@pytest.mark.parametrize("spec", ASKED, ids=lambda s: s["name"])
def test_a_permutation_of_the_classes_permutes_the_logits(spec: dict[str, Any]) -> None:
    order = [2, 0, 3, 1]
    first, _ = built_with(spec)
    second = model([spec], names=[NAMES[i] for i in order])
    second.patches.load_state_dict(first.patches.state_dict())
    torch.testing.assert_close(logits(second), logits(first)[:, order])


@pytest.mark.parametrize("spec", ASKED, ids=lambda s: s["name"])
def test_a_picture_is_asked_alone_as_among_others_and_reports_stay_as_they_are(spec: dict[str, Any]) -> None:
    built, _ = built_with(spec)
    whole = logits(built, rows=12)  # 48 texts: in groups of like length
    torch.testing.assert_close(logits(built, rows=5), whole[:5])
    report = Batch.of({"text": ["a photo of effusion"]})
    plan = Plan.of(keys("text/embedding"))
    assert torch.equal(built(report, plan)["text"].part("embedding"), model()(report, plan)["text"].part("embedding"))


@pytest.mark.parametrize("spec", [COOP, *ASKED], ids=lambda s: s["name"])
def test_names_of_one_length_are_asked_as_among_longer_ones(spec: dict[str, Any]) -> None:
    some, more = model([spec], names=["nodule", "effusion"]), model([spec], names=["nodule", "effusion", NAMES[3]])
    drawn(more.patches)
    some.patches.load_state_dict(more.patches.state_dict())
    torch.testing.assert_close(logits(some), logits(more)[:, :2])


@pytest.mark.parametrize("spec", ASKED, ids=lambda s: s["name"])
def test_texts_that_no_picture_asks_are_refused(spec: dict[str, Any]) -> None:
    built, _ = built_with(spec)
    with pytest.raises(ConfigError, match=rf"The patch '{spec['name']}' makes of the texts of 'bank.names' others for"):
        built(batch(), Plan.of(keys("bank.names/embedding")))


def test_a_batch_without_pictures_asks_once() -> None:
    built, _ = built_with(COCOOP)
    rows = built(Batch.of({"text": ["effusion"]}), Plan.of(keys(FINDINGS)))["image"]
    assert rows.part("findings").shape == (1, 4)
    assert rows.owner.tolist() == [-1]


def test_gopro_needs_blocks() -> None:
    with pytest.raises(ConfigError, match="choose a transformer"):
        model([GOPRO], vision={**VISION, "image_size": 32})


def test_style_follows_the_picture_and_not_its_place() -> None:
    """What moves the prompts is a mean and a deviation over tokens: it differs between pictures."""
    built, patch = built_with(GOPRO)
    moved = shifts_of(built, patch)
    assert (moved[0] - moved[1]).abs().max() > 1e-4


# a toy of the card --------------------------------------------------------------------------------------------------


def styled(count: int, classes: Tensor, draw: torch.Generator, *, gain: float, shift: float) -> tuple[Tensor, Tensor]:
    """Noisy pictures of four textures with the contrast and brightness of a domain, and their classes."""
    own = torch.arange(count) % 4
    seen = classes[own] + 0.15 * torch.randn(count, 1, 32, 32, generator=draw)
    spread = 0.2 * torch.rand(count, 2, 1, 1, 1, generator=draw)
    return (gain + spread[:, 0]) * (seen - 0.5) + 0.5 + shift + spread[:, 1], own


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_prompts_that_follow_the_style_do_better_in_another_domain_than_fixed_ones(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    classes = torch.rand(4, 1, 32, 32, generator=draw)
    (seen, own), (other, truth) = (
        styled(count, classes, draw, gain=gain, shift=shift)
        for count, gain, shift in ((64, 0.7, -0.1), (200, 0.3, 0.2))
    )
    right = {}
    for spec in (COOP, GOPRO):
        built = model([spec]).requires_grad_(False)
        built.patches.requires_grad_(True)
        optimiser = torch.optim.Adam(built.patches.parameters(), lr=0.02)
        plan = Plan.of(keys(FINDINGS))
        for _ in range(60):
            optimiser.zero_grad()
            scores = built(Batch.of({"image": seen}), plan)["image"].part("findings")
            torch.nn.functional.cross_entropy(scores, own).backward()
            optimiser.step()
        found = built(Batch.of({"image": other}), plan)["image"].part("findings").argmax(dim=1)
        right[spec["name"]] = (found == truth).float().mean()
    assert right["gopro"] > right["coop"] + 0.1
