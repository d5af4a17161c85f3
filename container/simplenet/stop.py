"""SIGTERM, by which SageMaker stops a job: 120 s later it sends SIGKILL.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds until `Stopped` is raised again where nothing came of it.
_AGAIN = 0.1


class Stopped(BaseException):
    """The job is to end now; like KeyboardInterrupt no error, so that nothing takes it for one."""


class Stop:
    """Whether the job was asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._inside = False  # of `interrupts`
        self._raised = False

    def listen(self) -> None:
        """Take SIGTERM from now on, and one that has waited since the program was started."""
        signal.signal(signal.SIGTERM, lambda *_: self.request())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGALRM, lambda *_: self._raise())
        self._say_nothing_of_what_is_dropped()

    def _say_nothing_of_what_is_dropped(self) -> None:
        """Python prints what is raised while it frees an object; it is raised again anyhow."""
        hook = sys.unraisablehook

        def look(dropped: sys.UnraisableHookArgs) -> None:
            if dropped.exc_type is not Stopped:
                hook(dropped)

        sys.unraisablehook = look

    def request(self) -> None:
        """Ask the job to end: at once where nothing could be lost, else at its next step.

        Raises:
            Stopped: inside of `interrupts`.
        """
        self.requested = True
        if not self._raised:
            self._raise()

    def _raise(self) -> None:
        if self._inside:
            self._raised = True
            # Python drops what is raised while it frees an object, and so does some compiled code.
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
            raise Stopped

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Raise `Stopped` as soon as the job is to stop, in the midst of whatever runs inside."""
        self._inside, self._raised = True, False
        try:
            if self.requested:
                raise Stopped
            yield
            if self.requested:  # and all that was raised, dropped
                raise Stopped
        finally:
            self._inside = False
            signal.setitimer(signal.ITIMER_REAL, 0)
