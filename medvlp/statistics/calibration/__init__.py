"""Are the probabilities true? Errors of calibration with their uncertainty, and maps fitted on validation rows."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CalibrationLine": "line",
        "ReliabilityBin": "reliability",
        "calibration_line": "line",
        "expected_calibration_error": "errors",
        "fit_calibrator": "fit",
        "reliability_bins": "reliability",
        "scale_of": "fit",
        "smooth_calibration_error": "errors",
    },
)
