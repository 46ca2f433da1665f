"""X-CLIP's parts equal another library's; frames know of each other by messages, and of their order by places."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.x_clip.configuration_x_clip import XCLIPConfig, XCLIPVisionConfig
from transformers.models.x_clip.modeling_x_clip import (
    XCLIPMultiframeIntegrationTransformer,
    XCLIPPromptGenerator,
    XCLIPVisionEncoderLayer,
)

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.models.bank import Bank
from medvlp.models.encoders.slices import SliceEncoder
from medvlp.models.encoders.x_clip import XClip
from medvlp.models.heads.mit import Mit
from medvlp.models.heads.text_classifier import TextClassifier
from medvlp.models.heads.video_prompt import VideoPrompt
from medvlp.models.scale import LogitScale
from medvlp.training.phases import set_trainable
from medvlp.training.recompute import blocks_of, recomputed
from tests.models.words import VISION, VIT

SLICE = {**VIT, "image_size": 32}
W = 16
PARTS = frozenset({"tokens", "pooled", "patches", "level[1]"})


def tower(kind: Any = XClip, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(slice=SLICE, **options).double().eval()


def stacks(rows: int = 2, frames: int = 3, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(rows, frames, 1, 32, 32, generator=draw, dtype=torch.float64)


def drawn(module: nn.Module, seed: int = 0) -> None:
    draw = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)


def copied(own: Any, theirs: Any) -> None:
    """A linear layer or norm of another library."""
    own.weight.data, bias = theirs.weight.data, getattr(theirs, "bias", None)
    if own.bias is not None:
        own.bias.data = torch.zeros_like(own.bias) if bias is None else bias.data


def joined(own: nn.Linear, *theirs: Any) -> None:
    own.weight.data = torch.cat([each.weight.data for each in theirs])
    zeros = torch.zeros(len(theirs[0].weight), dtype=own.weight.dtype)
    own.bias.data = torch.cat([zeros if each.bias is None else each.bias.data for each in theirs])


def attention(own: Any, output: nn.Linear, theirs: Any) -> None:
    joined(own, theirs.q_proj, theirs.k_proj, theirs.v_proj)
    copied(output, theirs.out_proj)


# other libraries ------------------------------------------------------------------------------------------------------


def vision(**changes: Any) -> XCLIPVisionConfig:
    sizes = {"hidden_size": W, "intermediate_size": 4 * W, "num_attention_heads": 2, "num_frames": 3}
    sizes |= {"mit_hidden_size": W, "mit_intermediate_size": 4 * W, "mit_num_attention_heads": 2}
    config = XCLIPVisionConfig(**sizes, hidden_act="gelu", drop_path_rate=0.0, layer_norm_eps=1e-6, **changes)
    config._attn_implementation = "eager"
    return config


def test_a_block_with_messages_is_that_of_transformers() -> None:
    built = tower()
    block, message = built.blocks()[0], built.messages[0]
    theirs = XCLIPVisionEncoderLayer(vision()).double().eval()
    drawn(theirs)
    attention(block.attn.qkv, block.attn.proj, theirs.self_attn)
    attention(message.attention.qkv, message.attention.output, theirs.message_attn)
    same = [(block.norm1, theirs.layer_norm1), (block.norm2, theirs.layer_norm2), (block.mlp.fc1, theirs.mlp.fc1)]
    same += [(block.mlp.fc2, theirs.mlp.fc2), (message.write, theirs.message_fc), (message.norm, theirs.message_ln)]
    for own, other in same:
        copied(own, other)
    message.norm.eps = 1e-6
    tokens = torch.randn(6, 5, W, dtype=torch.float64)
    built.frames.enter(torch.ones(2, 3, dtype=torch.bool))
    torch.testing.assert_close(block(tokens), theirs(tokens, None), rtol=1e-5, atol=1e-6)  # its softmax is in float32


def test_the_integration_of_frames_is_that_of_transformers() -> None:
    config = vision(num_hidden_layers=2)
    theirs = XCLIPMultiframeIntegrationTransformer(config).double().eval()
    drawn(theirs)
    head = Mit(width=W, frames=3, heads=2, layers=len(theirs.encoder.layers)).double()
    for block, layer in zip(head.blocks, theirs.encoder.layers, strict=True):
        attention(block.attention.qkv, block.attention.output, layer.self_attn)
        for own, other in ((block.norm_attention, layer.layer_norm1), (block.norm_mlp, layer.layer_norm2)):
            copied(own, other)
            own.eps = 1e-6
        copied(block.mlp[0], layer.mlp.fc1)
        copied(block.mlp[2], layer.mlp.fc2)
    head.place.data = theirs.position_embedding.data[0]
    frames = torch.randn(2, 3, W, dtype=torch.float64)
    torch.testing.assert_close(video(head, frames), theirs(frames).pooler_output, rtol=1e-5, atol=1e-6)


def test_of_a_stack_without_a_real_frame_the_head_gives_zero_and_finite_gradients() -> None:
    """So a view that a batch has not is encoded."""
    head, frames = Mit(width=4, frames=3, heads=1), torch.rand(1, 3, 4, requires_grad=True)
    none = Encoded(owner=torch.arange(1), tokens=frames, mask=torch.zeros(1, 3, dtype=torch.bool))
    out = head(none, "video")["video"]
    out.sum().backward()
    assert out.tolist() == [[0.0] * 4]
    assert frames.grad is not None
    assert all(each.grad.isfinite().all() for each in (frames, *head.parameters()))


def test_prompts_of_a_video_are_those_of_transformers() -> None:
    config = XCLIPConfig(projection_dim=8, prompt_layers=2, prompt_num_attention_heads=2, prompt_hidden_act="gelu")
    config._attn_implementation = "eager"
    theirs = XCLIPPromptGenerator(config).double().eval()
    drawn(theirs)
    texts = torch.randn(4, 8, dtype=torch.float64)
    head = prompt(texts)
    for own, layer in zip(head.layers, theirs.decoder, strict=True):
        copied(own.attention.query, layer.cross_attn.q_proj)
        joined(own.attention.key_value, layer.cross_attn.k_proj, layer.cross_attn.v_proj)
        pairs = [(own.attention.output, layer.cross_attn.proj), (own.norm, layer.norm1), (own.norm_mlp, layer.norm3)]
        for one, other in [*pairs, (own.mlp[0], layer.mlp[0]), (own.mlp[2], layer.mlp[3])]:
            copied(one, other)
    copied(head.patches[2], theirs.layernorm)
    head.patches[2].eps, head.alpha.data = theirs.layernorm.eps, theirs.alpha.data
    rows = seen()
    projected = head.patches[1](head.patches[0](rows.part("patches")))
    expected = texts + theirs(texts.expand(2, -1, -1), projected)
    found = head(rows, "findings")
    torch.testing.assert_close(found["findings_texts"], nn.functional.normalize(expected, dim=-1))
    by_hand = torch.einsum("rd,rkd->rk", rows.part("embedding"), found["findings_texts"]) * 10
    torch.testing.assert_close(found["findings"], by_hand)


def prompt(texts: Tensor, kind: Any = VideoPrompt, **options: Any) -> Any:
    given = {"texts_of": lambda bank, rows: texts, "scale": LogitScale(init=10.0).double(), "embed_dim": texts.shape[1]}
    given |= {"books": {"findings": Bank("findings", tuple("abcd"))}, "classes": 4, "bank": "findings", **options}
    torch.manual_seed(0)
    return kind(**given, **({"token_width": W, "heads": 2} if kind is VideoPrompt else {})).double()


def seen() -> Encoded:
    draw = torch.Generator().manual_seed(2)
    extra = {
        "raw": torch.randn(2, 8, generator=draw).double(),
        "patches": torch.randn(2, 5, W, generator=draw).double(),
    }
    return Encoded(owner=torch.arange(2), extra=extra)


def test_without_its_weight_the_prompt_is_the_plain_classifier() -> None:
    texts = nn.functional.normalize(torch.randn(4, 8, dtype=torch.float64), dim=1)
    plain = prompt(texts, TextClassifier)(seen(), "findings")["findings"]
    torch.testing.assert_close(prompt(texts, alpha=0.0)(seen(), "findings")["findings"], plain)
    assert not torch.allclose(prompt(texts)(seen(), "findings")["findings"], plain, atol=1e-3)


# messages -------------------------------------------------------------------------------------------------------------


def test_hidden_from_attention_a_message_changes_nothing_and_of_weight_zero_it_does() -> None:
    built, plain = tower(), tower(SliceEncoder)
    message, block = built.messages[0], plain.slice.backbone.blocks[0]
    tokens = torch.randn(6, 5, W, dtype=torch.float64)
    built.frames.enter(torch.ones(2, 3, dtype=torch.bool))
    hidden = torch.zeros(6, 6, dtype=torch.float64)
    hidden[:, -1] = -torch.inf
    found = message.after(block(message.before(tokens), attn_mask=hidden))
    torch.testing.assert_close(found, block(tokens), rtol=1e-12, atol=1e-12)
    for parameter in message.parameters():
        nn.init.zeros_(parameter)
    assert not torch.allclose(message.after(block(message.before(tokens))), block(tokens), atol=1e-3)


def test_a_frame_depends_on_the_others_by_messages_only() -> None:
    for kind, expected in ((XClip, True), (SliceEncoder, False)):
        values = stacks(1).requires_grad_()
        rows = tower(kind)(values, parts=frozenset({"tokens"}))
        (gradient,) = torch.autograd.grad(rows.part("tokens")[0, 2, 0], values)
        assert bool(gradient[0, 0].abs().sum() > 0) is expected
        assert gradient[0, 2].abs().sum() > 0


def test_frames_in_another_order_give_tokens_in_that_order_and_only_places_tell_them_apart() -> None:
    built, values, order = tower(), stacks(), [2, 0, 1]
    rows, mixed = built(values, parts=PARTS), built(values[:, order], parts=PARTS)
    for part, expected in (
        ("tokens", rows.tokens[:, order]),
        ("pooled", rows.pooled),
        ("patches", rows.part("patches")),
    ):
        torch.testing.assert_close(mixed.part(part), expected)
    head = Mit(width=W, frames=3, heads=2).double()
    drawn(head)
    assert not torch.allclose(video(head, rows.tokens), video(head, mixed.tokens), atol=1e-3)
    head.place.data.zero_()
    torch.testing.assert_close(video(head, rows.tokens), video(head, mixed.tokens))


def video(head: Mit, frames: Tensor, mask: Tensor | None = None) -> Tensor:
    real = torch.ones(frames.shape[:2], dtype=torch.bool) if mask is None else mask
    return head(Encoded(owner=torch.arange(len(frames)), tokens=frames, mask=real), "video")["video"]


def test_frames_are_integrated_by_one_head_for_64_numbers_and_at_least_one() -> None:
    for width, heads in ((128, 2), (W, 1)):
        usual, named = Mit(width=width, frames=3).double(), Mit(width=width, frames=3, heads=heads).double()
        drawn(usual)
        named.load_state_dict(usual.state_dict())
        frames = torch.randn(2, 3, width, dtype=torch.float64)
        assert torch.equal(video(usual, frames), video(named, frames))


def test_absent_frames_change_nothing_whatever_they_hold() -> None:
    built, short = tower(), stacks(frames=2)
    head = Mit(width=W, frames=4, heads=2).double()
    drawn(head)
    long = torch.cat([short, 9 * stacks(seed=5)[:, :2]], dim=1)
    mask = torch.tensor([[True, True, False, False]] * 2)
    one, other = built(short, parts=PARTS), built(long, parts=PARTS, mask=mask)
    for part in ("pooled", "patches"):
        torch.testing.assert_close(other.part(part), one.part(part))
    torch.testing.assert_close(other.tokens[:, :2], one.tokens)
    torch.testing.assert_close(other.part("level[1]")[:, :, :2], one.part("level[1]"))
    assert other.tokens[:, 2:].abs().max() == 0
    torch.testing.assert_close(video(head, other.tokens, mask), video(head, one.tokens))


def test_a_few_stacks_at_a_time_are_all_of_them_and_a_copy_is_its_own() -> None:
    built, values = tower(chunk=3), stacks(5)
    whole = built(values, parts=PARTS)
    with torch.no_grad():
        torch.testing.assert_close(built(values, parts=PARTS).tokens, whole.tokens)
    other = copy.deepcopy(built)
    drawn(other.messages)
    moved = other(values, parts=PARTS)
    assert not torch.allclose(moved.tokens, whole.tokens, atol=1e-3)
    torch.testing.assert_close(built(values, parts=PARTS).tokens, whole.tokens)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_pass_that_looks_ahead_is_the_one_that_trains(frozen: bool) -> None:
    torch.manual_seed(0)
    built, found, calls = XClip(slice={**SLICE, "drop_path": 0.5}, chunk=3).double(), [], []
    set_trainable(built, ["*", "!slice.*"] if frozen else ["*"], where="test")
    built.slice.register_forward_hook(lambda *_: calls.append(1))
    for gradient in (False, True):
        torch.manual_seed(3)
        with torch.set_grad_enabled(gradient):
            found.append(built(stacks(5), parts=PARTS).tokens.detach())
        assert len(calls) == 1 + gradient
    assert torch.equal(*found)
    with torch.no_grad():
        built.eval()(stacks(5), parts=PARTS)
    assert len(calls) == 2 + 5  # a stack at a time


def test_blocks_that_are_computed_again_for_the_backward_pass_give_the_same_gradients() -> None:
    built, found = tower(), []
    for again in (False, True):
        built.zero_grad()
        with recomputed(blocks_of(built) if again else []):
            loss = built(stacks(), parts=PARTS).pooled[:, 0].sum()
        loss.backward()
        found.append([p.grad.clone() for p in built.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 20
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_what_cannot_exchange_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no class token and plain blocks"):
        XClip(slice=VISION)
    with pytest.raises(ConfigError, match="need their pixels"):
        tower()(torch.zeros(1, 2, W, 1, 1), parts=frozenset({"pooled"}))
    with pytest.raises(ConfigError, match="a stack of 5 frames and has places for 3"):
        video(Mit(width=W, frames=3, heads=2), torch.zeros(1, 5, W))
    assert "tokens.input" in tower(SliceEncoder).sites()
    assert "tokens.input" not in tower().sites()
