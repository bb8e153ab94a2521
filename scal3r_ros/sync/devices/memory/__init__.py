"""What a box of devices has learned, and what its peers have."""
