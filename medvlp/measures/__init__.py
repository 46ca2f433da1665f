"""How a model is judged, one component a file; see `medvlp.evaluation.measure`."""
