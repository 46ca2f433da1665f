"""What `medvlp.load` gives: a released model that takes files and words, and gives scores."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medvlp.answers.asking._arrays import gray_pixels
from medvlp.answers.asking.ask import ask_samples, gives
from medvlp.answers.asking.declared import open_answers
from medvlp.answers.asking.slices import SliceWeights, slice_weights
from medvlp.core.answers import Answer, Ask
from medvlp.core.devices import choose_device
from medvlp.core.errors import UserError, did_you_mean
from medvlp.core.map import Map
from medvlp.core.predictions import Predictions
from medvlp.core.registry import build, component
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.core.views import View
from medvlp.data.pool import opened_field
from medvlp.data.stacks import stack_of
from medvlp.data.views.read import Read
from medvlp.features.embed import embed, logit_scale
from medvlp.features.heat_map import heat_map
from medvlp.io.image import Image
from medvlp.io.read import holds, read_image
from medvlp.io.volume import Volume
from medvlp.models.backends.compiled import CompiledTower, use_backend
from medvlp.models.bundle import Bundle, load_bundle
from medvlp.models.gate import Verdict, other_modality
from medvlp.text.prompts import PromptSet

Picture = str | os.PathLike | np.ndarray | Image | Volume


@dataclass(frozen=True)
class Prepared:
    """An image after the model's preprocessing, with steps and warnings.

    Attributes:
        sample: all that preprocessing made of it.
        pixels: (C, H, W) float32 in [0, 1], or a stack of a volume's slices.
        record: where it came from, to map boxes and heat maps back to the source.
        warnings: what reading announced.
        kind: as which of the model's kinds of pictures it was read.
    """

    sample: Sample
    pixels: Tensor | Stack
    record: ImageRecord | None
    warnings: tuple[str, ...]
    kind: str

    def warned(self, further: Sequence[str]) -> Prepared:
        """Return a copy with further warnings."""
        return replace(self, warnings=(*self.warnings, *further))


class VisionLanguageModel:
    """A loaded bundle that can be asked: predictions, embeddings, heat maps.

    Args:
        bundle: as loaded.
        device: where the model runs.
        batch: images or texts encoded at a time.

    Attributes:
        answers: what it can be asked, by name, in the bundle's order.
        recipes: further answers of zero-shot recipes, by name and hash, as they were asked for.
        compiled: towers that another engine than torch computes.
    """

    def __init__(self, bundle: Bundle, *, device: str = "cpu", batch: int = 64) -> None:
        self.bundle = bundle
        try:
            self.model = bundle.model.to(device).eval()
        except (AssertionError, RuntimeError) as error:  # of torch: a device that is not there, or without room
            why = str(error).partition("\n")[0]
            raise UserError(f"The model cannot be put on the device {device!r} ({why}): choose another.") from error
        self._batch = batch
        self._views: list[View] = [
            build("data/views", spec, where=f"preprocessing[{i}]") for i, spec in enumerate(bundle.preprocessing)
        ]
        self.answers: dict[str, Answer] = open_answers(bundle.answers)
        self.recipes: dict[str, Answer] = {}
        self.compiled: list[CompiledTower] = []
        self._begun: dict[tuple[object, ...], tuple[Answer, Any]] = {}

    def __repr__(self) -> str:
        return f"VisionLanguageModel(kinds={', '.join(self.model.kinds)}, answers={', '.join(self.answers) or None})"

    def kind_of(self, image: Picture | tuple[Path, ...]) -> str:
        """Return as which of the model's kinds of pictures a file, the files of a study or an array is read."""
        if len(self.model.kinds) == 1:
            return self.model.vision_kind
        if isinstance(image, tuple | Volume):
            return "stack"
        return "stack" if isinstance(image, str | os.PathLike) and holds(image) == "volume" else "image"

    def of_kind(self, kind: str) -> VisionLanguageModel:
        """Return this model as one of one kind; what was chosen on pictures of the main kind holds for that alone.

        An answer that the other kind alone can give, as that of a head which stands on films, is left out.
        """
        asked = copy.copy(self)
        asked.model = self.model.of_kind(kind)
        if len(self.model.kinds) > 1:
            asked.answers = {name: each for name, each in self.answers.items() if gives(asked.model, each)}
        if kind != self.model.vision_kind:
            asked.bundle = replace(self.bundle, answers=tuple(each.unjudged() for each in self.bundle.answers))
        return asked

    def by_kind(self, kinds: Sequence[str]) -> Iterator[tuple[VisionLanguageModel, list[int]]]:
        """Yield this model as one of each kind that occurs, with the places where it does."""
        for kind in dict.fromkeys(kinds):
            yield self.of_kind(kind), [i for i, each in enumerate(kinds) if each == kind]

    def prepare(self, image: Picture | tuple[Path, ...], *, name: str = "image") -> Prepared:
        """Run the model's preprocessing on a file, on what was read of it, or on (H, W) pixels in [0, 1], 1 white.

        A model of volumes takes whatever `medvlp.io.read_volume` reads; one of both looks what the file is.

        Args:
            image: a path, the files of a study, an array, a `medvlp.io.Volume`, or a `medvlp.io.image.Image` of the
                model's `preset`.
            name: of the sample.

        Raises:
            UnreadableImage: if the file cannot be read as an image.
            UserError: if an array is not such pixels.
        """
        if len(self.model.kinds) > 1:
            return self.of_kind(self.kind_of(image)).prepare(image, name=name)
        sample, kind = self.sample(image, name=name), self.model.vision_kind
        pixels = sample.fields.get(kind)
        pixels = stack_of(pixels) or pixels  # of a volume whose slices nobody chose: all
        if not isinstance(pixels, Tensor | Stack):
            raise UserError("This bundle makes no picture of a whole file: for slices take `medvlp embed --slices`.")
        record = sample.record(kind)
        sample = replace(sample, fields={**sample.fields, kind: pixels})  # read: the file may be gone when it is asked
        return Prepared(sample, pixels, record, () if record is None else record.warnings, kind)

    @property
    def fields(self) -> tuple[str, ...]:
        """Manifest columns that hold the image files the model reads."""
        return tuple(dict.fromkeys(opened_field(self._views, kind) for kind in self.model.kinds))

    def sample(self, image: Picture | tuple[Path, ...], *, name: str = "image") -> Sample:
        """Return a file, the files of a study or an array as the sample that preprocessing makes of it."""
        value: object = os.fspath(image) if isinstance(image, str | os.PathLike) else image
        value = tuple(map(str, value)) if isinstance(value, tuple) else value
        if isinstance(value, Image):
            value = replace(value, pixels=gray_pixels(value.pixels))
        elif not isinstance(value, str | tuple | Volume):
            value = gray_pixels(value.float().numpy(force=True) if isinstance(value, Tensor) else np.asarray(value))
        kind = self.model.vision_kind
        if kind == "image" and isinstance(value, Volume):
            raise UserError("This model was trained on pictures: give it a picture, not a volume.")
        if kind == "stack" and not isinstance(value, str | tuple | Volume):
            raise UserError("This model was trained on volumes or several pictures together: give paths, no array.")
        sample = Sample(id=name, fields={opened_field(self._views, kind): value})
        generator = torch.Generator()
        for view in self._views:
            sample = view(sample, generator)
        return sample

    def verdict(self, prepared: Prepared) -> Verdict | None:
        """Return whether a picture is unlike those the model was trained on; None where the bundle cannot tell."""
        gate, pixels, record = self.bundle.gate, prepared.pixels, prepared.record
        verdict = None if gate is None or isinstance(pixels, Stack) else gate.verdict(pixels)
        trained: Any = self.bundle.provenance.get("modalities", ())
        if record is not None and other_modality(record.modality, trained):
            verdict = verdict or Verdict(0.0, ())
            return replace(verdict, reasons=("modality", *verdict.reasons))
        return verdict

    @property
    def preset(self) -> str:
        """Name of the recipe from stored to display values by which it is shown pictures, see `medvlp.io.presets`.

        Raises:
            UserError: for a model that reads no pictures.
        """
        for view in self._views:
            if isinstance(view, Read):
                return view.preset
        raise UserError("This bundle's preprocessing reads no pictures: it was trained on something else.")

    def picture(self, image: str | Path) -> np.ndarray:
        """Return (H, W) in [0, 1]: a file at its own size as it hangs, in the display values that the model is shown.

        Raises:
            UnreadableImage: if the file cannot be read as an image.
            UserError: for a model that reads no pictures.
        """
        return read_image(image, preset=self.preset).pixels

    def embed_image(self, images: Picture | Sequence[Picture]) -> np.ndarray:
        """Return (N, D) float32 unit embeddings of files or arrays."""
        return self.embed_prepared([self.prepare(image).pixels for image in _several(images)])

    def embed_prepared(self, pixels: Sequence[Tensor | Stack]) -> np.ndarray:
        """Return (N, D) float32 unit embeddings of prepared pixels.

        Raises:
            UserError: for no pixels, or if the model was trained by a score that reads no embedding.
        """
        self.require_embedding()
        if not pixels:
            raise UserError("There is no picture to embed: give at least one.")
        one = self.model.vision_kind if len(self.model.kinds) == 1 else ""
        kinds = [one or ("stack" if isinstance(each, Stack) else "image") for each in pixels]
        rows: dict[int, np.ndarray] = {}
        for single, own in self.by_kind(kinds):
            some = [pixels[i] for i in own]
            rows |= zip(own, embed(self.model, single.model.vision_kind, some, batch=self._batch), strict=True)  # pyrefly: ignore
        return np.stack([rows[i] for i in range(len(pixels))])

    def embed_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Return (T, D) float32 unit embeddings; refused as those of pictures, and of a model of pictures alone."""
        self.require_embedding()
        if not self.model.reads_text:
            raise UserError("This model reads no texts: ask for one of its answers instead.")
        many = [texts] if isinstance(texts, str) or not isinstance(texts, Iterable) else list(texts)
        return embed(self.model, "text", many, batch=self._batch)

    def score(self, images: Picture | Sequence[Picture], texts: str | Sequence[str]) -> np.ndarray:
        """Return (N, T) similarities of images and texts: cosines, or by the score that the model was trained with."""
        if self.cosines:
            return self.embed_image(images) @ self.embed_text(texts).T
        asked = Ask(sentences=texts)  # pyrefly: ignore
        name = next((name for name, each in self.answers.items() if "similarity" in each.gives), "")
        found = self.ask(name, images, asked).similarity if name else None
        if found is None:
            raise UserError("This bundle compares no images with texts: ask for one of its answers instead.")
        return found

    @property
    def embeds(self) -> bool:
        """Whether the embedding is one that the model was trained by: by no score of tokens, but by a head of texts."""
        view = self.model.vision_kind
        reads = {str(key) for answer in self.answers.values() for key in answer.needs(self.model)}
        asking = (head for name, head in self.model.heads.items() if head.banks and name in reads)
        reads |= {f"{view}/{part}" for head in asking for part in head.reads}
        plain = not any(True for _ in self.model.heads[f"{view}/raw"].parameters())
        return plain or not self.bundle.answers or f"{view}/embedding" in reads

    @property
    def cosines(self) -> bool:
        """Whether the dot product of embeddings is what the model was trained to compare pictures and texts by."""
        scores = [str(each.score["name"]) for each in self.bundle.answers if each.score is not None]
        plain = all(component("models/scores", name).cosine for name in scores)  # pyrefly: ignore
        return plain and self.embeds and self.model.reads_text

    @property
    def features(self) -> str:
        """Key of the features of pictures for probes and searches: the embedding, or what the tower pools."""
        return f"{self.model.vision_kind}/{'embedding' if self.embeds else 'pooled'}"

    def explain(self, image: Picture, text: str) -> Map:
        """Return where in an image the score of a text comes from, over the model's view of it and placed in its file.

        Raises:
            UserError: for several images or texts, or a model of volumes, which has weights of slices: `slice_weights`.
        """
        if not isinstance(text, str) or isinstance(image, list | tuple):
            raise UserError("A heat map is of one image and one text: ask for those of several one after the other.")
        seen = self.prepare(image)
        if isinstance(seen.pixels, Stack):
            raise UserError("A model of volumes has no heat map over one image: ask for the weights of its slices.")
        return heat_map(self.model, seen.pixels, torch.from_numpy(self.embed_text(text)[0])).placed(seen.record)

    def ask(self, name: str, images: Picture | Sequence[Picture], ask: Ask | None = None) -> Predictions:
        """Ask something of images or volumes; a model of both takes them side by side, each as what it is.

        Args:
            name: of one of `answers`.
            images: files, or (H, W) arrays as for `prepare`; draws are a function of a file's name, an array's number.
            ask: what the answer must be told; nothing by default.

        Raises:
            UserError: if the bundle cannot be asked this.
        """
        if name not in self.answers:
            raise UserError(f"This bundle cannot be asked {name!r}: {did_you_mean(name, self.answers)}.")
        many = _several(images)
        if not many:
            raise UserError(f"There is no picture to ask {name!r} about: give at least one.")
        ask = Ask.of(ask)
        if len(self.model.kinds) > 1:
            return self._ask_by_kind(name, many, ask)
        names = (Path(each).name if isinstance(each, str | os.PathLike) else str(i) for i, each in enumerate(many))
        samples = (self.sample(image, name=own) for image, own in zip(many, names, strict=True))
        group = 1 if self.model.vision_kind == "stack" else self._batch
        options: dict[str, Any] = {"asks": {name: ask}, "batch": group, "begin": self.begun}
        said = ask_samples({name: self.answers[name]}, self.model, samples, **options)[name]
        if odd := [each for each in ask.findings if said.scores is not None and each not in said.scores]:
            raise UserError(f"{name!r} knows no finding {odd[0]!r}: {did_you_mean(odd[0], self.answers[name].labels)}.")
        return replace(said, ids=tuple(map(str, range(len(many)))))

    def _ask_by_kind(self, name: str, images: Sequence[Picture], ask: Ask) -> Predictions:
        pieces, order = list[Predictions](), list[int]()
        for single, own in self.by_kind([self.kind_of(image) for image in images]):
            pieces.append(single.ask(name, [images[i] for i in own], ask.rows(own)))
            order += own
        said = Predictions.join(pieces).rows(sorted(range(len(order)), key=order.__getitem__))
        return replace(said, ids=tuple(str(i) for i in range(len(order))))

    def begun(self, answer: Answer, ask: Ask) -> Any:  # noqa: ANN401
        """Return what an answer makes once for many rows, such as the vectors of its prompts; made at its first call.

        The last 16 are kept: an answer that is asked the same again finds it, as long as no weight was written to.
        """
        ask = replace(ask, questions=())  # they are of their pictures, and may name a patient
        weights = (*self.model.parameters(), *self.model.buffers())
        key = (id(answer), self.model.vision_kind, ask, *((each.data_ptr(), each._version) for each in weights))
        if key not in self._begun or self._begun[key][0] is not answer:  # a copied model has the ids of its original
            while len(self._begun) > 15:
                del self._begun[next(iter(self._begun))]
            self._begun[key] = answer, answer.begin(self.model, ask)  # holds the answer: its id stays its own
        return self._begun[key][1]

    def require_embedding(self) -> None:
        """Refuse the embeddings of a model that was trained by a score that reads none (UserError)."""
        if not self.embeds:
            raise UserError(
                "This bundle was trained by a score that reads no embedding, so its embeddings mean nothing: compare "
                "with .score(images, texts), or ask for one of its answers."
            )

    def slice_weights(self, volume: str | Path) -> SliceWeights:
        """Return how much each slice of a volume counts in its embedding.

        Raises:
            UserError: for a model of images.
        """
        stack = self.prepare(volume).pixels
        if not isinstance(stack, Stack):
            raise UserError("A model of images has no slices: ask it to explain a text instead.")
        return slice_weights(self.of_kind("stack").model, stack)

    @property
    def scale(self) -> float:
        """The model's logit scale."""
        return logit_scale(self.model)


