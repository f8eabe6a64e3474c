"""What the kernels compile to, for any architecture, without a GPU: registers, shared memory, spills."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types

from bnbench.activations import CODES
from bnbench.cuda import kernels, nodes, one_pass, products
from bnbench.cuda.runtime import cuda

Kernel = tuple[str, Any, types.Type]  # name, plain function, signature

ARCHITECTURES = ((8, 0), (9, 0))
OF_AN_ACTIVATION = ("residuals", "column_sums", "pre_activation_gradient", "node_forward", "node_backward", "sweep")
SHARED_LIMIT = 49 * 1024  # bytes of a block: 48 KiB, and 1 KiB that the system takes from compute capability 9.0 on


@dataclass(frozen=True)
class Compiled:
    """One kernel for one dtype and architecture: registers of a thread, shared memory of a block, what is spilled."""

    kernel: str
    dtype: str
    architecture: str
    registers: int
    shared_bytes: int
    spilled_bytes: int
    stack_bytes: int
    ptx: str


def catalogue(dtype: str, activation: str) -> Iterator[Kernel]:
    """Name, plain function and signature of every kernel for a dtype and activation."""
    real, number = np.dtype(dtype).type, types.float32 if dtype == "float32" else types.float64
    whole, code, shape = types.int64, CODES[activation], kernels.HARDWARE
    vector, matrix, cube = (types.Array(number, axes, "C") for axes in (1, 2, 3))
    threads, columns = shape.lanes * shape.rows, 2 * shape.lanes
    flags = types.Array(types.int32, 1, "C")
    tile = products.HARDWARE

    def of(name: str, function: Any, *arguments: Any) -> Kernel:
        return name, function, types.void(*arguments)

    yield of("column_statistics", kernels.column_statistics(real, shape), matrix, cube)
    finish = kernels.finish_statistics(real, shape)
    yield of("finish_statistics", finish, cube, whole, whole, whole, number, matrix, matrix)
    yield of("unnormalized_vectors", kernels.unnormalized_vectors(real, shape), matrix, matrix)
    yield of("residuals", kernels.residuals(code, real, shape), matrix, vector, matrix, vector, vector)
    yield of("column_sums", kernels.column_sums(code, real, shape), matrix, vector, matrix, cube)
    gradient = kernels.pre_activation_gradient(code, real, shape)
    yield of("pre_activation_gradient", gradient, matrix, vector, matrix, matrix)
    for normalize in (True, False):
        finish = kernels.finish_sums(normalize, real, shape)
        name = "batch" if normalize else "none"
        yield of(f"finish_sums, {name}", finish, cube, vector, whole, whole, whole, matrix, matrix, vector)
        forward = nodes.forward(code, normalize, real, threads)
        yield of(f"node_forward, {name}", forward, matrix, matrix, matrix, whole, number, matrix, matrix, matrix)
        backward = nodes.backward(code, normalize, real, threads)
        given: tuple = matrix, matrix, whole, matrix, matrix, matrix, vector, vector, matrix, matrix, vector
        yield of(f"node_backward, {name}", backward, *given)
    yield of("node_rows", nodes.rows(real, threads), matrix, matrix, vector, vector, vector)
    for transposed in (False, True):
        name = "product, transposed" if transposed else "product"
        yield of(name, products.product(transposed, real, tile), matrix, matrix, cube)
    yield of("sum_parts", products.sum_parts(real), cube, cube)
    given = matrix, vector, vector, matrix, matrix, whole, whole, number, matrix, matrix, matrix, flags
    yield of("weights", one_pass.weights(real, columns), *given)
    for p1, p2 in itertools.product((16, 32, 64), repeat=2):
        sizes = one_pass.sizes(p1, p2, np.dtype(dtype).itemsize)
        if sizes:
            given = matrix, vector, vector, matrix, matrix, cube, cube, vector
            yield of(f"sweep, {p1} × {p2}", one_pass.sweep(code, real, sizes), *given)
    given = cube, cube, vector, vector, matrix, matrix, matrix, whole, whole, matrix, matrix, matrix, vector
    yield of("finish", one_pass.finish(real, columns), *given)


def kernels_for(
    dtypes: Sequence[str] = ("float32", "float64"),
    activations: Sequence[str] = ("tanh", "gaussian"),
    architectures: Sequence[tuple[int, int]] = ARCHITECTURES,
) -> Iterator[tuple[str, Any, Any, str, tuple[int, int]]]:
    """What `compile_kernel` takes, for every kernel, dtype and architecture; a kernel without activation once."""
    for architecture, dtype in itertools.product(architectures, dtypes):
        seen = set()
        for activation in activations:
            for name, function, signature in catalogue(dtype, activation):
                with_activation = name.split(",")[0] in OF_AN_ACTIVATION
                label = f"{name}, {activation}" if with_activation else name
                if label not in seen:
                    seen.add(label)
                    yield label, function, signature, dtype, architecture


def compile_kernel(name: str, function: Any, signature: Any, dtype: str, architecture: tuple[int, int]) -> Compiled:
    """Compile one kernel to PTX, assemble it, and read what the assembler says.

    Raises:
        ImportError: the toolkit's compiler or linker is not installed; `pip install 'bnbench[cuda]'` adds them.
    """
    from cuda.core import Linker, LinkerOptions, ObjectCode

    ptx, _ = cuda.compile(function, signature, cc=architecture, device=False, abi="numba", output="ptx")
    arch = "sm_{}{}".format(*architecture)
    linker = Linker(
        ObjectCode.from_ptx(ptx.encode()), options=LinkerOptions(arch=arch, ptxas_options=["-v"], verbose=True)
    )
    linker.link("cubin")
    said = linker.get_info_log()

    def number(pattern: str) -> int:
        return max((int(count) for count in re.findall(pattern, said)), default=0)

    return Compiled(
        name,
        dtype,
        arch,
        number(r"[Uu]sed (\d+) registers"),
        number(r"(\d+) bytes smem"),
        number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        number(r"(\d+) bytes stack frame"),
        ptx,
    )
