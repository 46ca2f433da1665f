"""The synthetic hospital: for tests, tutorials and CI. It proves the machinery, never clinical performance."""
