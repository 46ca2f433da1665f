"""A released model at work: files in, what its answers say out."""
