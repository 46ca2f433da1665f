"""MedKLIP, MAVL, KAD: what torchvision's ResNet, torch's decoder and transformers' BERT compute, put together by hand
as the papers' code does, the bundle computes; files as the projects wrote them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from medvlp.answers.existence import Existence
from medvlp.answers.prompting.recipe_files import load_recipe
from medvlp.answers.prompting.recipe_scores import RecipeScores
from medvlp.core.answers import Ask
from medvlp.core.errors import DataError, UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.registry import schema
from medvlp.core.sample import Batch, Sample
from medvlp.features.feature_pass import feature_pass
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.zoo import convert
from tests.answers.tiny import said_of
from tests.zoo.small import bert_words, changed, kept, natural, pictures, spoilt, units
from tests.zoo.test_bert_pairs import bert, imagenet, under

WIDTH, BOOK, SIZE, ASPECTS = 32, 12, 64, 3
WORDS = load_medslip_vocabulary().observations


def decoder(width: int) -> nn.TransformerDecoder:
    layer = nn.TransformerDecoderLayer(width, 4, 48, norm_first=True, batch_first=True)
    return natural(nn.TransformerDecoder(layer, 2, nn.LayerNorm(width)), seed=4)  # type: ignore[return-value]


def resnet() -> nn.Module:
    """Return a ResNet of few blocks, which an importer reads off the names."""
    kind = torchvision.models.resnet
    return natural(kind.ResNet(kind.Bottleneck, [1, 2, 1, 1]), seed=1)


def numbered(stages: int) -> nn.Sequential:
    return nn.Sequential(*list(resnet().children())[: 4 + stages])


def tokens(trunk: nn.Module, images: Tensor) -> Tensor:
    return trunk(imagenet(images)).flatten(2).transpose(1, 2)


class Klip:
    """MedKLIP, and MAVL with several aspects and its own way to write a linear map."""

    def __init__(self, aspects: int = 1) -> None:
        self.aspects = aspects
        self.trunk, self.decoder = numbered(3), decoder(WIDTH)
        self.first, self.second = natural(nn.Linear(1024, 20), seed=5), natural(nn.Linear(20, WIDTH), seed=6)
        self.query, self.exist = natural(nn.Linear(BOOK, WIDTH)), natural(nn.Linear(WIDTH * aspects, 2), seed=7)
        self.slope = nn.PReLU()
        self.book = torch.randn(75, aspects, BOOK, generator=torch.Generator().manual_seed(8))

    def weights(self) -> dict[str, Tensor]:
        parts = {"disease_embedding_layer.": self.query, "decoder.": self.decoder, "classifier.": self.exist}
        held = {k: v for prefix, module in parts.items() for k, v in under(prefix, module).items()}
        if self.aspects == 1:
            maps = {"res_features.": self.trunk, "res_l1.": self.first, "res_l2.": self.second}
            held |= {k: v for prefix, module in maps.items() for k, v in under(prefix, module).items()}
            return held | under("cl_fc.", nn.Linear(WIDTH, 768))
        for name, module in (("res_l1.0", self.first), ("res_l2", self.second)):
            held |= {f"{name}.weight": module.weight[:, :, None, None].clone(), f"{name}.bias": module.bias.clone()}
        held |= under("backbone.", self.trunk) | under("res_l1.1.", self.slope)
        held |= under("location_emb.", nn.Conv1d(WIDTH, 768, self.aspects)) | {"temp": torch.ones(self.aspects)}
        return held | {"pool.positional_embedding": torch.zeros(197, 1024)}

    def save(self, folder: Path, name: str = "file.pth") -> dict[str, Any]:
        held = {f"module.{n}": t for n, t in self.weights().items()}
        torch.save({"model": held, "optimizer": {"lr": 1e-4}, "epoch": 3}, folder / name)
        save_file({"existence": self.book.squeeze(1)}, folder / "vectors.safetensors")
        return {"vectors": str(folder / "vectors.safetensors"), "image_size": SIZE}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        act = nn.ReLU() if self.aspects == 1 else self.slope
        memory = self.second(act(self.first(tokens(self.trunk, images))))
        asked = self.query(self.book.reshape(-1, BOOK)).expand(len(images), -1, -1)
        return self.exist(self.decoder(asked, memory).reshape(len(images), 75, -1))


def logits(model: Any, images: Tensor) -> Tensor:
    plan = Plan.of(keys("image/existence"))
    with torch.no_grad():
        return model(Batch.of({"image": images}), plan)["image"].part("existence")


def apart(model: Any, expected: Tensor) -> float:
    """Return the largest difference of the logits, as a share of the largest; in double precision, because attention
    over drawn weights makes a thousand times as much of a rounding."""
    found = logits(model.double(), pictures(SIZE).double())
    model.float()
    return float((found - expected).abs().max() / expected.abs().max())


def doubled(reference: Any) -> Any:
    """Return the reference in double precision."""
    made = copy.deepcopy(reference)
    vars(made).update({n: v.double() for n, v in vars(made).items() if isinstance(v, nn.Module | Tensor)})
    return made


def scores(model: Any, recipe: str) -> dict[str, np.ndarray]:
    """Return what a named recipe says of the three pictures."""
    answer = RecipeScores(load_recipe(recipe))
    table = feature_pass(model, [Batch.of({"image": pictures(SIZE)})], answer.needs(model))
    found = said_of(answer, model, table).scores
    assert found is not None
    return dict(found)


@pytest.mark.parametrize(("name", "aspects"), [("medklip", 1), ("mavl", ASPECTS)])
def test_the_decoder_answers_what_its_parts_compute(tmp_path: Path, name: str, aspects: int) -> None:
    reference = Klip(aspects)
    ours = kept(convert(tmp_path / "file.pth", name=name, options=reference.save(tmp_path)), tmp_path / "bundle")
    expected = doubled(reference)(pictures(SIZE).double())
    assert apart(ours.model, expected) < 1e-9
    # One score a finding, where its word stands in the list, by the bundle's answer and by the named recipe alike.
    present = expected.softmax(-1)[..., 1].numpy()
    squeezed = {"name": "read", "size": SIZE, "fit": "squeeze", "resample": "bilinear", "preset": "dicom_voi_v1"}
    assert ours.bundle.preprocessing == [squeezed]
    assert schema("zoo", name).model_fields["image_size"].default == 224
    picture = np.random.default_rng(0).random((90, 70), dtype=np.float32)
    shown = reference(ours.prepare(picture).pixels[None].expand(-1, 3, -1, -1)).softmax(-1)[..., 1]
    said = ours.ask("existence", picture).scores
    assert said is not None
    for finding, word in (("infiltration", "infiltrate"), ("fibrosis", "tail_abnorm_obs"), ("effusion", "effusion")):
        assert said[finding][0] == pytest.approx(shown[0, WORDS.index(word)].item(), abs=1e-4)
    assert (
        np.abs(scores(ours.model, "medklip_v1")["pleural_thickening"] - present[:, WORDS.index("thicken")]).max() < 1e-5
    )


def test_a_map_is_where_the_decoder_looked(tmp_path: Path) -> None:
    reference = Klip()
    model = kept(convert(tmp_path / "f", name="medklip", options=reference.save(tmp_path, "f")), tmp_path / "b").model
    pixels, answer = pictures(SIZE)[0], Existence(head="existence")
    found = answer.look(model, Sample("a", {"image": pixels}), answer.begin(model, Ask()), [("effusion", "")])
    assert found is not None
    with torch.no_grad():
        x = reference.query(reference.book.reshape(-1, BOOK))[None]
        memory = reference.second(reference.first(tokens(reference.trunk, pixels[None])).relu())
        seen = []
        for layer in reference.decoder.layers:
            asking = x + layer.self_attn(*[layer.norm1(x)] * 3)[0]
            seen.append(layer.multihead_attn(layer.norm2(asking), memory, memory)[1])
            x = layer(x, memory)
    expected = torch.cat(seen).mean(dim=0)[WORDS.index("effusion")].reshape(4, 4)
    assert np.abs(found[0].values - expected.numpy()).max() < 1e-5
    assert found[0].score == pytest.approx(
        reference(pixels[None]).softmax(-1)[0, WORDS.index("effusion"), 1].item(), abs=1e-5
    )


def test_a_book_makes_the_vectors_or_they_are_asked_for(tmp_path: Path) -> None:
    options, encoder = Klip().save(tmp_path), {"name": "hashed_words", "width": BOOK}
    with pytest.raises(UserError, match=r"A MedKLIP checkpoint does not hold the text vectors .* existence \(75, D\)"):
        convert(tmp_path / "file.pth", name="medklip", options={"image_size": SIZE})
    plain = {"image_size": SIZE, "encoder": encoder}
    stood_in = convert(tmp_path / "file.pth", name="medklip", options=plain)
    assert "in other words than in training" in stood_in.card
    Klip(ASPECTS).save(tmp_path)
    with pytest.raises(
        UserError, match=r"The 3 sentences on each of the 75 queries are not in the checkpoint: give book"
    ):
        convert(tmp_path / "file.pth", name="mavl", options=plain)
    (tmp_path / "book.json").write_text(json.dumps({word: f"{word} is this" for word in WORDS}))
    (tmp_path / "looks.json").write_text(json.dumps({word: [f"{word} is white", "round"] for word in WORDS}))
    books = [str(tmp_path / name) for name in ("book.json", "looks.json")]
    bank = convert(tmp_path / "file.pth", name="mavl", options={**plain, "book": books}).model.banks["existence"]
    assert (bank.names[8], bank.texts[8]) == ("effusion", "effusion is this effusion is white round")
    assert bank.vectors.shape == (75, ASPECTS * BOOK)
    assert torch.equal(bank.vectors[0, -BOOK:], bank.vectors[74, -BOOK:])  # "round" both times
    # MAVL's own file describes a finding more: where a file knows every query, it is read by name.
    looks = {"covid19": ["patchy", "round"], **json.loads((tmp_path / "looks.json").read_text())}
    (tmp_path / "looks.json").write_text(json.dumps(looks))
    named = convert(tmp_path / "file.pth", name="mavl", options={**plain, "book": books}).model.banks["existence"]
    assert named.texts == bank.texts
    with pytest.raises(
        DataError, match=r"book .*book\.json has 75 texts, and the model asks 75 queries: give 3 sentences"
    ):
        convert(tmp_path / "file.pth", name="mavl", options={**plain, "book": books[:1]})
    assert options["image_size"] == SIZE


class Kad:
    def __init__(self, stages: int) -> None:
        self.whole = resnet()
        self.trunk = nn.Sequential(*list(self.whole.children())[: 4 + stages])
        inner = 256 * 2 ** (stages - 1)
        self.first, self.second = natural(nn.Linear(inner, 24), seed=5), natural(nn.Linear(24, 64), seed=6)
        self.bert, self.decoder = bert(), decoder(64)
        self.embed = natural(nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64)), seed=7)
        self.exist = natural(nn.Linear(64, 2), seed=8)

    def parts(self) -> dict[str, dict[str, Tensor]]:
        image = {**under("resnet.", self.whole), **under("res_features.", self.trunk)}
        image |= {**under("res_l1.", self.first), **under("res_l2.", self.second)}
        text = {**under("bert_model.", self.bert), **under("mlp_embed.", self.embed), "logit_scale": torch.tensor(2.0)}
        text["bert_model.embeddings.position_ids"] = torch.arange(512)[None]
        model = {**under("decoder.", self.decoder), **under("decoder_norm.", self.decoder.norm)}
        model |= {**under("mlp_head.0.", self.exist), "logit_scale": torch.tensor(2.0)}
        return {"image_encoder": image, "text_encoder": text, "model": model}

    @torch.no_grad()
    def local(self, images: Tensor) -> Tensor:
        return self.second(self.first(tokens(self.trunk, images)).relu())

    @torch.no_grad()
    def text(self, words: Any, texts: list[str]) -> Tensor:
        ids = words(texts, padding="max_length", max_length=256, truncation=True, return_tensors="pt")
        return self.embed(self.bert(**ids).pooler_output)

    @torch.no_grad()
    def __call__(self, images: Tensor, asked: Tensor) -> Tensor:
        norm = self.decoder.norm
        return self.exist(self.decoder(norm(asked).expand(len(images), -1, -1), norm(self.local(images))))


@pytest.mark.parametrize("stages", [4, pytest.param(3, marks=pytest.mark.slow)])
def test_kad_asks_by_plain_names_through_its_own_text_tower(tmp_path: Path, stages: int) -> None:
    reference, words = Kad(stages), bert_words(tmp_path / "words")
    torch.save({**reference.parts(), "optimizer": {"lr": 1e-4}, "epoch": 1}, tmp_path / "best.pt")
    options = {"tokenizer": str(tmp_path / "words"), "image_size": SIZE}
    ours = kept(convert(tmp_path / "best.pt", name="kad", options=options), tmp_path / "bundle")
    assert ours.bundle.provenance["queries"][9] == "lung mass"
    assert ours.bundle.tokenizer is not None
    assert ours.bundle.tokenizer.max_length == 256
    images, bank, exact = pictures(SIZE), ours.model.banks["existence"], doubled(reference)
    asked = reference.text(words, ours.bundle.provenance["queries"])
    assert (bank.vectors - asked).abs().max() < 1e-5 * asked.abs().max()
    expected = exact(images.double(), bank.vectors.double())
    assert apart(ours.model, expected) < 1e-9
    found = scores(ours.model, "kad_v1")
    assert np.abs(found["mass"] - expected.softmax(-1)[:, 9, 1].numpy()).max() < 1e-4
    image, text = units(reference.local(images).mean(dim=1)), units(reference.text(words, ["edema"]))
    assert np.abs(ours.embed_prepared(list(images)) - image).max() < 1e-5
    assert np.abs(ours.embed_text(["edema"]) - text).max() < 1e-5
    # Another list of questions: fewer queries read each other.
    fewer = convert(
        tmp_path / "best.pt", name="kad", options={**options, "queries": {"edema": "edema", "clip": "a clip"}}
    )
    assert apart(fewer.model, exact(images.double(), fewer.model.banks["existence"].vectors.double())) < 1e-9
    assert (fewer.model.banks["existence"].vectors[0] - asked[3]).abs().max() < 1e-5 * asked.abs().max()
    full = convert(tmp_path / "best.pt", name="kad", options={"tokenizer": str(tmp_path / "words")})
    squeezed = {"name": "read", "fit": "squeeze", "resample": "bicubic", "preset": "dicom_voi_v1"}
    assert full.preprocessing == [{**squeezed, "size": 512 if stages == 4 else 224}]


@pytest.mark.slow
def test_changed_and_spoilt_files_are_refused(tmp_path: Path) -> None:
    words, reference = bert_words(tmp_path / "words"), Kad(3)
    assert words is not None
    options = {"tokenizer": str(tmp_path / "words"), "image_size": SIZE}
    whole = reference.parts()
    for part in whole:
        twins = {n: t for n, t in whole[part].items() if n.startswith("resnet.")}  # the file is whole without them
        for what, held in changed({n: t for n, t in whole[part].items() if n not in twins}):
            torch.save({**whole, part: {**held, **twins}}, tmp_path / "file")
            with pytest.raises(DataError, match=r"do not fit|differ, and every file|lacks"):
                pytest.fail(f"{part}, {what}: {convert(tmp_path / 'file', name='kad', options=options)} was taken")
    torch.save({"image_encoder": whole["image_encoder"]}, tmp_path / "file")
    with pytest.raises(UserError, match=r"holds no state dict \(looked under image_encoder, text_encoder, model\)"):
        convert(tmp_path / "file", name="kad", options=options)
    whole["image_encoder"]["res_features.0.weight"] += 1  # the ResNet is in the file twice
    torch.save(whole, tmp_path / "file")
    with pytest.raises(DataError, match=r"resnet\.conv1\.weight and image_encoder\.res_features\.0\.weight .* differ"):
        convert(tmp_path / "file", name="kad", options=options)
    for name, reading in (("medklip", Klip()), ("mavl", Klip(ASPECTS))):
        given = reading.save(tmp_path)
        for what, held in changed(reading.weights()):
            torch.save({"model": held}, tmp_path / "file")
            with pytest.raises(DataError, match=r"do not fit|reads .it lacks"):
                pytest.fail(f"{name}, {what}: {convert(tmp_path / 'file', name=name, options=given)} was taken")
        with pytest.raises(DataError, match=r"the importer m\w+ reads .it lacks 'res_l1\."):
            convert(tmp_path / "file.pth", name={"mavl": "medklip", "medklip": "mavl"}[name], options=given)
    for what, data in spoilt(tmp_path / "file.pth", tmp_path / "trace"):
        (tmp_path / "bad").write_bytes(data)
        for name, given in (("kad", options), ("medklip", {"vectors": str(tmp_path / "vectors.safetensors")})):
            with pytest.raises(UserError, match="cannot be read as weights alone"):
                pytest.fail(f"{what}: {convert(tmp_path / 'bad', name=name, options=given)} was taken")
    assert not (tmp_path / "trace").exists(), "code of the file was run"
