"""The models that are served: the one of an endpoint, or the many of a multi-model endpoint.

The workers of a multi-model endpoint share a directory with one small file for each loaded model,
whichever worker was asked to load it. Each worker keeps in memory what it has scored with.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import OrderedDict
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import orjson

from simplenet.model import ModelError, SimpleNet

if TYPE_CHECKING:
    from collections.abc import Iterator

    Loading = tuple[int, int, int]

PAGE_MODELS = 100

# What a network holds beside its weights: measured with tracemalloc, and generous.
_OVERHEAD_BYTES = 64 << 10

# Longer than any system's clock takes from one stamp to the next.
_TICK_NS = 1_000_000_000


class NotLoadedError(LookupError):
    """There is no such model among the loaded ones."""


class LoadedError(ValueError):
    """A model of this name is loaded already."""


class FullError(MemoryError):
    """The model alone takes more memory than all of them may."""


def load(directory: Path, name: str) -> SimpleNet:
    """Load the file `name` from `directory`, or from the one directory in it that has it."""
    with _explained():
        path = _find(directory, name)
        if path.exists():
            path.open("rb").close()  # of one that may not be read safetensors says: not there
        return SimpleNet.load(path).freeze()


def _find(directory: Path, name: str) -> Path:
    """Return where the file is, or ought to be.

    A `model.tar.gz` that was packed with its directory leads one level down.
    """
    path = directory / name
    if not path.exists():
        below = sorted(directory.glob(f"*/{name}"))
        if len(below) == 1:
            sys.stderr.write(
                f"serve: {name} is not in {directory} but in {below[0].parent}; taking it. "
                "Pack model.tar.gz with the file at the archive's root.\n"
            )
            path = below[0]
    return path


@contextmanager
def _explained() -> Iterator[None]:
    """Say in a sentence why a model's file cannot be had."""
    try:
        yield
    except PermissionError as error:
        raise ModelError(
            f"{error.filename} may not be read by user {os.getuid()}; "
            "expected a directory and a file that any user may read."
        ) from None
    except OSError as error:  # a name that no file system takes, for one
        raise ModelError(f"The model cannot be looked for: {error.strerror}.") from None


@dataclass(frozen=True)
class _Held:
    """A network in this worker's memory, and which loading of its name it belongs to."""

    net: SimpleNet
    loading: Loading
    size: int


