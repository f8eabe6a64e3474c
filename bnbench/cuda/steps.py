"""The steps of the three variants on a GPU: arrays that lie there, and lists of launches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bnbench.activations import CODES
from bnbench.cuda import device, graph, kernels, nodes, one_pass, products, timing
from bnbench.cuda.available import simulated
from bnbench.cuda.runtime import compiled, cuda, cupy, cupy_on
from bnbench.problem import Batch, Gradients, Problem

SPARE_BYTES = 2**28  # of device memory, for the context and what compiles
HOST_ROWS = 8192  # of X in float64 at a time, on the host
SHARES = 16  # into which the parts of G are added up first


def blocks(length: int, size: int) -> int:
    """How many blocks of a size cover a length."""
    return -(-length // size)


class Steps:
    """One problem's step on the device: what its kinds share. A kind sets up the launches.

    Raises:
        MemoryError: the device has not the memory.
    """

    products: str  # what does the products, in words

    def __init__(self, batch: Batch, problem: Problem, regime: str) -> None:
        self.batch, self.problem, self.regime = batch, problem, regime
        self.dtype = batch.X.dtype
        self.real: Any = self.dtype.type
        self.shape = kernels.SIMULATED if simulated() else kernels.HARDWARE
        self.tile = products.SIMULATED if simulated() else products.HARDWARE
        self.check_memory()
        self.X, self.y = cuda.to_device(batch.X), cuda.to_device(batch.y)
        p1, p2 = problem.p1, problem.p2
        self.G1, self.per_node = self.empty(p1, p2), self.empty(3, p2)
        self.dG1, self.d_per_node, self.loss = self.empty(p1, p2), self.empty(3, p2), self.empty(1)
        self.host_per_node = np.zeros((3, p2), self.dtype)
        self.load(*batch[2:])
        self.launches: list[Callable] = []
        self.graph = "none: the simulator has no streams" if simulated() else "not tried"
        self.replay: Callable[[], None] | None = None
        self.captured: list[Callable] | None = None  # the launches that it replays
        self.set_up()

    def set_up(self) -> None:
        """Make the launches of a step."""
        raise NotImplementedError

    def empty(self, *shape: int) -> Any:
        """An array on the device, in the problem's dtype."""
        return cuda.device_array(shape, self.dtype)

    def device_bytes(self) -> int:
        """What the problem takes on the device: X and y, Z and dZ, and parts of sums."""
        problem = self.problem
        large = problem.N * (problem.p1 + 2 * problem.p2 + 3) + (products.SPLITS + 2) * problem.p1 * problem.p2
        return self.dtype.itemsize * (large + 4 * self.shape.grid * problem.p2)

    def check_memory(self) -> None:
        """Refuse a problem that the device's free memory does not hold."""
        if simulated():
            return
        free, total = cuda.current_context().get_memory_info()
        needs = self.device_bytes() + SPARE_BYTES
        if needs > free:
            raise MemoryError(f"needs {needs} bytes on the device, of whose {total} bytes {free} are free")

    def load(self, G1: np.ndarray, gamma: np.ndarray | None, beta: np.ndarray | None, G2: np.ndarray) -> None:
        """Copy the parameters to the device."""
        self.G1.copy_to_device(np.ascontiguousarray(G1))
        for row, value in zip(self.host_per_node, (gamma, beta, G2), strict=True):
            if value is not None:
                row[...] = value
        self.per_node.copy_to_device(self.host_per_node)

    def launch(self, kernel: Any, grid: int | tuple[int, ...], block: int | tuple[int, ...], *arguments: Any) -> None:
        """Add a launch to those of a step: a function of the stream."""
        configured = kernel[grid, block]

        def enqueue(stream: Any = None) -> None:
            (configured if stream is None else kernel[grid, block, stream])(*arguments)

        self.launches.append(enqueue)

    def enqueue(self) -> None:
        """Hand the device one step: a graph replayed, or launch by launch."""
        if self.replay is not None and self.captured is self.launches:
            self.replay()
            return
        for launch in self.launches:
            launch()

    def step(self) -> None:
        """One step, and wait for the device; the first call also tries to capture a graph."""
        self.enqueue()
        cuda.synchronize()
        if self.graph == "not tried":
            self.captured = self.launches
            self.graph, self.replay = graph.capture(self.launches)
            self.enqueue()
            cuda.synchronize()

    def time(self, count: int) -> float:
        """Seconds of so many steps by the device's own events, one step after the other without waiting between."""
        if simulated():  # which has no events
            return timing.clocked(*[self.step] * count)
        start, end = cuda.event(), cuda.event()
        start.record()
        for _ in range(count):
            self.enqueue()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def device_times(self) -> dict[str, float]:
        """Times of copies, and of a step whose data are not in the device's cache."""
        flushed: Any = None if simulated() else cuda.device_array(2 * device.l2_bytes(), np.uint8)

        def copy() -> None:
            self.X.copy_to_device(self.batch.X)
            self.y.copy_to_device(self.batch.y)
            self.load(*self.batch[2:])
            cuda.synchronize()

        def cold() -> float:
            flushed.gpu_data.memset(0)
            return self.time(1)

        return timing.device_times(copy, self.step, self.result, None if flushed is None else cold)

    def result(self) -> Gradients:
        """Copies of the last step's gradients."""
        dG1, (dgamma, dbeta, dG2) = self.dG1.copy_to_host(), self.d_per_node.copy_to_host()
        if self.problem.normalization == "none":
            dgamma = dbeta = None
        return Gradients(float(self.loss.copy_to_host()[0]), dG1, dgamma, dbeta, dG2)

    def launch_product(self, A: Any, B: Any, C: Any, transposed: bool = False) -> None:
        """Add C = A B, or Aᵀ B, by Numba's tiles; a long sum in parts that are added up in their order."""
        rows, columns = C.shape
        length = A.shape[0] if transposed else A.shape[1]
        parts = products.splits(length) if transposed else 1
        sums = C.reshape(1, rows, columns) if parts == 1 else self.empty(parts, rows, columns)
        size, side = self.tile.size, self.tile.side
        grid = blocks(rows, size), blocks(columns, size), parts
        self.launch(compiled(products.product, transposed, self.real, self.tile), grid, (side, side), A, B, sums)
        if parts > 1:
            self.launch_sum(sums, C.reshape(1, rows, columns))

    def launch_sum(self, parts: Any, totals: Any) -> None:
        """Add a launch: totals[s] = the sum of the s-th share of the parts."""
        shares, rows, columns = totals.shape
        lanes, height = self.shape.lanes, self.shape.rows
        grid = blocks(columns, lanes), blocks(rows, height), shares
        self.launch(compiled(products.sum_parts, self.real), grid, (lanes, height), parts, totals)

    def details(self) -> dict[str, str]:
        """What did the products, whether a graph is replayed, and whether the simulator stood in for a device."""
        graph = self.graph if self.captured in (None, self.launches) else "none: these launches were not captured"
        return {"products": self.products, "graph": graph} | ({"device": "simulator"} if simulated() else {})


