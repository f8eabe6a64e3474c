"""A folder that bnbench writes into: it replaces and removes what it wrote there itself, and nothing else.

`written.json` in the folder says which files those are and what was in them, so that a file of somebody else's under
one of the names, or one that was changed since, is seen. A name is entered before its file is replaced: whatever a kill
leaves behind is known. A run of an older version has no such list: there, the names that bnbench gives are its own.
Files whose names begin with a dot are left out of everything.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

MANIFEST = "written.json"
JOURNAL = "journal.jsonl"
ENVIRONMENT = "environment.json"
PLOTS = "plots"
GIVEN = re.compile(  # the names of an older version's files in a run
    r"summary\.(csv|md)|report\.html|history\.(csv|html)|audit\.(md|html|json)|plots/"
    r"(time-vs-N|crossover|winner|break-even|accuracy|memory|roofline|devices|history|audit-claimed)[^/]*\.(png|svg)"
)
NAME = re.compile(r"(plots/)?(?!\.)[^/\\]+")
ALLOWED = "use a new or an empty folder, or one that bnbench made and that holds nothing else"


class FolderError(Exception):
    """A folder or a file cannot be written, or is not bnbench's to write; the message is one line."""


class Folder:
    """What bnbench wrote into a folder, by name, with a digest of its content; nothing is made before `put`."""

    def __init__(self, path: str | Path) -> None:
        """Raises FolderError where path is a symbolic link, no folder, or its list is not bnbench's."""
        self.path = Path(path)
        self.files: dict[str, list[str]] = {}
        with told(self.path):
            for place in (self.path, self.path / PLOTS):
                _refuse_link(place)
                if os.path.lexists(place) and not place.is_dir():
                    raise FolderError(f"{place} cannot be written into, it is a file and no folder; {ALLOWED}")
            self.is_run = _describes_a_run(self.path / ENVIRONMENT)
            if os.path.lexists(self.path / MANIFEST):
                self.files = _read(self.path / MANIFEST)
            elif self.is_run:
                given = {name: self.path / name for name in self.names() if GIVEN.fullmatch(name)}
                ours = {name: path for name, path in given.items() if path.is_file() and not path.is_symlink()}
                self.files = {name: [_digest(path.read_bytes())] for name, path in ours.items()}

    def names(self) -> list[str]:
        """Everything in the folder and its plots, by name from the folder on."""
        places = [(self.path, ""), (self.path / PLOTS, f"{PLOTS}/")]
        names = [prefix + entry.name for place, prefix in places if place.is_dir() for entry in os.scandir(place)]
        return sorted(name for name in names if name != PLOTS and not name.rpartition("/")[2].startswith("."))

    def claim(self) -> "Folder":
        """Refuse the folder if it holds anything that is not bnbench's; the folder itself.

        Raises:
            FolderError: a symbolic link, another file or folder, or a file that was changed since bnbench wrote it.
        """
        with told(self.path):
            known = {MANIFEST} | ({ENVIRONMENT, JOURNAL} if self.is_run else set())
            for name in self.names():
                _refuse_link(self.path / name)
                empty_journal = name == JOURNAL and not (self.path / name).stat().st_size  # what a kill may leave
                if name not in known and not empty_journal:
                    self._check(name)
        return self

    def begin(self) -> None:
        """Make the folder and its list, so that from now on no other file in it is taken for bnbench's."""
        with told(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._save()

    def put(self, name: str, content: str | bytes) -> Path:
        """Write a file, whole or not at all; its path.

        Raises:
            FolderError: there is a file or a link of that name that is not bnbench's, or it cannot be written.
        """
        path = self.path / name
        data = utf8(content) if isinstance(content, str) else content
        with told(path):
            _refuse_link(path.parent)
            self._check(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            now = [_digest(path.read_bytes())] if path.exists() else []
            self.files[name] = list(dict.fromkeys([*now, _digest(data)]))
            self._save()
            write_whole(path, data)
        return path

    def adopt(self, path: str | Path) -> None:
        """Enter a new file that a user asked for as bnbench's own, where it lies in the folder."""
        path = Path(path)
        with told(path):
            if path.resolve().parent == self.path.resolve():
                self.files[path.name] = [_digest(path.read_bytes())]
                self._save()

    def retire(self, names: re.Pattern[str], keep: Iterable[str]) -> None:
        """Remove bnbench's files of these names but for those to keep; one that was changed since is left."""
        stale = {name for name in self.files if names.fullmatch(name)} - set(keep)
        with told(self.path):
            for name in sorted(stale):
                if self._is_as_written(name):
                    (self.path / name).unlink(missing_ok=True)
                del self.files[name]
            self._save()

    def _check(self, name: str) -> None:
        path = self.path / name
        _refuse_link(path)
        if not os.path.lexists(path) or self._is_as_written(name):
            return
        if name in self.files:
            raise FolderError(f"{path} was changed since bnbench wrote it; move it away or delete it")
        raise FolderError(f"{path} was not written by bnbench; {ALLOWED}")

    def _is_as_written(self, name: str) -> bool:
        path = self.path / name
        return path.is_file() and not path.is_symlink() and _digest(path.read_bytes()) in self.files.get(name, ())

    def _save(self) -> None:
        content = {"written by": "bnbench", "files": dict(sorted(self.files.items()))}
        write_whole(self.path / MANIFEST, utf8(json.dumps(content, indent=1) + "\n"))


@contextlib.contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Turn what the system says against a file or folder into a FolderError of one line."""
    try:
        yield
    except OSError as error:
        raise FolderError(f"{path} cannot be written: {error.strerror or error}") from error
    except ValueError as error:  # a null character in the name
        raise FolderError(f"{path} cannot be written: {error}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file in one step, so that a reader sees the old one or the new one, never a part."""
    temporary = path.with_name(f".bnbench-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not be there yet, not as a link either; OSError, and no file, where that fails."""
    with open(path, "xb") as file:
        try:
            file.write(data)
            file.flush()
        except BaseException:
            path.unlink()
            raise


def utf8(text: str) -> bytes:
    """The text's bytes; a name that the system gave in another encoding loses what UTF-8 cannot say."""
    return text.encode("utf-8", "replace")


def _read(path: Path) -> dict[str, list[str]]:
    _refuse_link(path)
    content = _json(path)
    files = content.get("files") if content.get("written by") == "bnbench" else None
    if not (
        isinstance(files, dict)
        and all(map(NAME.fullmatch, files))  # no way out of the folder
        and all(isinstance(digests, list) for digests in files.values())
    ):
        raise FolderError(f"{path} is not a list of what bnbench wrote; {ALLOWED}")
    return files


def _describes_a_run(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and {"schema", "machine_id"} <= set(_json(path))


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is none."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise FolderError(f"{path} is a symbolic link; name the folder or file that it leads to")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
