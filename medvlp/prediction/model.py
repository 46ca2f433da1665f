"""What `medvlp.load` gives: a released model that takes files and words, and gives scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.protocols import View
from medvlp.core.registry import build
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.data.pool import Rounded
from medvlp.data.stacks import taken
from medvlp.data.views.read import Read
from medvlp.features.embed import embed, logit_scale
from medvlp.features.heat_map import HeatMap, heat_map
from medvlp.io.read import read_image
from medvlp.models.bundle import Bundle, load_bundle
from medvlp.models.gate import Verdict
from medvlp.prediction.findings import AttentionMap, Findings, Gaze, find, gaze
from medvlp.prediction.slices import SliceWeights, slice_weights
from medvlp.prediction.zero_shot import ZeroShot, make_zero_shot
from medvlp.text.prompts import PromptSet

__all__ = ["Prepared", "VisionLanguageModel", "load", "prompt_sets"]

Image = str | Path | np.ndarray


@dataclass(frozen=True)
class Prepared:
    """A picture as the model sees it.

    Attributes:
        pixels: (C, H, W) float32 in [0, 1], or a stack of a volume's slices.
        record: where it came from, to map boxes and heat maps back to the source.
        warnings: what reading announced.
    """

    pixels: Tensor | Stack
    record: ImageRecord | None
    warnings: tuple[str, ...]


class VisionLanguageModel:
    """A bundle at work.

    Args:
        bundle: as loaded.
        device: where the model runs.
        batch: images or texts encoded at a time.

    Raises:
        UserError: if the model was trained by another score than the dot product of its embeddings.
    """

    def __init__(self, bundle: Bundle, *, device: str = "cpu", batch: int = 64) -> None:
        if bundle.score != "dot":
            raise UserError(
                f"This bundle compares images with texts by {bundle.score!r}, but files are scored by the dot product "
                "of embeddings: train with score: dot, or compare its parts with medvlp.models.scores yourself."
            )
        self.bundle = bundle
        self.model = bundle.model.to(device).eval()
        self._batch = batch
        self._views: list[View] = [
            build("data/views", spec, where=f"preprocessing[{i}]") for i, spec in enumerate(bundle.preprocessing)
        ]
        self._zero_shot: ZeroShot | None = None

    # embeddings -----------------------------------------------------------------------------------------------------

    def prepare(self, image: Image) -> Prepared:
        """Run the model's preprocessing on a file, or on (H, W) pixels in [0, 1] where 1 is white on the display.

        A model of volumes takes whatever `medvlp.io.read_volume` reads.

        Raises:
            UnreadableImage: if the file cannot be read as an image.
            UserError: if an array is not such pixels.
        """
        value: object = str(image) if isinstance(image, str | Path) else _pixels(np.asarray(image))
        pictures = self.model.pictures
        if pictures == "stack" and not isinstance(value, str):
            raise UserError("This model was trained on volumes: give the path of one, not an array.")
        field = next((view.field for view in self._views if isinstance(view, Rounded)), pictures)
        sample = Sample(id="image", fields={field: value})
        generator = torch.Generator()
        for view in self._views:
            sample = view(sample, generator)
        pixels = sample.fields.get(pictures)
        pixels = taken(pixels) or pixels  # of a volume whose slices nobody chose: all
        if not isinstance(pixels, Tensor | Stack):
            raise UserError("This bundle's preprocessing makes no pixels of a file: it was trained on something else.")
        record = sample.record(pictures)
        return Prepared(pixels, record, () if record is None else record.warnings)

    def judge(self, prepared: Prepared) -> Verdict | None:
        """Return whether a picture is unlike those the model was trained on; None where the bundle cannot tell."""
        gate = self.bundle.gate
        return None if gate is None or isinstance(prepared.pixels, Stack) else gate.judge(prepared.pixels)

    def picture(self, image: str | Path) -> np.ndarray:
        """Return (H, W) in [0, 1]: a file at its own size, in the display values that the model is shown.

        Raises:
            UnreadableImage: if the file cannot be read as an image.
            UserError: for a model that reads no pictures.
        """
        for view in self._views:
            if isinstance(view, Read):
                return read_image(image, preset=view.preset).pixels
        raise UserError("This bundle's preprocessing reads no pictures: it was trained on something else.")

    def embed_image(self, images: Image | Sequence[Image]) -> np.ndarray:
        """Return (N, D) float32 unit embeddings of files or arrays."""
        many = [images] if isinstance(images, str | Path | np.ndarray) else list(images)
        return self.embed_prepared([self.prepare(image).pixels for image in many])

    def embed_prepared(self, pixels: Sequence[Tensor | Stack]) -> np.ndarray:
        """Return (N, D) float32 unit embeddings of prepared pixels."""
        return embed(self.model, self.model.pictures, pixels, batch=self._batch)

    def embed_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Return (T, D) float32 unit embeddings."""
        many = [texts] if isinstance(texts, str) else list(texts)
        return embed(self.model, "text", many, batch=self._batch)

    def score(self, images: Image | Sequence[Image], texts: str | Sequence[str]) -> np.ndarray:
        """Return (N, T) cosine similarities in [-1, 1] of images and texts."""
        return self.embed_image(images) @ self.embed_text(texts).T

    def explain(self, image: Image, text: str) -> HeatMap:
        """Return where in an image the score of a text comes from, over the model's view of it.

        Raises:
            UserError: for a model of volumes, which has weights of slices instead (`slice_weights`).
        """
        pixels = self.prepare(image).pixels
        if isinstance(pixels, Stack):
            raise UserError("A model of volumes has no heat map over one image: ask for the weights of its slices.")
        return heat_map(self.model, pixels, torch.from_numpy(self.embed_text(text)[0]))

    def find(self, images: Image | Sequence[Image]) -> Findings:
        """Return which findings there are, where, and which lies at which place, of a dual-stream model.

        Raises:
            UserError: for a model without such a head.
        """
        many = [images] if isinstance(images, str | Path | np.ndarray) else list(images)
        return find(self.model, [self.prepare(image).pixels for image in many], batch=self._batch)

    def locate(self, image: Image, observation: str | None = None, *, anatomy: str | None = None) -> AttentionMap:
        """Return where a dual-stream model looks in an image for an observation, a place, or one at the other.

        Raises:
            UserError: for a model of volumes or without such a head, or a word that it does not know.
        """
        return self.gaze(image).at(observation, anatomy)

    def gaze(self, image: Image) -> Gaze:
        """Look at an image once, for maps of as many questions as wanted; `locate` is the map of one.

        Raises:
            UserError: for a model of volumes or without such a head.
        """
        prepared = self.prepare(image)
        if isinstance(prepared.pixels, Stack):
            raise UserError("A model of volumes has no map over one image: ask for the weights of its slices.")
        return gaze(self.model, prepared.pixels, prepared.record)

    def slice_weights(self, volume: str | Path) -> SliceWeights:
        """Return how much each slice of a volume counts in its embedding.

        Raises:
            UserError: for a model of images.
        """
        stack = self.prepare(volume).pixels
        if not isinstance(stack, Stack):
            raise UserError("A model of images has no slices: ask it to explain a text instead.")
        return slice_weights(self.model, stack)

    # zero-shot ------------------------------------------------------------------------------------------------------

    @property
    def zero_shot(self) -> ZeroShot:
        """Class vectors of the bundle's prompts, embedded once.

        Raises:
            UserError: if the bundle has no prompts.
        """
        if self._zero_shot is None:
            if not self.bundle.zero_shot:
                raise UserError("This bundle has no zero-shot prompts: score it against your own texts with .score().")
            self._zero_shot = make_zero_shot(prompt_sets(self.bundle), self.embed_text, scale=self.scale)
        return self._zero_shot

    @property
    def scale(self) -> float:
        """The model's logit scale."""
        return logit_scale(self.model)


