"""Are the probabilities true? Errors of calibration with their uncertainty, and maps fitted on validation rows."""
