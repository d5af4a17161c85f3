"""`python -m client` as the child of a process that has imported SageMaker's SDK already.

The import takes more than two seconds, and each test types several commands. What is forked is as
good as new: it gets the words, the environment, the directory and the standard streams of a process
of its own, which stands for it, and then runs the module `client`, of which nothing was imported.
What the SDK looks at when it is imported is the server's, such as where HOME has a configuration;
and a signal reaches the command a moment later. A test of either starts the client from nothing.

usage: warm.py serve ADDRESS         import the SDK, and answer at the Unix socket ADDRESS
       warm.py run ADDRESS WORD...   run `python -m client WORD...` there, as this process would
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import NoReturn

# Handed on to the command; no other comes in the tests.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STREAMS = (0, 1, 2)


def stand_for(address: str, words: list[str]) -> NoReturn:
    """Have the command run, hand on what signals come, and end as it ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    asked = {"words": words, "directory": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109  # pathlib is slow to import
    message = json.dumps(asked).encode()
    socket.send_fds(connection, [len(message).to_bytes(8, "big")], _STREAMS)
    connection.sendall(message)
    replies = connection.makefile()
    process = int(replies.readline())

    def hand_on(number: int, _: object) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(process, number)

    for number in _SIGNALS:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    code = int(replies.readline())
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def answer(address: str) -> dict[str, Any]:
    """Fork for each that asks; return, in the child, what is asked. The parent never returns."""
    with socket.socket(socket.AF_UNIX) as listener:
        draft = f"{address}.draft"
        listener.bind(draft)
        listener.listen()
        os.rename(draft, address)  # noqa: PTH104  # whoever sees it may connect
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
            with suppress(ChildProcessError):  # there is none any more
                while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                    pass  # the children that have ended since
    with connection:
        length, streams, _, _ = socket.recv_fds(connection, 8, len(_STREAMS))
        asked: dict[str, Any] = json.loads(
            connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
        )
        # Closed when the command has ended, and by nothing that it starts.
        alive, held = os.pipe()
        process = os.fork()
        if process:
            os.close(held)
            _tell(connection, process, alive)
    os.close(alive)
    for stream, theirs in zip(_STREAMS, streams, strict=True):
        os.dup2(theirs, stream)
        os.close(theirs)
    return asked


def _tell(connection: socket.socket, process: int, alive: int) -> NoReturn:
    """Tell whoever stands for a command its process, and how it ended; kill it if nobody does."""
    with suppress(OSError):  # if nobody stands for it any more, the connection says so below
        connection.sendall(f"{process}\n".encode())
    ended, _, _ = select.select([alive, connection.fileno()], [], [])
    if alive not in ended:
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        connection.sendall(f"{code}\n".encode())
    finally:
        os._exit(0)


def become(asked: dict[str, Any]) -> None:
    """Run the command in this process."""
    import runpy  # noqa: PLC0415

    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        import coverage  # noqa: PLC0415

        coverage.process_startup()
    sys.argv = ["client", *asked["words"]]
    sys.path[0] = os.getcwd()  # noqa: PTH109
    runpy.run_module("client", run_name="__main__", alter_sys=True)


def heat() -> None:
    """Import what the commands need and what is not theirs."""
    hook = sys.excepthook
    for module in ("sagemaker.local", "sagemaker.tuner", "sklearn.metrics"):
        importlib.import_module(module)
    sys.excepthook = hook  # the SDK has its own
    gc.freeze()  # or each child would go through all of it when it ends, and copy it to do so


if __name__ == "__main__":
    _, task, address, *words = sys.argv
    if task == "run":
        stand_for(address, words)
    heat()
    become(answer(address))
