"""What streaming costs. Run it by `python -m benchmarks.streaming`."""
