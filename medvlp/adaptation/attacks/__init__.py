"""Pictures and words that a model misreads, one attack a file; see `medvlp.core.attack`."""
