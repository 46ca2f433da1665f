"""Other people's report readers: their output in the words of this package. None of them is needed."""
