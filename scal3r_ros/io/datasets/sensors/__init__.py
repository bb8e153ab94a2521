"""What other sensors recorded beside the cameras of data sets."""