class LoopsSteps(Steps):
    """Node by node on the GPU: a block of threads for each hidden node, plain Numba kernels, no library."""

    products = "a loop for each hidden node"

    def set_up(self) -> None:
        """One kernel forward, one over the rows, one backward."""
        problem, real = self.problem, self.real
        N, p2 = problem.N, problem.p2
        normalize, code = problem.normalization == "batch", CODES[problem.activation]
        threads = self.shape.lanes * self.shape.rows
        Z, A, e, scales = self.empty(p2, N), self.empty(p2, N), self.empty(N), self.empty(2, p2)
        losses = self.empty(self.shape.grid)
        constants = problem.ddof, real(problem.eps)
        forward = compiled(nodes.forward, code, normalize, real, threads)
        self.launch(forward, p2, threads, self.X, self.G1, self.per_node, *constants, Z, A, scales)
        rows = compiled(nodes.rows, real, threads)
        self.launch(rows, self.shape.grid, threads, A, self.per_node, self.y, e, losses)
        backward = compiled(nodes.backward, code, normalize, real, threads)
        self.launch(
            backward, p2, threads,
            self.X, self.per_node, problem.ddof, Z, A, scales, e, losses, self.dG1, self.d_per_node, self.loss,
        )  # fmt: skip


class MatrixSteps(Steps):
    """The matrix form on the GPU: both products by cuBLAS through CuPy, all between them in fused Numba kernels.

    Where CuPy is absent the products are tiles in Numba too.
    """

    def set_up(self) -> None:
        """Z, its statistics, ε̂, the sums over columns, dZ in Z's place, XᵀdZ."""
        problem = self.problem
        self.products = "Numba tiles" if cupy() is None else "cuBLAS"
        Z = self.empty(problem.N, problem.p2)
        self.multiply(self.X, self.G1, Z)
        self.between(Z)
        self.multiply(self.X, Z, self.dG1, transposed=True)

    def multiply(self, A: Any, B: Any, C: Any, transposed: bool = False) -> None:
        """Add a product by cuBLAS, or by Numba's tiles."""
        library = cupy()
        if library is None:
            self.launch_product(A, B, C, transposed)
            return
        A, B, C = (library.asarray(array) for array in (A, B, C))

        def enqueue(stream: Any = None) -> None:
            with cupy_on(stream):
                library.matmul(A.T if transposed else A, B, out=C)

        self.launches.append(enqueue)

    def between(self, Z: Any) -> None:
        """Add the launches between the products, from Z to dZ in its place."""
        problem, real, shape = self.problem, self.real, self.shape
        N, p2, code = problem.N, problem.p2, CODES[problem.activation]
        normalize = problem.normalization == "batch"
        vectors, parts = self.empty(kernels.VECTORS, p2), self.empty(shape.grid, 4, p2)
        e, losses = self.empty(N), self.empty(shape.grid)
        across, block = blocks(p2, shape.lanes), (shape.lanes, shape.rows)
        if normalize:
            used = min(shape.grid, blocks(N, shape.tile))
            self.launch(compiled(kernels.column_statistics, real, shape), (used, across), block, Z, parts)
            finish = compiled(kernels.finish_statistics, real, shape)
            self.launch(finish, across, block, parts, used, N, problem.ddof, real(problem.eps), self.per_node, vectors)
        else:
            self.launch(
                compiled(kernels.unnormalized_vectors, real, shape), across, shape.lanes, self.per_node, vectors
            )
        used = min(shape.grid, blocks(N, shape.rows))
        self.launch(compiled(kernels.residuals, code, real, shape), used, block, Z, self.y, vectors, e, losses)
        self.launch(compiled(kernels.column_sums, code, real, shape), (used, across), block, Z, e, vectors, parts)
        finish = compiled(kernels.finish_sums, normalize, real, shape)
        self.launch(
            finish, across, block, parts, losses, used, N, problem.ddof, vectors, self.d_per_node, self.loss
        )  # fmt: skip
        gradient = compiled(kernels.pre_activation_gradient, code, real, shape)
        self.launch(gradient, (used, across), block, Z, e, vectors, Z)


