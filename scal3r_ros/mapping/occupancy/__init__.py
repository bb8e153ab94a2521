"""Where a robot can drive: free and occupied cells on the ground, from the depth of each chunk."""
