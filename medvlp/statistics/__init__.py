"""Numbers with intervals, from arrays alone: metrics, bootstrap, DeLong, calibration, conformal sets."""
