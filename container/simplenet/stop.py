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
        self._ask_again_where_dropped()

    def _ask_again_where_dropped(self) -> None:
        """Python drops what is raised while it frees an object: then ask again, a little later."""
        hook = sys.unraisablehook

        def look(dropped: sys.UnraisableHookArgs) -> None:
            if dropped.exc_type is Stopped:
                signal.setitimer(signal.ITIMER_REAL, 0.01)
            else:
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
            raise Stopped

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Raise `Stopped` as soon as the job is to stop, in the midst of whatever runs inside."""
        self._inside, self._raised = True, False
        try:
            if self.requested:
                raise Stopped
            yield
            # Some libraries drop what is raised in them; the wish stands all the same.
            if self.requested:
                raise Stopped
        finally:
            self._inside = False
