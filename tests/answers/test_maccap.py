"""MacCap's answer: regions beside the picture's vector, several tries, the likest text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medvlp.answers._writer import Writer
from medvlp.answers.maccap import MaccapReport
from medvlp.core.answers import Ask, Rows
from medvlp.core.decoding import Decoding
from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan
from medvlp.core.protocols import HeadSpec
from medvlp.core.sample import Batch
from medvlp.features.embed import embed
from medvlp.features.feature_pass import feature_pass
from medvlp.models.build import build_model
from medvlp.models.heads.attended_regions import AttendedRegions
from medvlp.text.wordpiece import train_wordpiece
from tests.models.words import DUAL, TEXT, VIT, images

WORDS = train_wordpiece(["no large left effusion", "nodule in the right upper lobe"] * 3, vocab_size=64, max_length=8)
SPEC = {**DUAL, "vision": {**VIT, "image_size": 32}, "text": {**TEXT, "pool": "cls"}}
DECODER = {"reads": "embedding", "width": 16, "layers": 1, "heads": 2}


def model(**changes: Any) -> Any:
    made: Any = build_model({**SPEC, **changes}, tokenizer=WORDS, seed=3)
    regions = HeadSpec("attended_regions", {"count": 2}, keep=True)
    made.mount({"captioner": HeadSpec("generator", DECODER, keep=True), "image/regions": regions}, Plan.of(frozenset()))
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.heads["captioner"].parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=draw))
    return made.eval()


def said(made: Any, **options: Any) -> tuple[list[str], np.ndarray]:
    answer = MaccapReport(**options)
    answer.check(made)
    table = feature_pass(made, [Batch.of({"image": images(6, 32)})], answer.needs(made))
    told = answer.answer(Rows(table), Ask(), answer.begin(made, Ask())).text
    assert told is not None
    cosines = (embed(made, "text", list(told)) * table["image/embedding"]).sum(axis=1)
    return list(told), cosines


def test_more_tries_never_lower_the_cosine_of_what_is_chosen() -> None:
    made = model()
    found = [said(made, std=0.5, tries=tries)[1] for tries in (1, 2, 6)]
    assert (found[1] >= found[0] - 1e-6).all()
    assert (found[2] >= found[1] - 1e-6).all()
    assert (found[2] > found[0] + 1e-4).any()


def test_words_that_are_drawn_are_drawn_anew_in_each_try() -> None:
    made = model()
    one, many = (said(made, std=0.0, tries=tries, decoding="temperature=2")[1] for tries in (1, 6))
    assert (many >= one - 1e-6).all()
    assert (many > one + 1e-4).any()


def test_without_variance_a_report_is_what_the_regions_say() -> None:
    made = model()
    texts, _ = said(made, std=0.0, tries=9)
    assert texts == said(made, std=0.0, tries=1)[0]
    table = feature_pass(made, [Batch.of({"image": images(6, 32)})], MaccapReport().needs(made))
    v, regions = (torch.from_numpy(table[f"image/{part}"]) for part in ("embedding", "regions"))
    with torch.no_grad():
        aimed = unit(v[:, None] + unit(made.heads["image/raw"].output(regions)))
    decoding = Decoding(beams=4, length_penalty=1.0)  # as transformers ranks beams where nothing else is said
    assert Decoding.of(MaccapReport().decoding) == decoding
    assert texts == Writer.of(made, "captioner").write(aimed, decoding=decoding)


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_what_is_written_from_is_the_pictures_vector_and_its_regions_at_unit_length(
    std: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, read, write = model(), [], Writer.write

    def noted(writer: Writer, memory: Tensor, **options: Any) -> list[str]:
        read.append(memory)
        return write(writer, memory, **options)

    monkeypatch.setattr(Writer, "write", noted)
    said(made, std=std, weight=0.3, tries=2)
    table = feature_pass(made, [Batch.of({"image": images(6, 32)})], MaccapReport().needs(made))
    v, regions = (torch.from_numpy(table[f"image/{part}"]) for part in ("embedding", "regions"))
    with torch.no_grad():
        aimed = v[:, None] + 0.3 * unit(made.heads["image/raw"].output(regions))
    for memory in read:
        torch.testing.assert_close(memory.norm(dim=2), torch.ones(6, 2))
        if not std:
            torch.testing.assert_close(memory, unit(aimed))
    assert len(read) == (2 if std else 1)
    assert not std or not torch.allclose(read[0], read[1], atol=0.1)


def test_a_tower_that_pools_another_width_than_its_tokens_is_refused() -> None:
    wide = {**DUAL["vision"], "pool": "catavgmax"}
    made: Any = build_model({**SPEC, "vision": wide}, tokenizer=WORDS, seed=3)
    made.mount({"captioner": HeadSpec("generator", DECODER, keep=True)}, Plan.of(frozenset()))
    with pytest.raises(ConfigError, match="the tower pools in another width than its tokens'"):
        MaccapReport().check(made)


def test_a_region_is_the_mean_of_what_its_token_looks_at() -> None:
    draw = torch.Generator().manual_seed(5)
    tokens, attention = torch.randn(3, 4, 6, generator=draw), torch.rand(3, 2, 5, 4, generator=draw)
    got = AttendedRegions(count=2)(_rows(tokens, attention), "regions")["regions"]
    for r in range(3):
        last = attention[r, -1]
        for place, k in enumerate(sorted(range(4), key=lambda n: -float(last[0, n]))[:2]):
            weight = last[1 + k] / last[1 + k].sum()
            torch.testing.assert_close(got[r, place], sum(weight[n] * tokens[r, n] for n in range(4)))
    few = AttendedRegions(count=9)(_rows(tokens, attention[:, :, 1:]), "regions")["regions"]
    assert few.shape == (3, 4, 6)  # without a class token, and fewer tokens than asked for


def _rows(tokens: Tensor, attention: Tensor) -> Encoded:
    return Encoded(owner=torch.arange(len(tokens)), tokens=tokens, attention=attention)


def test_of_four_objects_the_region_of_one_is_nearer_to_it_than_the_whole() -> None:
    """Claim of the card, in a world where each object's tokens look at their own."""
    draw = torch.Generator().manual_seed(6)
    objects = unit(torch.randn(50, 4, 32, generator=draw))
    tokens = objects.repeat_interleave(4, dim=1) + 0.3 * torch.randn(50, 16, 32, generator=draw) / 32**0.5
    block = torch.kron(torch.eye(4), torch.ones(4, 4)) + 0.05
    first = torch.cat([torch.ones(1, 4), torch.zeros(1, 12)], dim=1) + 0.01  # the class token looks at the first
    attention = torch.cat([first, block]).expand(50, 1, 17, 16)
    regions = AttendedRegions(count=4)(_rows(tokens, attention), "regions")["regions"]
    near = (unit(regions) * objects[:, :1]).sum(dim=2).mean()
    whole = (unit(tokens.mean(dim=1)) * objects[:, 0]).sum(dim=1).mean()
    assert near > whole + 0.2
