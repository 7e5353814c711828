"""Speed and memory, each figure beside its limit or its naive baseline in the same run: `python -m benchmarks`."""
