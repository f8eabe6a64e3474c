"""The GPU path: whether it can be used (available), what imports CUDA (runtime), Numba's kernels (nodes, kernels, products,
one_pass), and the steps made of them (steps)."""
