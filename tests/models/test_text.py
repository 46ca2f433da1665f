from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, UserError
from medvlp.models.encoders import _blocks, _text
from medvlp.models.encoders._text import TextEncoder, encode_texts
from medvlp.models.encoders.transformer import TextTransformer
from medvlp.models.encoders.transformers import TransformersEncoder
from medvlp.text.tokenizers import tokenise
from tests.models.words import HashWords

PARTS = frozenset({"pooled", "tokens", "mask", "ids"})
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SORTS = ("full_attention", "sliding_attention")
AUTO = torch.export.Dim.AUTO
SHORT, LONG = "small effusion", "no focal consolidation is seen in either lung and the heart is of normal size"


def transformer(**changes: object) -> TextTransformer:
    return TextTransformer(words=HashWords(), width=16, layers=2, heads=2, **changes)


def bert(**changes: object) -> TransformersEncoder:
    return TransformersEncoder(words=HashWords(), config=BERT, **changes).eval()


def encode(tower: TextEncoder, texts: list[str], parts: frozenset[str] = PARTS) -> Encoded:
    return encode_texts(tower, texts, parts=parts)


@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
def test_padding_to_a_longer_batch_does_not_change_a_text(pool: str) -> None:
    tower = transformer(pool=pool)
    alone, together = encode(tower, [SHORT]), encode(tower, [SHORT, LONG])
    assert together.mask.shape[1] > alone.mask.shape[1]
    torch.testing.assert_close(together.pooled[:1], alone.pooled, rtol=0, atol=1e-5)
    torch.testing.assert_close(together.tokens[:1, :2], alone.tokens, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pool", ["cls", "mean", "pooler"])
def test_padding_does_not_change_a_text_of_a_transformers_model(pool: str) -> None:
    tower = bert(pool=pool)
    alone, together = encode(tower, [SHORT]), encode(tower, [SHORT, LONG])
    torch.testing.assert_close(together.pooled[:1], alone.pooled, rtol=0, atol=1e-5)


def test_pooling_reads_real_tokens_only() -> None:
    for pool, pick in (("mean", lambda t: t.mean(0)), ("cls", lambda t: t[0]), ("last", lambda t: t[-1])):
        rows = encode(transformer(pool=pool), [SHORT, LONG])
        for row in range(2):
            real = rows.tokens[row][rows.mask[row]]
            torch.testing.assert_close(rows.pooled[row], pick(real))


def test_grouping_by_length_equals_one_padded_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(["word"] * (1 + 7 * i % 23)) + f" {i}" for i in range(40)]
    tower = transformer().double()
    grouped = encode(tower, texts)
    monkeypatch.setattr(_text, "_GROUP", 1000)
    whole = encode(tower, texts)
    torch.testing.assert_close(grouped.pooled, whole.pooled, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grouped.tokens[whole.mask], whole.tokens[whole.mask], rtol=1e-10, atol=1e-12)
    assert torch.equal(grouped.part("ids"), whole.part("ids"))


