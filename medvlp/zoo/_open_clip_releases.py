"""Releases in OpenAI's and open_clip's layouts: what their files do not tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medvlp.zoo._pixels import OPENAI
from medvlp.zoo._release import Release


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a release beside its weights."""

    release: Release  # title, licence, citation
    views: Sequence[Mapping[str, Any]] = ()  # that make its pixels; empty: the folder's, else open_clip's default
    mean: Sequence[float] = tuple(OPENAI[0])  # of these pixels
    std: Sequence[float] = tuple(OPENAI[1])
    bert: bool = False  # whether that is its text tower, and not CLIP's own
    length: int = 256  # tokens of a BERT text tower
    words: str = ""  # where its tokenizer is
    limits: str = ""  # for the card


RELEASES = {
    "other": Known(release=Release(title="A CLIP model")),
    "chexzero": Known(
        release=Release(
            title="CheXzero",
            citation="Tiu et al., Nature Biomedical Engineering 2022, 10.1038/s41551-022-00936-9.",
            about="The code is MIT. Trained on films of MIMIC-CXR with the impressions of their reports.",
            recipe="chexzero_v1",
        ),
        # The long side to 320 by Lanczos, black around it, then 224 on the tensor; pixels of 0 to 255 there.
        views=(
            {"name": "read", "size": 320, "fit": "pad", "resample": "lanczos"},
            {"name": "resample", "size": 224, "mode": "bicubic"},
        ),
        mean=(101.48761 / 255,),
        std=(83.43944 / 255,),
        limits=(
            "The release is ten files, and its published scores are the mean of their probabilities: this is one of "
            "them. Pictures are scaled from 320 to 224 pixels without anti-aliasing, as torchvision did then."
        ),
    ),
    "pubmedclip": Known(
        release=Release(
            title="PubMedCLIP",
            licence="MIT",
            citation="Eslami et al., Findings of EACL 2023, arXiv 2112.13906.",
            about="Fine-tuned on figures of articles with their captions (ROCO).",
        )
    ),
    "biomedclip": Known(
        release=Release(
            title="BiomedCLIP",
            licence="MIT",
            citation="Zhang et al., arXiv 2303.00915; NEJM AI 2025, 10.1056/AIoa2400640.",
            about="Trained on 15 million figures of articles with their captions (PMC-15M).",
        ),
        bert=True,
        limits="Pictures are cut to a square in their middle, as the release does: the sides of a wide film are lost.",
    ),
    "unimed_clip": Known(
        release=Release(title="UniMed-CLIP", licence="CC-BY-NC-4.0", citation="Khattak et al., arXiv 2412.10372."),
        bert=True,
        words="microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
    ),
    "long_clip": Known(
        release=Release(title="Long-CLIP", licence="Apache-2.0", citation="Zhang et al., ECCV 2024, arXiv 2403.15378.")
    ),
}
