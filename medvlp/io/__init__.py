"""Files to pixels with geometry: DICOM, NIfTI, PNG, JPEG, TIFF. Right, or refused with a reason."""

from __future__ import annotations

from medvlp.core.lazy import attach

_NAMES = {
    "affine": "Affine",
    "archive": "unpacked",
    "ct_rate": "ct_rate_hu",
    "errors": "UnreadableImage",
    "frame_values": "Frame read_frames",
    "image": "Image",
    "inspection": "inspect",
    "png": "write_png",
    "presets": "Preset preset_info preset_names",
    "read": "read_image",
    "resize": "Fit Resized resize_pad",
    "volume": "GeometryReport Volume",
    "volume_display": "window",
    "volume_read": "read_volume",
    "volume_slices": "VolumeSlices open_slices",
}
__getattr__, __dir__, __all__ = attach(
    __name__, {name: module for module, names in _NAMES.items() for name in names.split()}
)
