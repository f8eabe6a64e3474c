"""Everything of the variants on a GPU.

Whether it can be used (`available`), the one place that imports CUDA (`runtime`), Numba's kernels (`nodes`, `kernels`,
`products`, `one_pass`), the steps made of them (`steps`), as a graph (`graph`), and what a device says and takes beside
them (`device`, `timing`).
"""
