"""Files to pixels with geometry: DICOM, NIfTI, PNG, JPEG, TIFF. Right, or refused with a reason."""

from __future__ import annotations

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Affine": "affine",
        "Fit": "resize",
        "Frame": "frame_values",
        "GeometryReport": "volume",
        "Image": "image",
        "Preset": "presets",
        "Resized": "resize",
        "UnreadableImage": "errors",
        "Volume": "volume",
        "VolumeSlices": "volume_slices",
        "ct_rate_hu": "ct_rate",
        "inspect": "inspection",
        "members": "archive",
        "open_slices": "volume_slices",
        "preset_info": "presets",
        "preset_names": "presets",
        "read_frame_values": "frame_values",
        "read_image": "read",
        "read_volume": "volume_read",
        "resize_pad": "resize",
        "unpacked": "archive",
        "window": "volume_display",
        "write_png": "png",
    },
)
