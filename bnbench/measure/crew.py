"""The child processes of a sweep: a worker for each lane, the judge, and what measures the machine's limit."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bnbench.measure.child import Child, ChildError
from bnbench.measure.plan import Plan
from bnbench.measure.roofline import Roof
from bnbench.measure.worker import PROTOCOL, environment

OWN_MODULES = ("judge", "roofline")  # children that are no worker
ROOFLINE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Lane:
    """What one worker runs: a variant, of this package or of the one in another folder."""

    variant: str
    source: Path | None = None


class Crew:
    """The children by name, each started when it is first asked for, and again after it died.

    Attributes:
        lanes: what each worker runs, by name.
        device: where each worker's variant runs, as the worker said when it was started.
    """

    def __init__(self, plan: Plan, lanes: dict[str, Lane], folder: Path, memory_limit: int, *, cached: bool):
        """Logs go to folder; a child may take memory_limit bytes; cached says whether workers keep compiled code."""
        self.plan, self.lanes, self.folder, self.memory_limit = plan, lanes, folder, memory_limit
        self.environment = environment(max(plan.threads), plan.tf32, plan.keep_memory)
        self.workers_environment = self.environment | ({} if cached else {"BNBENCH_JIT_CACHE": "off"})
        self.children: dict[str, Child] = {}
        self.device: dict[str, str] = {}

    def start(self, names: Iterable[str]) -> dict[str, str]:
        """Start the judge and the workers together; returns the reasons of those that cannot run here."""
        self.child("judge")
        for name in names:
            self.child(name)
        unavailable = {}
        for name in names:
            try:
                hello = self.child(name).ask("hello")
                self.device[name] = hello["device"]
                if hello["unavailable"]:
                    unavailable[name] = hello["unavailable"]
                elif hello.get("protocol") != PROTOCOL:
                    unavailable[name] = "its version of the package is too old, or too new, to be driven by this one"
            except ChildError as error:
                unavailable[name] = f"its worker could not be started: {error.reason}"
        return unavailable

    def child(self, name: str) -> Child:
        """The living child of that name, started where there is none."""
        child = self.children.get(name)
        if child is None or not child.alive:
            if child is not None:
                child.kill()
            log = self.folder / f"{name}.log"
            if name in OWN_MODULES:
                child = Child(f"bnbench.measure.{name}", [], log, self.environment, self.memory_limit)
            else:
                lane = self.lanes[name]
                arguments = [lane.variant, *self.plan.plugins]
                module, source = "bnbench.measure.worker", lane.source
                child = Child(module, arguments, log, self.workers_environment, self.memory_limit, source)
            self.children[name] = child
        return child

    def judge(self, do: str, **arguments):
        """A request to the judge; its failure is no fault of a variant's, and says so."""
        try:
            return self.child("judge").ask(do, **arguments)
        except ChildError as error:
            raise ChildError("failed", f"the reference could not be computed: {error.reason}") from error

    def roofs(self, settings: Iterable[tuple[str, int | str]], stage: Callable) -> dict[tuple[str, int | str], Roof]:
        """The machine's rates for each dtype and thread count or device, measured now; none where that fails."""
        roofs = {}
        for dtype, place in settings:
            on_device = isinstance(place, str)
            stage(f"measuring the machine's limit: {dtype}, {place}{'' if on_device else ' threads'}")
            request, where = ("measure_device", {}) if on_device else ("measure", {"threads": place})
            try:
                rates = self.child("roofline").ask(request, timeout=ROOFLINE_TIMEOUT_S, dtype=dtype, **where)
            except ChildError:
                continue
            if rates is not None:
                roofs[dtype, place] = Roof(**rates)
        if "roofline" in self.children:
            self.children.pop("roofline").kill()
        return roofs

    def close(self):
        """End every child."""
        for child in self.children.values():
            child.kill()