class FusedSteps(MatrixSteps):
    """The fastest on the GPU: with a fixed design and up to 64 inputs and nodes one sweep over X, Z never stored.

    Elsewhere, and where a variance cancels, the stored form of `matrix-cuda`.
    """

    def set_up(self) -> None:
        """The one-pass launches where they fit, and the stored ones beside them."""
        super().set_up()
        self.stored = self.launches
        self.one_pass: list[Callable] | None = None
        problem = self.problem
        few = (16, 6, (4, 8)) if simulated() else ()
        self.sizes = one_pass.sizes(problem.p1, problem.p2, self.dtype.itemsize, *few)
        if problem.normalization == "batch" and self.regime == "fixed" and self.sizes:
            self.launches = []
            self.set_up_one_pass(self.sizes)
            self.one_pass = self.launches

    def set_up_one_pass(self, sizes: one_pass.Sizes) -> None:
        """x̄ and a triangle U with UᵀU = C once; weights, one sweep, sums, gradients in every step."""
        problem, real = self.problem, self.real
        N, p1, p2 = problem.N, problem.p1, problem.p2
        X, info = self.batch.X, np.finfo(self.dtype)
        mean = X.mean(axis=0, dtype=np.float64)
        triangle: Any = np.zeros((0, p1))
        for start in range(0, N, HOST_ROWS):
            triangle = np.linalg.qr(np.vstack([triangle, X[start : start + HOST_ROWS] - mean]), mode="r")
        U = np.zeros((p1, p1))
        U[: len(triangle)] = triangle
        diagonal = (U * U).sum(axis=0)
        lost = (diagonal > 0) & ((diagonal < N * float(info.tiny)) | (diagonal > float(info.max) / 8))
        diagonal[lost] = np.inf  # no number of this dtype: then every step falls back
        shift = np.where(np.abs(mean) > 2 * np.ptp(X, axis=0), mean, 0).astype(self.dtype)  # where it costs no digit
        design = U, diagonal, mean - shift, shift
        U, diagonal, rest, shift = (cuda.to_device(np.ascontiguousarray(array, self.dtype)) for array in design)
        W, V, own = self.empty(p1, p2), self.empty(p1, p2), self.empty(one_pass.NODES, p2)
        self.fell = cuda.mapped_array(1, np.int32)
        self.fell[0] = 0
        used = min(sizes.grid, blocks(N, sizes.rows))
        parts, G_parts, losses = self.empty(used, 2, p2), self.empty(used * sizes.splits, p1, p2), self.empty(used)
        constants = N, problem.ddof
        threads = self.shape.lanes * 2
        self.launch(
            compiled(one_pass.weights, real, threads), p2, threads,
            U, diagonal, rest, self.G1, self.per_node, *constants, real(problem.eps), W, V, own, self.fell,
        )  # fmt: skip
        sweep = compiled(one_pass.sweep, CODES[problem.activation], real, sizes)
        self.launch(sweep, used, sizes.threads, self.X, self.y, shift, W, own, parts, G_parts, losses)
        if G_parts.shape[0] > SHARES:
            totals = self.empty(SHARES, p1, p2)
            self.launch_sum(G_parts, totals)
            G_parts = totals
        self.launch(
            compiled(one_pass.finish, real, threads), p2, threads,
            parts, G_parts, losses, rest, self.G1, V, own, *constants, self.per_node,
            self.dG1, self.d_per_node, self.loss,
        )  # fmt: skip

    def step(self) -> None:
        """One sweep; again by the stored form where a variance cancelled."""
        if self.one_pass is not None:
            self.launches, self.fell[0] = self.one_pass, 0
        super().step()
        if self.one_pass is not None and self.fell[0]:
            self.launches = self.stored
            super().step()

    def time(self, count: int) -> float:
        """As in general; if the last step was done twice, by the host's clock, so that both count."""
        if self.one_pass is not None and self.fell[0]:
            return timing.clocked(*[self.step] * count)
        return super().time(count)

    def details(self) -> dict[str, str]:
        """The algorithm of the last step too."""
        return super().details() | {"algorithm": "stored" if self.launches is self.stored else "one-pass"}
