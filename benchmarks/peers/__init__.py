"""PyTorch's side of the benchmarks: equal work, run by `benchmarks.peer` in an environment of its own."""
