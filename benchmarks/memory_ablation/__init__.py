"""What the memory is worth; see docs/memory_ablation.md. Run it by `python -m benchmarks.memory_ablation`."""
