"""Does a map lie where the finding is? Measures in the source's pixels, baselines, and tests of the maps."""
