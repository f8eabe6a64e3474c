"""Source to take away: for a variant a file that computes the same and needs nothing of bnbench.

The files in `sources/` are written to be read, by hand; a test runs each of them without bnbench against the reference.
"""

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "sources"


class Source(NamedTuple):
    """A file in `FOLDER`.

    Attributes:
        file: its name.
        form: "loops", "matrix" or "loss" (which a framework differentiates).
        language: that it is in, or what of its language it is for.
        edit: a text in the file and what takes its place for this variant.
    """

    file: str
    form: str
    language: str
    edit: tuple[str, str] = ("", "")

    @property
    def text(self) -> str:
        """What the file holds."""
        return (FOLDER / self.file).read_text("utf-8").replace(*self.edit)


IN_PARALLEL = "PARALLEL = False  # True: the", "PARALLEL = True  # the"
SOURCES = {
    "loops-python": Source("loops_python.py", "loops", "Python"),
    "loops-numba": Source("loops_numba.py", "loops", "Numba"),
    "loops-numba-parallel": Source("loops_numba.py", "loops", "Numba", IN_PARALLEL),
    "loops-cpp": Source("loops.hpp", "loops", "C++"),
    "r-loop": Source("loops.R", "loops", "R"),
    "rcpp-loop": Source("loops_rcpp.cpp", "loops", "Rcpp"),
    "matrix-numpy": Source("matrix_numpy.py", "matrix", "NumPy"),
    "matrix-eigen": Source("matrix_eigen.hpp", "matrix", "C++"),
    "r-matrix": Source("matrix.R", "matrix", "R"),
    "autograd": Source("autograd_numpy.py", "loss", "autograd"),
    "torch-eager": Source("torch_eager.py", "loss", "PyTorch"),
    "jax-jit": Source("jax_jit.py", "loss", "JAX"),
}
ON_DEVICE = "give it tensors on the device"
INSTEAD = {  # of a variant without a file: what to take, and why there is none
    "matrix-numba": ("matrix-numpy", "it is that form compiled, which only spares NumPy's calls"),
    "matrix-kronecker": ("matrix-numpy", "its Jacobians multiplied out leave that form"),
    "fused-numba": ("loops-numba", "its kernels are many files; call bnbench.gradients for its speed"),
    "loops-cuda": ("torch-eager", f"its kernels are many files; {ON_DEVICE}"),
    "matrix-cuda": ("torch-eager", f"its kernels are many files; {ON_DEVICE}"),
    "fused-cuda": ("torch-eager", f"its kernels are many files; {ON_DEVICE}"),
    "loops-pythran": ("loops-python", "it is those loops, compiled ahead of time"),
    "matrix-pythran": ("matrix-numpy", "it is that form, compiled ahead of time"),
    "torch-compile": ("torch-eager", "it is that loss in torch.compile"),
    "torch-cuda": ("torch-eager", ON_DEVICE),
    "torch-cuda-compile": ("torch-eager", f"it is that loss in torch.compile; {ON_DEVICE}"),
    "jax-cuda": ("jax-jit", "give it arrays on the device"),
    "tensorflow-xla": ("jax-jit", "it is the same loss through the same compiler"),
}
