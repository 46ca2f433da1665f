"""Encoders, dual and single-tower models, heads, scores, patches: everything between a batch and its `Encoded` rows."""
