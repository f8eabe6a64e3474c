"""The GPU path: whether it can be used (available), what imports CUDA (runtime), Numba's kernels (kernels, products,
one_pass), and the steps made of them (steps)."""
