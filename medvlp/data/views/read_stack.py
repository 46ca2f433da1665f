"""``read_stack``: the pictures of a study, or the frames of a cine, become one stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.places import turned_record
from medvlp.core.sample import ImageRecord, Sample
from medvlp.data.marks import placed
from medvlp.data.picture_files import stack_files
from medvlp.data.quantise import Bits, quantise
from medvlp.data.stacks import MadeStack
from medvlp.data.views.read import check_read
from medvlp.io.read import count_frames, frames_placed, read_image
from medvlp.io.resize import resize_pad


@dataclass(frozen=True, kw_only=True)
class ReadStack:
    """Files -> stack (S, 1, size, size) in [0, 1], each picture as `read` makes it; its place is (0, 0, its number).

    The field names one file (all of its frames or pages), a folder (its files, without hidden ones, by name: frame 2
    before frame 10), or a list of files in their order. Pictures are read when somebody takes them. Boxes and masks can
    follow the frames of a DICOM file, which are of one size.

    Attributes:
        size: side in pixels.
        preset: named recipe from stored to display values.
        bits: 8, 16, or 32 for unrounded.
        field: the stack field.

    Raises:
        UnreadableImage: as `medvlp.io.read_image`.
        ConfigError: for a field of another kind, a size below 8, or a preset that does not exist.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from PIL import Image
        >>> paths = [str(Path(tempfile.mkdtemp(), f"{view}.png")) for view in ("frontal", "lateral")]
        >>> for path in paths:
        ...     Image.fromarray(np.full((4, 4), 255, np.uint8)).save(path)
        >>> fields = ReadStack(size=8)(Sample("a", {"stack": tuple(paths)}), torch.Generator()).fields
        >>> len(fields["stack"]), float(fields["stack"].take([1]).pixels.mean())
        (2, 1.0)
    """

    random: ClassVar[bool] = False

    size: int = 224
    preset: str = "dicom_voi_v1"
    bits: Bits = 8
    field: str = "stack"

    def __post_init__(self) -> None:
        check_read("read_stack", "stack", self.field, self.size, self.preset)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Find the pictures."""
        source = sample.fields.get(self.field)
        if source is None:
            return sample
        files = source if isinstance(source, tuple) else (source,)
        paths = [str(file) for file in files if isinstance(file, str)]
        if len(paths) < len(files) or not paths:
            raise DataError(f"The field {self.field!r} of {sample.id!r} holds no paths of pictures: give some, unread.")
        paths = [str(path) for path in stack_files(tuple(map(Path, paths)))]
        frames = [(path, frame) for path in paths for frame in range(count_frames(path))]
        if not frames:
            raise DataError(f"The folder of {self.field!r} of {sample.id!r} holds no files: index the data again.")

        def make(number: int) -> Tensor:
            path, frame = frames[number]
            image = read_image(path, preset=self.preset, frame=frame)
            shown = resize_pad(image.pixels, self.size, spacing=image.spacing).pixels
            return quantise(torch.from_numpy(shown)[None], self.bits)

        place = torch.zeros(len(frames), 3)
        place[:, 2] = torch.arange(len(frames))
        stack = MadeStack(make, place, (1, self.size, self.size))
        found = frames_placed(paths[0], preset=self.preset) if len(paths) == 1 else None
        if found is None:  # pictures of a study differ in size: there is no one box that all were made of
            return Sample(sample.id, {**sample.fields, self.field: stack}, sample.records)
        frame, place_of_frame = found
        hanging = place_of_frame.hanging
        hung = frame[::-1] if hanging.transpose else frame
        fit = resize_pad(np.zeros(hung, np.float32), self.size, spacing=place_of_frame.spacing).fit
        box = (*fit.to_source(0, 0), *fit.to_source(self.size, self.size))
        record = ImageRecord(seed=0, box=box, source=(len(frames), *hung))
        if not hanging.identity:
            record = turned_record(record, hanging.to_stored(*hung), (len(frames), self.size, self.size))
        return placed(sample, self.field, stack, record)
