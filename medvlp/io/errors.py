"""The one exception of reading: a file is right, or refused with a short reason and the way to mend it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from medvlp.core.errors import DataError, UserError

#: reason code -> what the user can do about it (the default hint).
REASONS: dict[str, str] = {
    "not_found": "check the path",
    "no_permission": "give this user the right to read the file",
    "directory": "name one file inside it, or read a series of slices with medvlp.io.read_volume",
    "not_regular": "give a regular file, not a device, pipe or socket",
    "io_error": "check the disk or the network share, then copy the file again",
    "empty": "copy or export the file again",
    "pointer": "fetch the content first (git lfs pull, git annex get)",
    "archive": "unpack it and read its files",
    "unsafe_archive": "do not unpack it; ask its sender for the files alone, in plain folders",
    "several_images": "name one of its files (member=; --member of medvlp inspect), or unpack it",
    "not_an_image": "give a DICOM, NIfTI, PNG, JPEG or TIFF file",
    "unsupported_format": "convert it to DICOM, NIfTI, PNG, JPEG or TIFF",
    "truncated": "copy or export the file again",
    "corrupt": "copy or export the file again",
    "too_large": "crop or downsample it before reading, or export it as tiles",
    "bad_header": "export the file again from its source",
    "length_mismatch": "export the file again: rows, columns, frames and bits must agree with the pixel data",
    "no_pixels": "choose an image object: this one (report, plan, directory ...) holds no pixel data",
    "decoder_died": "decompress it first with another program, or export it again; other files are not affected",
    "timeout": "decompress it first with another program, or export it again; other files are not affected",
    "no_decoder": "export it again uncompressed, or decompress it first (dcmdjpeg, gdcmconv --raw)",
    "bad_lut": "export the file again, or remove the lookup table from it",
    "bad_rescale": "export the file again with a valid rescale slope and intercept",
    "bad_frame": "choose a frame that the file has",
    "bad_window": "choose a window that the file has, or none for its first",
    "preset_mismatch": "choose a model, or a preset, that fits the file",
    "undecidable": "compare with the source: scanner export, side-car and release of the data set",
    "several_volumes": "save each of its volumes as a file of its own",
    "burned_in": "look at it; if nothing in it identifies, run again on it alone with pixels kept",
    "no_series": "give the folder that holds the slices themselves: subfolders are not searched",
    "several_series": "choose one of them (series=; --series of medvlp inspect), or put each into a folder of its own",
    "bad_series": "choose a series that it has",
    "no_geometry": "export the original series again, with the position and orientation of each slice",
    "bad_geometry": "export the original series again",
    "gap": 'find the missing slices, or let medvlp.io.read_volume(on_gap="resample") interpolate a regular grid',
    "tilt": 'let medvlp.io.read_volume shear its affine (on_tilt="shear") or make a straight grid (on_tilt="resample")',
    "duplicates": "remove all but one of them",
    "other_size": "remove it from the folder, or choose one volume (series=; --series of medvlp inspect)",
    "mixed_units": "export the original series again: its slices must share one unit",
    "volume": "give it to a model of volumes (of a manifest as the column volume), or to medvlp.io.read_volume",
    "not_a_volume": "images are read one by one: give a single file to medvlp inspect, or to medvlp.io.read_image",
    "bad_affine": "convert the original series again, or repair the header's sform or qform",
}


class UnreadableImage(DataError):  # noqa: N818 (the design's name)
    """A file that cannot be read rightly; the only exception that reading raises because of a file's content.

    Args:
        reason: short code, one of ``REASONS``.
        detail: what is wrong, with the tag or field and its value; never a patient's data.
        hint: how to mend it; the reason's usual hint if not given.
        path: the file; filled in by the reader that knows it.

    Example:
        >>> print(UnreadableImage("empty", detail="it has 0 bytes", path="a.dcm"))
        a.dcm cannot be read (empty): it has 0 bytes; copy or export the file again.
    """

    def __init__(self, reason: str, *, detail: str, hint: str | None = None, path: str | os.PathLike[str] = "") -> None:
        self.reason = reason
        self.detail = detail
        self.hint = REASONS[reason] if hint is None else hint
        self.path = os.fspath(path)
        super().__init__(f"{self.path or 'the file'} cannot be read ({reason}): {detail}; {self.hint}.")

    def at(self, path: str | os.PathLike[str]) -> UnreadableImage:
        """Return the same refusal naming ``path``."""
        return UnreadableImage(self.reason, detail=self.detail, hint=self.hint, path=path)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders by pickling their constructor's positional arguments; ours are keywords.
        return partial(UnreadableImage, self.reason, detail=self.detail, hint=self.hint, path=self.path), ()


@contextmanager
def refusing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever reading a file raises into the one refusal, which names the file."""
    try:
        yield
    except UnreadableImage as error:
        # A reader of several files has named the one at fault already.
        raise (error if error.path else error.at(path)) from error.__cause__
    except UserError:  # of the machine or of an argument: the file is not to blame
        raise
    except OSError as error:
        raise UnreadableImage("io_error", detail=error.strerror or "reading failed", path=path) from error
    except MemoryError as error:
        raise UnreadableImage("too_large", detail="there is not enough memory", path=path) from error
    except Exception as error:
        # A damaged file can fail anywhere in a parser; the cause stays attached for developers.
        raise UnreadableImage("corrupt", detail=f"it cannot be parsed ({type(error).__name__})", path=path) from error