def _several(images: Picture | Iterable[Picture]) -> list[Picture]:
    """Return pictures as a list: what is no collection is one picture, to be taken or refused as what it is."""
    return [images] if isinstance(images, Picture | Tensor) or not isinstance(images, Iterable) else list(images)


def load(
    path: str | Path, *, patches: str | Path | None = None, device: str | torch.device = "cpu", backend: str = "torch"
) -> VisionLanguageModel:
    """Load a bundle for scoring.

    Args:
        path: folder that training released (``RUN/bundle``).
        patches: what another run added to that bundle with its towers held (``RUN/patches``).
        device: where it runs: cpu, auto (a GPU where there is one), cuda, cuda:1 or mps.
        backend: what computes the towers on a processor: torch, openvino, onnxruntime, int8 (`medvlp.models.backends`).

    Raises:
        UserError: if the bundle is damaged or of another version, or the patches belong to another bundle.
        ConfigError: if the device is not there, or the backend is unknown or cannot compute this model.

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
    with torch.inference_mode(False):  # a map needs gradients, whatever mode it was loaded in
        loaded = VisionLanguageModel(load_bundle(path, patches=patches), device=str(choose_device(str(device)).device))
        loaded.compiled = use_backend(loaded.model, backend, loaded.bundle.int8)
    return loaded


def prompt_sets(answers: Mapping[str, Answer]) -> list[PromptSet]:
    """Return the prompts by which a model's first prompted answer tells findings; none where it has no such answer."""
    return next((list(answer.prompts) for answer in answers.values() if answer.prompts), [])
