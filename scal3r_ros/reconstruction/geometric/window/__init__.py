"""The window of keyframes that are adjusted together, across chunks."""