@pytest.mark.parametrize("length", [5, 200])
def test_half_precision_attention_on_a_cpu_is_that_of_float32_to_its_precision(length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(2, 3, length, 8, generator=generator, requires_grad=True) for _ in range(3)]
    keep = torch.arange(length)[None] < torch.tensor([[length], [length // 2]])
    outs, grads = [], []
    for dtype in (torch.float32, torch.bfloat16):
        q, k, v = (value.to(dtype) for value in values)
        out = _blocks._attend(q, k, v, keep[:, None, None, :], causal=False)
        outs.append(out.float())
        grads.append(torch.autograd.grad(out.float().square().sum(), values))
    torch.testing.assert_close(outs[1], outs[0], rtol=0.05, atol=0.03)
    for half, full in zip(grads[1], grads[0], strict=True):
        assert (half - full).norm() < 0.03 * full.norm()


def test_layers_end_in_the_tokens_and_attention_sums_to_one_over_real_keys() -> None:
    tower = transformer()
    rows = encode(tower, [SHORT, LONG], PARTS | {"layers", "attention"})
    torch.testing.assert_close(tower.trunk.norm(rows.layers[:, -1]), rows.tokens)
    torch.testing.assert_close(rows.attention.sum(dim=-1), torch.ones(2, 2, rows.mask.shape[1]))
    assert not rows.attention[0, :, :, 2:].any()
    block = tower.trunk.blocks[0]
    tokens = block.norm_attention(tower.word(rows.part("ids")) + tower.position[: rows.mask.shape[1]])
    q, k, _ = (part.view(2, -1, 2, 8).transpose(1, 2) for part in block.attention.qkv(tokens).chunk(3, dim=-1))
    logits = (q @ k.transpose(-1, -2) / 8**0.5).masked_fill(~rows.mask[:, None, None, :], float("-inf"))
    torch.testing.assert_close(rows.attention[:, 0], logits.softmax(dim=-1).mean(dim=1))


def test_an_empty_text_is_a_finite_row() -> None:
    rows = encode(transformer(), ["", SHORT])
    assert rows.pooled.isfinite().all()
    assert rows.mask[0].tolist() == [True, False]
    blank = transformer().blank(torch.device("cpu"))
    assert torch.equal(blank, tokenise(HashWords(), ("",)).ids)


def test_texts_that_lost_their_end_are_counted() -> None:
    tokens = tokenise(HashWords(), ["word " * 30, "short", "word " * 25])
    assert (tokens.truncated, tokens.ids.shape) == (2, (3, 24))


# transformers' own mask fixes the number of rows in an exported graph.
@pytest.mark.parametrize(("make", "shapes"), [(transformer, {0: AUTO, 1: AUTO}), (bert, None)])
def test_an_exported_tower_gives_what_the_tower_gives(make: Callable[[], TextEncoder], shapes: dict | None) -> None:
    tower = make().eval()

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = tower

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            pooled = self.tower(ids, parts=frozenset({"pooled"}), mask=mask).pooled
            assert pooled is not None
            return pooled

    texts = [" ".join(["word"] * (1 + 7 * i % 23)) + f" {i}" for i in range(40)]
    seen, other = tokenise(HashWords(), texts), tokenise(HashWords(), texts[5:12])
    free = None if shapes is None else {"ids": shapes, "mask": shapes}
    exported = torch.export.export(Pooled(), (seen.ids, seen.mask), dynamic_shapes=free).module()
    for tokens in (seen, other) if shapes else (seen,):
        expected = tower(tokens.ids, parts=frozenset({"pooled"}), mask=tokens.mask).pooled
        torch.testing.assert_close(exported(tokens.ids, tokens.mask), expected, rtol=0, atol=1e-6)
    traced = torch.jit.trace(Pooled(), (seen.ids, seen.mask), check_trace=False)
    torch.testing.assert_close(traced(seen.ids, seen.mask), exported(seen.ids, seen.mask), rtol=0, atol=1e-6)


def test_a_random_transformers_model_equals_the_model_that_transformers_builds() -> None:
    tower = bert(pool="pooler")
    rows = encode(tower, [SHORT, LONG], PARTS | {"layers"})
    ids, mask = rows.part("ids"), rows.mask
    out = tower.backbone(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
    torch.testing.assert_close(rows.pooled, out.pooler_output)
    torch.testing.assert_close(rows.layers[:, 1], out.hidden_states[2])
    assert (tower.width, tower.token_width) == (16, 16)


def test_a_pooler_that_is_not_used_is_left_out() -> None:
    assert not any("pooler" in name for name, _ in bert(pool="mean").named_parameters())


OTHERS = {  # what only lists and mappings of a configuration tell
    "bert": {},
    "longformer": {"model_type": "longformer", "attention_window": [4, 8]},
    "modernbert": {
        "model_type": "modernbert",
        "rope_parameters": {name: {"rope_type": "default", "rope_theta": 3.0} for name in SORTS},
    },
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_saved_folder_is_read_and_a_bundle_rebuilds_it_without_the_folder(tmp_path: Path, kind: str) -> None:
    first = TransformersEncoder(words=HashWords(), config={**BERT, **OTHERS[kind]}).eval()
    with torch.no_grad():  # as large as trained ones: small weights hide a wrong place
        for parameter in first.parameters():
            parameter.mul_(10 if parameter.dim() > 1 else 1)
    first.backbone.save_pretrained(tmp_path)
    second = TransformersEncoder(words=HashWords(), path=str(tmp_path)).eval()
    texts = [SHORT, LONG]
    torch.testing.assert_close(encode(first, texts).tokens, encode(second, texts).tokens)
    released = second.released()
    assert released["path"] is None
    third = TransformersEncoder(words=HashWords(), config=released["config"]).eval()
    third.load_state_dict(second.state_dict())
    assert torch.equal(encode(third, texts).pooled, encode(second, texts).pooled)


def test_weights_that_are_no_safetensors_are_not_read(tmp_path: Path) -> None:
    tower = bert()
    tower.backbone.config.save_pretrained(tmp_path)
    torch.save(tower.backbone.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(
        UserError, match=r"cannot be read \(OSError\): give a folder with config.json and model.safetensors"
    ):
        TransformersEncoder(words=HashWords(), path=str(tmp_path))


def test_a_folder_that_lacks_weights_or_was_cut_off_is_refused(tmp_path: Path) -> None:
    bert(pool="pooler").backbone.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = {name: tensor.clone() for name, tensor in load_file(file).items()}  # not mapped: the file is written anew
    save_file({n: t for n, t in whole.items() if not n.startswith("pooler.")}, file, metadata={"format": "pt"})
    TransformersEncoder(words=HashWords(), path=str(tmp_path))
    with pytest.raises(UserError, match=r"lacks 2 weights, such as 'pooler\.dense\.bias', which would be"):
        TransformersEncoder(words=HashWords(), path=str(tmp_path), pool="pooler")
    save_file({f"_orig_mod.{n}": t for n, t in whole.items()}, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks \d+ weights"):
        TransformersEncoder(words=HashWords(), path=str(tmp_path))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"cannot be read \("):
        TransformersEncoder(words=HashWords(), path=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "needs path or config, one of the two"),
        ({"path": "x", "config": BERT}, "needs path or config, one of the two"),
        (
            {"config": {"model_type": "brt"}},
            "config.model_type of the text tower is 'brt': use a type that transformers knows",
        ),
        ({"config": {**BERT, "vocab_size": 10}}, "The tokenizer has 64 ids and the text tower 10"),
        ({"config": {**BERT, "max_position_embeddings": 8}}, "max_length is 24 and the text tower has 8 positions"),
        (
            {"config": {**BERT, "model_type": "roberta", "pad_token_id": 1, "max_position_embeddings": 24}},
            "max_length is 24 and the text tower has 22 positions",
        ),
        ({"config": {**BERT, "num_attention_heads": 3}}, "transformers cannot build a text tower from"),
        ({"config": {**BERT, "hidden_act": "geluu"}}, "transformers cannot build a text tower from"),
        ({"config": {"model_type": "clip_text_model", "hidden_size": "wide"}}, "cannot build a text tower from"),
    ],
)
def test_faulty_transformers_towers_are_refused_with_a_sentence(options: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TransformersEncoder(words=HashWords(), **options)


@pytest.mark.parametrize(
    ("values", "given"), [(torch.zeros(1, 8), r"torch.float32 of shape \(1, 8\)"), (["a"], "strings")]
)
def test_a_text_tower_takes_token_ids_and_nothing_else(values: object, given: str) -> None:
    with pytest.raises(ConfigError, match=f"A text tower was given {given}: it takes token ids"):
        transformer()(values, parts=PARTS)
