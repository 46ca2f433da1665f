"""What a bundle can be asked, one component a file; zero-shot recipes, and calibrations applied to scores."""
