"""What was chosen on validation pictures, applied to scores: calibrations, conformal sets, decisions."""
