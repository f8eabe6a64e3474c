"""`sweep --dask` on a host: what a worker of Dask's is asked to do there, and the process in which the sweep runs.

The worker only waits: the sweep is a process of its own, without what the worker's nanny put into its environment. Its
standard input is a pipe from the worker, and it ends as by Ctrl-C when that closes: asked to, or because the worker is
gone. Its folder is kept on the host until its records are known to be stored elsewhere.
"""

import asyncio
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

from bnbench.folder import ENVIRONMENT, JOURNAL

OF_NANNY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_")
KEPT = (ENVIRONMENT, JOURNAL)  # of a run folder: everything else follows from these
SOURCES = (".py", ".cpp", ".hpp", ".R")
ASK = "--identity"
RUNNING: dict[str, subprocess.Popen] = {}  # of this worker


class Returned(NamedTuple):
    """How a host's sweep ended.

    Attributes:
        code: its exit code.
        said: what it wrote to standard error.
        files: the content of `KEPT`, of those that are there.
    """

    code: int
    said: str
    files: dict[str, bytes]


async def identity(dask_worker: Any) -> dict[str, Any]:
    """Name, resources and address of a worker, and what a clean process beside it says of its package and machine."""
    ask = [sys.executable, "-m", __name__, ASK]
    answer = await asyncio.to_thread(
        subprocess.run, ask, env=clean_environment(), capture_output=True, encoding="utf-8", check=False
    )
    if answer.returncode:
        raise RuntimeError((answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1])
    resources = dict(dask_worker.state.total_resources)
    return json.loads(answer.stdout) | {"name": str(dask_worker.name), "resources": resources}


def sweep(run: str, words: list[str], files: dict[str, bytes]) -> Returned:
    """Do, or go on with, a sweep in a clean process.

    Args:
        run: what names its folder on this host; one that is there is gone on with.
        words: the flags of the sweep, but for its folder.
        files: the content of `KEPT` to begin with, where there is no such folder.
    """
    import fcntl  # not on every system from which hosts are asked

    folder = folder_of(run)
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in files.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content)
    if (folder / JOURNAL).exists():
        with open(folder / JOURNAL, "rb") as journal:  # one whose worker has died may still be ending
            fcntl.flock(journal, fcntl.LOCK_EX)
    command = [sys.executable, "-m", __name__, "sweep", "--journal-only", "--quiet", "--resume", "--out", str(folder)]
    with tempfile.TemporaryFile() as said:
        RUNNING[run] = process = subprocess.Popen(
            [*command, *words], env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait()
        finally:
            del RUNNING[run]
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    back = {name: (folder / name).read_bytes() for name in KEPT if (folder / name).exists()}
    return Returned(code, text, back)


def stop(run: str) -> None:
    """Have a sweep of this worker end as by Ctrl-C."""
    if (process := RUNNING.get(run)) and process.stdin:
        process.stdin.close()


def forget(run: str) -> None:
    """Delete a sweep's folder."""
    shutil.rmtree(folder_of(run), ignore_errors=True)


def folder_of(run: str) -> Path:
    """Where a sweep is on this host."""
    return Path(tempfile.gettempdir()) / f"bnbench-sweep-{run}"


def clean_environment() -> dict[str, str]:
    """The environment as it was before a nanny set threads and the C library's threshold for returning memory."""
    return {name: value for name, value in os.environ.items() if name not in OF_NANNY}


def own_identity() -> dict[str, Any]:
    """What has to agree between hosts, and what tells machines apart: `boot`, the same in all containers of one."""
    from bnbench import __version__
    from bnbench.measure import environment

    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in SOURCES:
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    boot = Path("/proc/sys/kernel/random/boot_id")
    return {
        "version": f"{__version__} ({digest.hexdigest()[:12]})",
        "machine": environment.machine(),
        "software": environment.software(),
        "boot": boot.read_text("ascii").strip() if boot.exists() else platform.node(),
    }


def main() -> int:
    """The clean process."""
    if sys.argv[1:] == [ASK]:
        print(json.dumps(own_identity()))
        return 0
    from bnbench.cli import main as command_line

    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    return command_line()


def _end_with_standard_input() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock a blocked thread would hold when Python ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
