"""What a reader must have seen: gaps between groups, scores that know where a picture was made, wrong probabilities."""
