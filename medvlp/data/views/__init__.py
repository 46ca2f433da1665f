"""Views: ``(Sample, generator) -> Sample``, one file each; the deterministic ones are the cached prefix."""
