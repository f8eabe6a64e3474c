"""The child processes of a sweep: a worker for each lane, the judge, and what measures the machine's limit."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnbench import temporary
from bnbench.codecache import ALWAYS, FRESH, OFF, SWITCH
from bnbench.cuda.available import TF32
from bnbench.measure import protocol
from bnbench.measure.child import REASON_LENGTH, Child, ChildError
from bnbench.measure.plan import Plan
from bnbench.measure.roofline import Roof
from bnbench.record import KEPT

OWN_MODULES = ("judge", "roofline")  # children that are no worker
ROOFLINE_TIMEOUT_S = 60.0
START_S = 120.0  # until a worker has started: frameworks take long
PACKAGE_FOLDER = Path(__file__).parents[2]
PER_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def environment(threads: int, tf32: bool = False, keep_memory: bool = False) -> dict[str, str]:
    """The environment of a child with pools of so many threads at most, TF32 allowed or not, freed memory kept or not.

    What keeps memory is read when a process starts: see `memory.keep`.
    """
    pools = dict.fromkeys(PER_THREAD_VARIABLES, str(threads))
    # OpenBLAS's idle threads spin on for 2^26 cycles and would take a core from the next worker; 2^22 is 2 ms.
    precision = dict.fromkeys((TF32, "CUPY_TF32"), "1" if tf32 else "0")
    heap = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)} if keep_memory else {}
    return os.environ | pools | precision | heap | {"OPENBLAS_THREAD_TIMEOUT": "22", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Lane:
    """What one worker runs: a variant, of this package or of the one in another folder."""

    variant: str
    source: Path | None = None

    @property
    def older(self) -> bool:
        """Whether it runs another version of the package."""
        return self.source not in (None, PACKAGE_FOLDER)


class Crew:
    """The children by name, each started when it is first asked for, and again after it died.

    Attributes:
        lanes: what each worker runs, by name.
        device, allowance_s: where each worker's variant runs, and the seconds that it is granted for compiling, as the
            worker said when it was started.
    """

    def __init__(
        self, plan: Plan, lanes: dict[str, Lane], memory_limit: int, *, cached: bool, inherits: Sequence[int] = ()
    ) -> None:
        """A child may take memory_limit bytes, and inherits the open files of these numbers.

        cached says whether workers may load what others compiled: then what compiling takes is not known.
        """
        self.plan, self.lanes, self.memory_limit, self.inherits = plan, lanes, memory_limit, inherits
        self.plain = all(cell.problem.plain for cell in plan.cells())
        self.environment = environment(max(plan.threads), plan.tf32, plan.memory == (KEPT,))
        afresh = not cached and os.environ.get(SWITCH) not in (ALWAYS, OFF)
        self.workers_environment = self.environment | ({SWITCH: FRESH} if afresh else {})
        self.children: dict[str, Child] = {}
        self.device: dict[str, str] = {}
        self.allowance_s: dict[str, float] = {}

    def start(self, names: Sequence[str], *, judge: bool) -> dict[str, tuple[str, str]]:
        """Start the workers, and the judge, together; returns status and reason of those that cannot run here."""
        unusable: dict[str, tuple[str, str]] = {}
        for name in ("judge", *names) if judge else names:
            try:
                self.children[name] = self.started(name)
            except ChildError as error:
                unusable[name] = error.status, error.reason
        unusable.pop("judge", None)  # it is started again when it is asked, and its failure is said then
        for name in names:
            try:
                if name not in unusable and (reason := self.greet(name)):
                    unusable[name] = "unavailable", reason
            except ChildError as error:
                status = "unavailable" if self.lanes[name].older else error.status
                unusable[name] = status, f"its worker could not be started: {error.reason}"
        return unusable

    def started(self, name: str) -> Child:
        """A new child of that name."""
        if name in OWN_MODULES:
            return Child(f"bnbench.measure.{name}", [], self.environment, self.memory_limit, inherits=self.inherits)
        lane = self.lanes[name]
        arguments = [lane.variant, *self.plan.plugins]
        return Child(
            "bnbench.measure.worker",
            arguments,
            self.workers_environment,
            self.memory_limit,
            lane.source,
            self.inherits,
        )

    def greet(self, name: str) -> str:
        """Wait for a worker to have started; why it cannot run here, or ""."""
        hello = self.children[name].ask("hello", timeout=START_S)
        spoken = {protocol.PROTOCOL} | ({protocol.OF_ONE_LAYER} if self.plain else set())
        if not isinstance(hello, dict) or hello.get("protocol") not in spoken:
            return "its version of the package is too old, or too new, to be driven by this one"
        said: protocol.Hello = self.checked(name, "hello", hello)
        self.device[name], self.allowance_s[name] = said.device, said.compile_allowance_s
        return said.unavailable

    def child(self, name: str) -> Child:
        """The living child of that name, started where there is none."""
        child = self.children.get(name)
        if child is None or not child.alive:
            if child is not None:
                child.kill()
            self.children[name] = self.started(name)
            if name not in OWN_MODULES:
                self.greet(name)
        return self.children[name]

    def ask(self, name: str, do: str, *, timeout: float, **arguments: Any) -> Any:
        """A worker's answer to a request; errors as in `Child.receive`, and `failed` for what is no such answer."""
        return self.checked(name, do, self.child(name).ask(do, timeout=timeout, **arguments))

    def receive(self, name: str, do: str, *, timeout: float) -> Any:
        """A worker's answer to a request that was sent to it."""
        return self.checked(name, do, self.children[name].receive(timeout))

    def checked(self, name: str, do: str, answer: Any) -> Any:
        """The answer as its type, where it is one to this request."""
        try:
            return protocol.read(do, answer)
        except ValueError:
            self.children[name].kill()
            said = f"its worker gave no answer to {do!r} but {answer!r}"[:REASON_LENGTH]
            raise ChildError("failed", said) from None

    def judge(self, do: str, **arguments: Any) -> Any:
        """A request to the judge; its failure is no fault of a variant's, and says so."""
        try:
            return self.child("judge").ask(do, **arguments)
        except ChildError as error:
            raise ChildError("failed", f"the reference could not be computed: {error.reason}") from error

    def roofs(
        self, settings: Iterable[tuple[str, int | str]], stage: Callable[[str], None]
    ) -> dict[tuple[str, int | str], Roof]:
        """The machine's rates for each dtype and thread count or device, measured now; none where that fails."""
        roofs = {}
        for dtype, place in settings:
            on_device = isinstance(place, str)
            stage(f"measuring the machine's limit: {dtype}, {place}{'' if on_device else ' threads'}")
            request, where = "measure_device" if on_device else "measure", {} if on_device else {"threads": place}
            try:
                rates = self.child("roofline").ask(request, timeout=ROOFLINE_TIMEOUT_S, dtype=dtype, **where)
            except ChildError:
                continue
            if rates is not None:
                roofs[dtype, place] = Roof(**rates)
        if "roofline" in self.children:
            self.children.pop("roofline").kill()
        return roofs

    def close(self) -> None:
        """End every child, and remove what those that were killed have left."""
        for child in self.children.values():
            child.kill()
        temporary.clear()