class Models:
    """The loaded models of a multi-model endpoint.

    https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html
    """

    def __init__(self, entries: Path, root: Path, file_name: str, most_bytes: int) -> None:
        self._entries = entries
        self._root = root.resolve()
        self._file_name = file_name
        self._most_bytes = most_bytes
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._seen = 0
        self._lock = Lock()
        # Files are read one at a time, so that no more than one is in memory beside the others.
        self._reading = Lock()

    def load(self, name: str, url: str) -> None:
        """Load the model in the directory `url`, and let every worker know.

        Raises:
            LoadedError: if the name is taken.
            FullError: if it can never fit.
            ModelError: if `url` holds no model, or lies outside of the models' directory.
        """
        entry = self._entry(name)
        if entry.exists():
            raise LoadedError(name)
        with self._reading:
            net, size = self._read(url)
            draft = entry.with_name(f".{entry.name}.{os.getpid()}")
            draft.write_bytes(orjson.dumps({"modelName": name, "modelUrl": url}))
            # The system's own stamp is that of its last tick, which two loadings may share.
            now = time.time_ns()
            os.utime(draft, ns=(now, now))
            loading = _loading(draft)
            try:
                entry.hardlink_to(draft)  # fails where another worker was first
            except FileExistsError:
                raise LoadedError(name) from None
            finally:
                draft.unlink()
            self._hold(name, _Held(net, loading, size))

    def unload(self, name: str) -> None:
        """Forget a model; the other workers free its memory within a second."""
        try:
            self._entry(name).unlink()
        except FileNotFoundError:
            raise NotLoadedError(name) from None
        self.release()

    def describe(self, name: str) -> dict[str, str]:
        """Return the name and the URL of a loaded model."""
        try:
            return _described(self._entry(name))
        except FileNotFoundError:
            raise NotLoadedError(name) from None

    def page(self, after: str) -> tuple[list[dict[str, str]], str | None]:
        """Return the loaded models that follow the token `after`, and the next token if any."""
        names = sorted(entry.name for entry in self._entries.iterdir() if entry.name[0] != ".")
        names = [entry for entry in names if entry > after]
        shown = names[:PAGE_MODELS]
        models = []
        for entry in shown:
            with suppress(FileNotFoundError):  # unloaded meanwhile
                models.append(_described(self._entries / entry))
        return models, shown[-1] if len(names) > len(shown) else None

    def get(self, name: str) -> SimpleNet:
        """Return a loaded model's network, from memory or again from its file."""
        entry = self._entry(name)
        try:
            loading = _loading(entry)
            net = self._remembered(name, loading)
            if net is None:
                with self._reading:
                    net = self._remembered(name, loading)
                    if net is None:
                        net, size = self._read(_described(entry)["modelUrl"])
                        self._hold(name, _Held(net, loading, size))
        except FileNotFoundError:
            raise NotLoadedError(name) from None
        return net

    def release(self) -> None:
        """Free the memory of the models that were unloaded, by whichever worker.

        Each worker asks once a second, and most often finds that nothing has changed.
        """
        seen = self._entries.stat().st_mtime_ns
        if seen == self._seen:
            return
        with self._lock:
            # Of two changes within a tick of the system's clock the stamp shows but one.
            self._seen = seen if time.time_ns() - seen > _TICK_NS else 0
            for name in [*self._held]:
                if not self._is_current(name, self._held[name].loading):
                    del self._held[name]

    def _entry(self, name: str) -> Path:
        """Return the file of a name; hashed, so that no name leads anywhere else."""
        return self._entries / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()

    def _read(self, url: str) -> tuple[SimpleNet, int]:
        """Return a network, and the bytes it takes, for which there is room."""
        directory = Path(url)
        if "\0" in url or not directory.resolve().is_relative_to(self._root):
            raise ModelError(f"The url is {url[:80]!r}; expected a directory in {self._root}.")
        size = _OVERHEAD_BYTES
        with _explained(), suppress(FileNotFoundError):  # of which `load` knows more to say
            size += _find(directory, self._file_name).stat().st_size
        self._make_room(size)
        net = load(directory, self._file_name)
        return net, size

    def _make_room(self, size: int) -> None:
        """Let go of the networks that were not asked for the longest."""
        if size > self._most_bytes:
            raise FullError(
                f"The model takes {size:,} bytes; expected at most {self._most_bytes:,}, "
                "what SIMPLENET_MODELS_MB allows for all."
            )
        with self._lock:
            total = size + sum(each.size for each in self._held.values())
            while total > self._most_bytes:
                total -= self._held.popitem(last=False)[1].size

    def _remembered(self, name: str, loading: Loading) -> SimpleNet | None:
        """Return a network that is in memory, which makes it the last to be let go of."""
        with self._lock:
            held = self._held.get(name)
            if held is None or held.loading != loading:
                return None
            self._held.move_to_end(name)
            return held.net

    def _hold(self, name: str, held: _Held) -> None:
        """Keep a network in memory, unless it was unloaded while it was read."""
        with self._lock:
            if self._is_current(name, held.loading):
                self._held[name] = held

    def _is_current(self, name: str, loading: Loading) -> bool:
        """Say whether a model is still loaded, and has not been loaded anew."""
        try:
            return _loading(self._entry(name)) == loading
        except FileNotFoundError:
            return False


def _loading(entry: Path) -> Loading:
    """Return what tells a loading from any other of the same name."""
    status = entry.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _described(entry: Path) -> dict[str, str]:
    described: dict[str, str] = orjson.loads(entry.read_bytes())
    return described
