"""The models that are served: the one of an endpoint, or the many of a multi-model endpoint.

The workers of a multi-model endpoint share a directory with one small file for each loaded model,
whichever worker was asked to load it. Each worker keeps in memory what it has scored with.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

import orjson

from simplenet.model import ModelError, SimpleNet

PAGE_MODELS = 100

# What a network holds beside its weights: measured with tracemalloc, and generous.
_OVERHEAD_BYTES = 64 << 10


class NotLoadedError(LookupError):
    """There is no such model among the loaded ones."""


class LoadedError(ValueError):
    """A model of this name is loaded already."""


class FullError(MemoryError):
    """The model alone takes more memory than all of them may."""


def load(directory: Path, name: str) -> SimpleNet:
    """Load the file `name` from `directory`, or from the one directory in it that has it.

    A `model.tar.gz` that was packed with its directory leads one level down.
    """
    path = directory / name
    try:
        if not path.exists():
            below = sorted(directory.glob(f"*/{name}"))
            if len(below) == 1:
                sys.stderr.write(
                    f"serve: {name} is not in {directory} but in {below[0].parent}; taking it. "
                    "Pack model.tar.gz with the file at the archive's root.\n"
                )
                path = below[0]
        return SimpleNet.load(path).freeze()
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
    loading: tuple[int, int]
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
        self._lock = RLock()

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
        held = self._read(url, (0, 0))
        draft = entry.with_name(f".{entry.name}.{os.getpid()}")
        draft.write_bytes(orjson.dumps({"modelName": name, "modelUrl": url}))
        try:
            entry.hardlink_to(draft)  # fails where another worker was first
        except FileExistsError:
            raise LoadedError(name) from None
        finally:
            draft.unlink()
        self._hold(name, _Held(held.net, _loading(entry), held.size))

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
            held = self._held.get(name)
            if held is None or held.loading != loading:
                held = self._read(_described(entry)["modelUrl"], loading)
        except FileNotFoundError:
            raise NotLoadedError(name) from None
        self._hold(name, held)
        return held.net

    def release(self) -> None:
        """Free the memory of the models that were unloaded, by whichever worker.

        Each worker asks once a second, and most often finds that nothing has changed.
        """
        seen = self._entries.stat().st_mtime_ns
        if seen == self._seen:
            return
        with self._lock:
            self._seen = seen
            for name in [name for name in self._held if not self._entry(name).exists()]:
                del self._held[name]

    def _entry(self, name: str) -> Path:
        """Return the file of a name; hashed, so that no name leads anywhere else."""
        return self._entries / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()

    def _read(self, url: str, loading: tuple[int, int]) -> _Held:
        directory = Path(url)
        if "\0" in url or not directory.resolve().is_relative_to(self._root):
            raise ModelError(f"The url is {url[:80]!r}; expected a directory in {self._root}.")
        net = load(directory, self._file_name)
        size = _OVERHEAD_BYTES + sum(value.nbytes for value in net.state_dict().values())
        if size > self._most_bytes:
            raise FullError(
                f"The model takes {size:,} bytes; expected at most {self._most_bytes:,}, "
                "what SIMPLENET_MODELS_MB allows for all."
            )
        return _Held(net, loading, size)

    def _hold(self, name: str, held: _Held) -> None:
        """Keep a network in memory, and let go of those that were not asked for the longest."""
        with self._lock:
            self._held[name] = held
            self._held.move_to_end(name)
            size = sum(each.size for each in self._held.values())
            while size > self._most_bytes:
                size -= self._held.popitem(last=False)[1].size


def _loading(entry: Path) -> tuple[int, int]:
    status = entry.stat()
    return status.st_ino, status.st_mtime_ns


def _described(entry: Path) -> dict[str, str]:
    described: dict[str, str] = orjson.loads(entry.read_bytes())
    return described
