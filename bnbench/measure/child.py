"""A child process that answers requests, seen from the parent: start, ask, kill; and from inside: serve.

The children of a sweep are one worker for each variant and one judge. They live in sessions of their own, so
that Ctrl-C reaches the parent alone; the kernel kills them when the parent dies; memory is limited twice, by a
limit on the child's own data and by a watch on what the machine has left. What a child prints goes to a file without
a name, so that nothing is left behind however the two end.
"""

import contextlib
import ctypes
import functools
import math
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from bnbench.measure import clock, deaths
from bnbench.measure.environment import available_bytes, total_bytes

POLL_S = 0.05
RESERVE_SHARE = 0.06  # of the machine's memory; a child is killed when less than this is left
PR_SET_PDEATHSIG = 1
REASON_LENGTH = 300
LOG_BYTES = 4096  # of a log's end, in which the last line is looked for
CHUNK_BYTES = 2**20  # of an answer, read at once
FAILURES = ("failed", "out-of-memory")  # what a child may say of itself


class ChildError(Exception):
    """A request failed. `status` is the journal's word for how, the message why."""

    def __init__(self, status: str, reason: str) -> None:
        self.status, self.reason = status, plain_line(reason)
        super().__init__(self.reason)


class Child:
    """A process running one of this package's modules, which serves requests on a pipe."""

    def __init__(
        self,
        module: str,
        arguments: list[str],
        environment: Mapping[str, str],
        memory_limit: int,
        source: Path | None = None,
        inherits: Sequence[int] = (),
    ) -> None:
        """Start it, of the package in the folder source where one is named. It inherits these open files.

        Raises:
            ChildError: the system has no room for another process or file (`failed`).
        """
        if source is not None:
            path = [str(source), environment.get("PYTHONPATH", ""), os.getcwd()]
            environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, path))}
        command = [sys.executable, *(["-P"] if source else []), "-m", module]
        with contextlib.ExitStack() as opened:
            try:
                self.log = opened.enter_context(tempfile.TemporaryFile())
                self.pipe, theirs = (opened.enter_context(end) for end in Pipe())
                self.process = subprocess.Popen(
                    [*command, str(theirs.fileno()), str(memory_limit), *arguments],
                    pass_fds=[theirs.fileno(), *inherits],
                    stdin=subprocess.DEVNULL,
                    stdout=self.log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise ChildError("failed", f"its process could not be started: {error}") from error
            opened.pop_all()
        theirs.close()
        self.memory_limit, self.arrived = memory_limit, bytearray()
        self.reserve = int(RESERVE_SHARE * total_bytes())
        self.seen = deaths.Seen(self.process.pid)

    def send(self, do: str, **arguments: Any) -> None:
        """Send a request; `receive` waits for its answer."""
        try:
            self.pipe.send_bytes(pickle.dumps((do, arguments)))
        except OSError:
            raise self._death() from None

    def receive(self, timeout: float | None = None) -> Any:
        """The answer to the last request. Time in which this process itself was stopped does not count.

        Raises:
            ChildError: an exception there (`failed`, `out-of-memory`), its death (`crashed`, `out-of-memory`), what
                is no answer (`crashed`), or no answer in time (`timeout`). After any but `failed` the child is gone.
        """
        deadline = math.inf if timeout is None else clock.now() + timeout
        ticks = clock.Ticks()
        while (message := self._message()) is None:
            wait = max(0.0, min(POLL_S, deadline - clock.now()))
            ready = self.pipe.poll(wait)
            ticks.tick(wait)
            if ready:
                continue
            if not self.alive and not self.pipe.poll(0):
                raise self._death()  # though a process that it started may hold the pipe open
            if clock.now() >= deadline:
                self.kill()
                raise ChildError("timeout", f"no answer within the time-out ({timeout:.3g} s were left of it)")
            available = available_bytes()
            self.seen.look(available)
            if available < self.reserve:
                self.kill()
                raise ChildError("out-of-memory", "killed because the machine's memory was running out")
        try:
            answered, answer = pickle.loads(message)
            if answered is not True:
                status, reason = answer
                if answered is not False or status not in FAILURES or not isinstance(reason, str):
                    raise ValueError(f"{answer!r} is no failure")
        except Exception as error:
            raise self._no_answer(_one_line(error)) from None
        if not answered:
            if status == "out-of-memory":
                self.kill()
            raise ChildError(status, reason)
        return answer

    def _message(self) -> bytes | None:
        """The next message of those that `multiprocessing` sends, or None while a part of it is missing.

        Its own `recv_bytes` would wait for the rest, however long.
        """
        if self.pipe.poll(0):
            try:
                chunk = os.read(self.pipe.fileno(), CHUNK_BYTES)
            except OSError:
                chunk = b""
            if not chunk:
                raise self._death()
            self.arrived += chunk
        for form, begin in (("!i", 0), ("!Q", 4)):  # the second where the first says -1
            end = begin + struct.calcsize(form)
            if len(self.arrived) < end:
                return None
            (length,) = struct.unpack_from(form, self.arrived, begin)
            if length != -1:
                break
        if not 0 <= length <= self.memory_limit:
            raise self._no_answer(f"it begins with {bytes(self.arrived[:20])!r}")
        if len(self.arrived) < end + length:
            return None
        message = bytes(self.arrived[end : end + length])
        if len(self.arrived) > end + length:
            raise self._no_answer("there is more than one")
        self.arrived.clear()
        return message

    def _no_answer(self, why: str) -> ChildError:
        """The error that something else than an answer is."""
        self.kill()
        return ChildError("crashed", f"its answer to the sweep cannot be read: {why}")

    def ask(self, do: str, *, timeout: float | None = None, **arguments: Any) -> Any:
        """Send a request and wait for its answer; errors as in `receive`."""
        self.send(do, **arguments)
        return self.receive(timeout)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End the process at once, and whatever it started."""
        if self.pipe.closed:
            return
        with contextlib.suppress(ProcessLookupError):  # it and its group may be gone already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.pipe.close()
        self.log.close()

    def _death(self) -> ChildError:
        """The error that a child's death is."""
        if self.pipe.closed:
            return ChildError("crashed", "its process is gone")
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            code = None
        said = self._last_words()
        self.kill()
        if code is None:
            return ChildError("crashed", "closed its pipe to the sweep")
        if code >= 0:
            return ChildError("crashed", f"the process exited with status {code}" + said)
        status, reason = deaths.explain(-code, self.seen, short=2 * self.reserve)
        return ChildError(status, reason + (said if -code != signal.SIGKILL else ""))

    def _last_words(self) -> str:
        size = os.fstat(self.log.fileno()).st_size
        end = os.pread(self.log.fileno(), LOG_BYTES, max(0, size - LOG_BYTES)).decode(errors="replace")
        words = [line.strip() for line in end.split("\n") if line.strip()]
        return f" ({words[-1][:REASON_LENGTH]})" if words else ""


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests until the parent closes the pipe; the first two arguments are its number and a limit.

    handlers maps a request's name to a function of its arguments. An exception is an answer, too.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    pipe, me = Connection(int(sys.argv[1])), os.getpid()
    limit_memory(int(sys.argv[2]))
    while True:
        try:
            do, arguments = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            message = pickle.dumps((True, handlers[do](**arguments)))
        except MemoryError as error:
            message = pickle.dumps((False, ("out-of-memory", _one_line(error))))
        except Exception as error:
            message = pickle.dumps((False, ("failed", _one_line(error))))
        if os.getpid() != me:
            os._exit(0)  # a fork of this process, made on the way by what was asked: one answer is enough
        quiesce()
        pipe.send_bytes(message)


def limit_memory(limit: int) -> None:
    """Limit this process's data to so many bytes; an allocation beyond fails with MemoryError."""
    import resource

    limit = int(min(limit, data_limit()))
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@functools.cache
def data_limit() -> float:
    """Bytes of data that this process was allowed when it was started (`ulimit -d`); infinite without a limit."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_DATA)
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=math.inf)


def quiesce(limit_s: float = 0.05) -> None:
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


def _running(thread: str) -> bool:
    try:
        stat = Path(f"/proc/self/task/{thread}/stat").read_bytes()
    except FileNotFoundError:
        return False
    return stat.rpartition(b")")[2].split()[0] == b"R"


def plain_line(text: str) -> str:
    """The text on one line, in characters that every terminal, file and table takes."""
    text = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _one_line(error: BaseException) -> str:
    if said := getattr(error, "told", ""):
        return plain_line(said)[:REASON_LENGTH]
    text = plain_line(str(error))
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:REASON_LENGTH]
