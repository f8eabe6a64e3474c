"""Temporary folders that are removed even if their owner is killed.

Each is locked by its owner, and the lock ends with the owner's process: what a killed process left behind is
unlocked, and so is removed when the next folder is made or `clear` is called.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = None  # no locks here: every folder counts as owned

PREFIX = "bnbench-owned-"


class TemporaryFolder:
    """A temporary folder, locked while this process lives; a context manager.

    Raises:
        OSError: the temporary directory cannot be written.
    """

    def __init__(self) -> None:
        clear()
        made = tempfile.mkdtemp(prefix="." + PREFIX)  # renamed to what `clear` looks for once it is locked
        self.lock = _locked(made)
        self.path = Path(made).with_name(Path(made).name.removeprefix("."))
        os.rename(made, self.path)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Delete the folder and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def clear() -> None:
    """Delete this user's folders whose owners are gone; links are left alone."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.startswith(PREFIX) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                    lock = _locked(entry.path)
                    if lock is not None:
                        shutil.rmtree(entry.path, ignore_errors=True)
                        os.close(lock)


def _locked(path: str) -> int | None:
    """The descriptor of a folder, locked; None if another process holds the lock, or there are no locks."""
    if fcntl is None:
        return None
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(folder)
        return None
    return folder
