"""What a MeDSLIP model says: findings, places, pairs, and where it looked."""