def _pixels(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or not array.size:
        raise UserError(f"An image as an array has the shape (H, W), not {array.shape}: give gray pixels.")
    pixels = array.astype(np.float32)
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise UserError(
            f"An image as an array holds values in [0, 1], 1 white, not {array.min():g} to {array.max():g}: "
            "give the path of its file, or scale it as a display would."
        )
    return pixels


def load(path: str | Path, *, device: str = "cpu") -> VisionLanguageModel:
    """Load a bundle for scoring.

    Args:
        path: folder that training released (``RUN/bundle``).
        device: where it runs.

    Raises:
        UserError: if the bundle is damaged or of another version.

    Example:
        >>> import tempfile
        >>> from medvlp.models.build import build_model
        >>> from medvlp.models.bundle import save_bundle
        >>> from medvlp.text import train_wordpiece
        >>> words = train_wordpiece(["pleural effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
        >>> small = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=words)
        >>> folder = Path(tempfile.mkdtemp()) / "bundle"
        >>> save_bundle(folder, Bundle(small, words, preprocessing=[{"name": "read", "size": 32}]))
        >>> load(folder).score(np.zeros((40, 30)), ["pleural effusion", "clear lungs"]).shape
        (1, 2)
    """
    return VisionLanguageModel(load_bundle(path), device=device)


def prompt_sets(bundle: Bundle) -> list[PromptSet]:
    """Return the bundle's prompts."""
    return [
        PromptSet(**{name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()})  # pyrefly: ignore
        for plain in bundle.zero_shot
    ]
