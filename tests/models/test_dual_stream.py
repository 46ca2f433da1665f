"""MeDSLIP's image branch: what the published equations say of it, and what a released model must carry."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.resources import resource
from medvlp.core.sample import Batch
from medvlp.models.bank import Bank, encoded_bank, read_bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.heads.dual_stream import DualStream
from tests.models.words import DUAL, VISION, HashWords, images

WIDTH, TOKENS, BOOK = 12, 16, 10


def bank(name: str, count: int, *, seed: int = 0, width: int = BOOK) -> Bank:
    draw = torch.Generator().manual_seed(seed + count)
    names = tuple(f"{name}{i}" for i in range(count))
    return Bank(name, tuple(f"text of {n}" for n in names), torch.randn(count, width, generator=draw), "test", names)


def books(**changes: int) -> dict[str, Bank]:
    return {n: bank(n, k, **changes) for n, k in (("pathology", 5), ("anatomy", 4))}


def head(**options: Any) -> DualStream:
    torch.manual_seed(0)
    chosen = {"width": WIDTH, "layers": 3, "heads": 2, "feedforward": 20, "banks": books(), **options}
    return DualStream(token_width=TOKENS, **chosen)


def rows(count: int = 3, *, mask: Tensor | None = None) -> Encoded:
    tokens = torch.randn(count, 6, TOKENS, generator=torch.Generator().manual_seed(1))
    real = torch.ones(count, 6, dtype=torch.bool) if mask is None else mask
    return Encoded(owner=torch.arange(count), tokens=tokens, mask=real)


def test_the_streams_add_up_to_the_tokens_and_the_gate_has_no_bounds() -> None:
    tokens = rows().part("tokens")
    plain, bounded = head(), head(gate="sigmoid")
    with torch.no_grad():
        for each in (plain, bounded):
            each.gate.weight.mul_(50)
            parted = each.streams(tokens)
            torch.testing.assert_close(parted.pathology + parted.anatomy, tokens)
        share = plain.streams(tokens).pathology / tokens
        assert share.min() < 0
        assert share.max() > 1
        share = bounded.streams(tokens).pathology / tokens
        assert share.min() >= 0
        assert share.max() <= 1


def test_it_gives_the_shapes_and_the_pairs_are_products_of_features() -> None:
    out = head().eval()(rows(), "m")
    shapes = {name: tuple(value.shape) for name, value in out.items()}
    assert shapes == {
        "m": (3, 4, 5),
        "m_pathology": (3, 5, 2),
        "m_anatomy": (3, 4, 2),
        "m_pathology_text": (3, 5, BOOK),
        "m_anatomy_text": (3, 4, BOOK),
        "m_pathology_features": (3, 5, WIDTH),
        "m_anatomy_features": (3, 4, WIDTH),
    }
    for b in range(3):
        for r in range(4):
            for q in range(5):
                product = out["m_anatomy_features"][b, r] @ out["m_pathology_features"][b, q]
                torch.testing.assert_close(out["m"][b, r, q], product)


def test_a_decoder_is_torchs_with_norms_first() -> None:
    decoder = head().eval().decoder["pathology"]
    memory, queries = torch.randn(2, 6, WIDTH), torch.randn(2, 5, WIDTH)
    expected = queries
    for layer in decoder.layers:
        expected = layer(expected, memory)
    with_maps = decoder(queries, memory, None, attention=True)
    torch.testing.assert_close(with_maps.queries, decoder.norm(expected))
    torch.testing.assert_close(decoder(queries, memory, None).queries, with_maps.queries)


def test_attention_sums_to_one_over_the_tokens_and_is_nothing_on_padding() -> None:
    mask = torch.tensor([[True] * 6, [True, True, False, False, False, False], [True] * 6])
    padded = rows(mask=mask)
    looked = head().eval().attention(padded)
    assert tuple(looked.pathology.shape) == (3, 3, 5, 6)
    assert tuple(looked.anatomy.shape) == (3, 3, 4, 6)
    for weights in (looked.pathology, looked.anatomy):
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        assert not weights[1, :, :, 2:].any()
    changed = Encoded(owner=padded.owner, tokens=padded.part("tokens").clone(), mask=mask)
    changed.part("tokens")[1, 2:] = 9.0
    torch.testing.assert_close(head().eval()(changed, "m")["m"], head().eval()(padded, "m")["m"])


def test_it_does_not_depend_on_the_order_of_images_or_tokens() -> None:
    given, order = rows(), torch.tensor([4, 0, 5, 2, 1, 3])
    out = head().eval()(given, "m")
    moved = Encoded(owner=given.owner, tokens=given.part("tokens")[:, order], mask=given.mask)
    turned = Encoded(owner=given.owner, tokens=given.part("tokens")[[2, 0, 1]], mask=given.mask)
    for name, value in out.items():
        torch.testing.assert_close(head().eval()(moved, "m")[name], value, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(head().eval()(turned, "m")[name], value[[2, 0, 1]], rtol=1e-4, atol=1e-5)


def test_matrices_start_small_and_all_layers_are_copies_of_one_in_everything_else() -> None:
    made = head(width=64, feedforward=128, layers=4)
    for std, each in ((0.02, made), (0.08, head(width=64, feedforward=128, layers=4, std=0.08))):
        for module in each.modules():
            matrix = module.weight if isinstance(module, nn.Linear) else getattr(module, "in_proj_weight", None)
            if matrix is not None:
                assert abs(matrix.std().item() / std - 1) < 0.3
                assert abs(matrix.mean().item()) < 0.3 * std
    layers = [dict(layer.named_parameters()) for d in made.decoder.values() for layer in d.layers]
    assert len(layers) == 8
    for name in layers[0]:
        same = [torch.equal(layers[0][name], other[name]) for other in layers[1:]]
        is_matrix = layers[0][name].dim() == 2
        assert not any(same) if is_matrix else all(same)
    assert layers[0]["linear1.bias"].abs().max() > 1e-3  # biases are not set to zero


def test_both_books_go_through_one_map_and_the_dropout_is_shared() -> None:
    made = head(dropout=0.5)
    with torch.no_grad():
        made.exist["pathology"].weight.copy_(made.to_text["pathology"].weight[:2])
        made.exist["pathology"].bias.copy_(made.to_text["pathology"].bias[:2])
    out = made.train()(rows(), "m")
    torch.testing.assert_close(out["m_pathology"], out["m_pathology_text"][..., :2])
    undropped = made.to_text["pathology"](out["m_pathology_features"])
    assert not torch.allclose(out["m_pathology_text"], undropped)
    places, findings = (out[f"m_{stream}_features"] for stream in ("anatomy", "pathology"))
    torch.testing.assert_close(out["m"], places @ findings.mT)  # pairs are of what nothing is dropped from
    assert sum(name.startswith("query") for name, _ in made.named_parameters()) == 2


def test_at_the_published_size_shapes_and_maps_are_those_of_the_reference() -> None:
    """75 observations and 51 places over the 14 x 14 tokens of a 224 pixel picture."""
    torch.manual_seed(0)
    shipped = {n: read_bank(resource("configs", f"banks/medslip_{n}_v1.yaml"), name=n) for n in books()}
    banks = {n: encoded_bank(b, {"name": "hashed_words", "width": 24}, where="t") for n, b in shipped.items()}
    made = DualStream(token_width=16, width=16, feedforward=16, banks=banks).eval()
    given = Encoded(owner=torch.arange(2), tokens=torch.randn(2, 196, 16), mask=torch.ones(2, 196, dtype=torch.bool))
    out, looked = made(given, "m"), made.attention(given)
    assert (out["m_pathology"].shape, out["m_anatomy"].shape, out["m"].shape) == ((2, 75, 2), (2, 51, 2), (2, 51, 75))
    assert (looked.pathology.shape, looked.anatomy.shape) == ((2, 4, 75, 196), (2, 4, 51, 196))
    for weights in (looked.pathology, looked.anatomy):
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_what_is_stated_is_counted_once_a_step_and_known_where_both_was() -> None:
    made, matrix = head(), torch.full((2, 4, 5), -1.0)
    matrix[0, 1, 2], matrix[1, 1, 2], matrix[1, 3, 2], matrix[0, 0, 0], matrix[0, 3, 4] = 1, 0, 1, 1, 0.5
    made.note(torch.ones(9, 4, 5))  # a step that was skipped
    made.note(matrix)
    made.after_step(1)
    made.after_step(2)  # a step without a matrix
    assert made.said_pairs[:, 1, 2].tolist() == [1, 1]
    assert int(made.said_pairs.sum()) == 4
    assert made.said_pathology.tolist() == [[0, 0, 0, 0, 0], [1, 0, 2, 0, 0]]  # present beats absent in an image
    assert made.said_anatomy.tolist() == [[0, 1, 0, 0], [1, 1, 0, 1]]
    assert made.known_pairs.nonzero().tolist() == [[1, 2]]
    assert not made.known.pathology.any()
    assert made.known.anatomy.tolist() == [False, True, False, False]


def counted(matrix: Tensor, bounds: list[int]) -> list[Tensor]:
    """What a head counts of this process's part of the rows."""
    made = head()
    made.note(matrix[bounds[collectives.rank()] : bounds[collectives.rank() + 1]])
    made.after_step(1)
    return [made.said_pairs, made.said_pathology, made.said_anatomy]


