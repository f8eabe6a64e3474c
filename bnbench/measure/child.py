"""A child process that answers requests, seen from the parent: start, ask, kill; and from inside: serve.

The children of a sweep are one worker for each variant and one judge. They live in sessions of their own, so
that Ctrl-C reaches the parent alone; the kernel kills them when the parent dies; memory is limited twice, by a
limit on the child's own data and by a watch on what the machine has left.
"""

import contextlib
import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from bnbench.measure.environment import available_bytes, total_bytes

POLL_S = 0.05
RESERVE_SHARE = 0.06  # of the machine's memory; a child is killed when less than this is left
PR_SET_PDEATHSIG = 1
REASON_LENGTH = 300


class ChildError(Exception):
    """A request failed. `status` is the journal's word for how, the message why."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Child:
    """A process running one of this package's modules, which serves requests on a pipe."""

    def __init__(
        self,
        module: str,
        arguments: list[str],
        log: Path,
        environment: dict,
        memory_limit: int,
        source: Path | None = None,
    ):
        """Start it, of the package in the folder source where one is named; what it prints goes to the file log."""
        if source is not None:
            path = [str(source), environment.get("PYTHONPATH", ""), os.getcwd()]
            environment = environment | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
        self.log = log
        ours, theirs = Pipe()
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *(["-P"] if source else []),
                    "-m",
                    module,
                    str(theirs.fileno()),
                    str(memory_limit),
                    *arguments,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        theirs.close()
        self.pipe = ours
        self.reserve = int(RESERVE_SHARE * total_bytes())

    def send(self, do: str, **arguments):
        """Send a request; `receive` waits for its answer."""
        try:
            self.pipe.send_bytes(pickle.dumps((do, arguments)))
        except OSError:
            raise self._death() from None

    def receive(self, timeout: float | None = None):
        """The answer to the last request.

        Raises:
            ChildError: an exception there (`failed`, `out-of-memory`), its death (`crashed`, `out-of-memory`),
                or no answer in time (`timeout`). After any but `failed` the child is gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            wait = POLL_S if deadline is None else min(POLL_S, deadline - time.monotonic())
            if self.pipe.poll(max(0.0, wait)):
                break
            if deadline is not None and time.monotonic() >= deadline:
                self.kill()
                raise ChildError("timeout", f"no answer within the time-out ({timeout:.3g} s were left of it)")
            if available_bytes() < self.reserve:
                self.kill()
                raise ChildError("out-of-memory", "killed because the machine's memory was running out")
        try:
            answered, answer = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            raise self._death() from None
        if not answered:
            status, reason = answer
            if status == "out-of-memory":
                self.kill()
            raise ChildError(status, reason)
        return answer

    def ask(self, do: str, *, timeout: float | None = None, **arguments):
        """Send a request and wait for its answer; errors as in `receive`."""
        self.send(do, **arguments)
        return self.receive(timeout)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def kill(self):
        """End the process at once, and whatever it started."""
        if self.pipe.closed:
            return
        with contextlib.suppress(ProcessLookupError):  # it and its group may be gone already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.pipe.close()

    def _death(self):
        """The error that a child's death is."""
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            code = None
        self.kill()
        if code is None:
            return ChildError("crashed", "closed its pipe to the sweep")
        if code >= 0:
            return ChildError("crashed", f"the process exited with status {code}" + self._last_words())
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL:
            return ChildError("out-of-memory", "killed by SIGKILL, as the system does when memory runs out")
        return ChildError("crashed", f"the process died by {name}" + self._last_words())

    def _last_words(self):
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        return f" ({words[-1][:REASON_LENGTH]})" if words else ""


def serve(handlers: dict):
    """Answer requests until the parent closes the pipe; the first two arguments are its number and a limit.

    handlers maps a request's name to a function of its arguments. An exception is an answer, too.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    pipe = Connection(int(sys.argv[1]))
    limit_memory(int(sys.argv[2]))
    while True:
        try:
            do, arguments = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            answer = True, handlers[do](**arguments)
        except MemoryError as error:
            answer = False, ("out-of-memory", _one_line(error))
        except Exception as error:
            answer = False, ("failed", _one_line(error))
        quiesce()
        pipe.send_bytes(pickle.dumps(answer))


def limit_memory(limit: int):
    """Limit this process's data to so many bytes; an allocation beyond fails with MemoryError."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def quiesce(limit_s: float = 0.05):
    """Wait until this process's other threads sleep: thread pools spin on for a while after their work."""
    me = str(os.getpid())
    deadline = time.monotonic() + limit_s
    try:
        while time.monotonic() < deadline:
            threads = [name for name in os.listdir("/proc/self/task") if name != me]
            if not any(_running(name) for name in threads):
                return
            time.sleep(0.0005)
    except OSError:
        time.sleep(0.005)  # no /proc here: give them a fixed while


def _running(thread):
    try:
        stat = Path(f"/proc/self/task/{thread}/stat").read_bytes()
    except FileNotFoundError:
        return False
    return stat.rpartition(b")")[2].split()[0] == b"R"


def _one_line(error):
    text = " ".join(str(error).split())
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:REASON_LENGTH]