@pytest.mark.slow
@pytest.mark.pool
def test_one_process_counts_as_two(pool: Any) -> None:
    matrix = torch.randint(-1, 2, (7, 4, 5), generator=torch.Generator().manual_seed(0)).float()
    expected = counted(matrix, [0, 7])
    for bounds in ([0, 3, 7], [0, 0, 7]):
        for found in pool.run(2, counted, matrix, bounds):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


# in a model --------------------------------------------------------------------------------------------------------

OPTIONS = {"name": "dual_stream", "width": 8, "layers": 1, "heads": 2, "feedforward": 8}
PLAN = Plan.of(keys("image/medslip", "image/medslip_pathology", "image/embedding"))


def model(**changes: Any) -> Any:
    spec = {"name": "vision", "vision": VISION, "heads": {"image/medslip": OPTIONS}, **changes}
    return build_model(spec, tokenizer=None, banks=books(), seed=2)


def outputs(made: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        row = made.eval()(Batch.of({"image": images(3)}), PLAN)["image"]
    return {key.part: row.part(key.part) for key in PLAN.needs}


def test_a_bundle_brings_the_vectors_the_words_and_their_names(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", Bundle(model(), None, [{"name": "read", "size": 32}]))
    back = load_bundle(tmp_path / "b").model
    expected, got = outputs(model()), outputs(back)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    for name, kept in books().items():
        found = back.banks[name]
        assert (found.texts, found.names, found.encoder) == (kept.texts, kept.names, "test")
        assert torch.equal(found.vectors, kept.vectors)
    save_bundle(tmp_path / "again", load_bundle(tmp_path / "b"))
    manifests = [(tmp_path / name / "MANIFEST.sha256").read_text() for name in ("b", "again")]
    assert manifests[0] == manifests[1]
    assert "banks.safetensors" in manifests[0]


def test_vectors_that_were_taken_away_or_changed_are_refused(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", Bundle(model(), None, []))
    manifest = tmp_path / "b" / "MANIFEST.sha256"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(line for line in lines if "banks" not in line))
    with pytest.raises(UserError, match=r"does not list banks\.safetensors"):
        load_bundle(tmp_path / "b")
    (tmp_path / "b" / "banks.safetensors").unlink()
    with pytest.raises(UserError, match=r"has vectors of the banks \[\] and needs those of \['anatomy', 'pathology'\]"):
        load_bundle(tmp_path / "b")


def test_weights_are_refused_by_a_head_with_other_vectors() -> None:
    weights = model().state_dict()
    other = build_model(model().spec, tokenizer=None, banks=books(seed=5), seed=2)
    with pytest.raises(ConfigError, match=r"trained with other vectors of the bank 'pathology': use the texts and"):
        other.load_state_dict(weights)
    copied = copy.deepcopy(model())  # as a teacher is made
    copied.load_state_dict(weights)


def test_the_embedding_of_a_model_of_pictures_is_its_pooled_output() -> None:
    made = model()
    plan = Plan.of(keys("image/pooled", "image/embedding", "image/raw"))
    row = made.eval()(Batch.of({"image": images(2)}), plan)["image"]
    assert torch.equal(row.part("raw"), row.part("pooled"))
    assert not made.reads_text
    assert sum(name.startswith("heads.image/raw") for name in made.state_dict()) == 0
    with pytest.raises(ConfigError, match="asks for a tower of kind 'text'"):
        made.check(Plan.of(keys("text/embedding")))


def test_it_serves_a_dual_model_too() -> None:
    spec = {**DUAL, "heads": {"image/medslip": OPTIONS}}
    made: Any = build_model(spec, tokenizer=HashWords(), banks=books(), seed=0)
    assert made.reads_text
    row = made.eval()(Batch.of({"image": images(2), "text": ["a", "b"]}), PLAN)["image"]
    assert row.part("medslip").shape == (2, 4, 5)


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(
        ConfigError, match=r"dual_stream reads the bank 'pathologie', which is not under banks: did you"
    ):
        model(heads={"image/medslip": {**OPTIONS, "pathology": "pathologie"}})
    plain = {**books(), "anatomy": Bank("anatomy", ("a", "b"))}
    with pytest.raises(
        ConfigError, match=r"needs constant vectors of the bank 'anatomy': give banks\.anatomy\.encoder"
    ):
        head(banks=plain)
    with pytest.raises(ConfigError, match="have vectors of widths 10 and 7: encode both with one encoder"):
        head(banks={**books(), "anatomy": bank("anatomy", 4, width=7)})
    with pytest.raises(ConfigError, match="5 attention heads do not divide the width 12 of dual_stream"):
        head(heads=5)
    with pytest.raises(ConfigError, match=r"a model without words cannot encode the bank 'anatomy': give banks\.anat"):
        build_model({"name": "vision", "vision": VISION}, tokenizer=None, banks=plain)
    with pytest.raises(ConfigError, match="'transformer' needs 'tokenizer' from the model, which has none"):
        build_model({"name": "vision", "vision": {"name": "transformer"}}, tokenizer=HashWords())


def test_a_gray_picture_is_shown_to_a_colour_tower_three_times() -> None:
    tower = {**VISION, "channels": 3}
    made = build_model({"name": "vision", "vision": tower}, tokenizer=None)
    plan, gray = Plan.of(keys("image/embedding")), images(2)
    colour = gray.expand(-1, 3, -1, -1).contiguous()
    with torch.no_grad():
        both = [made.eval()(Batch.of({"image": x}), plan)["image"].part("embedding") for x in (gray, colour)]
    assert torch.equal(*both)


def test_an_encoder_gives_a_bank_its_vectors_and_says_who_it_is() -> None:
    plain = Bank("b", ("air in the lung", "a broken rib"), names=("air", "rib"))
    found = encoded_bank(plain, {"name": "hashed_words", "width": 6, "seed": 1}, where="banks.b.encoder")
    assert found.encoder == "hashed_words width=6 seed=1"
    assert found.names == plain.names
    again = encoded_bank(Bank("c", plain.texts[::-1]), {"name": "hashed_words", "width": 6, "seed": 1}, where="x")
    assert torch.equal(found.vectors, again.vectors.flip(0))
    with pytest.raises(ConfigError, match=r"banks\.b\.encoder: .*|There is no models/text_vectors component named"):
        encoded_bank(plain, {"name": "hashed"}, where="banks.b.encoder")
