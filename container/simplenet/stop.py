"""SIGTERM, by which SageMaker stops a job: 120 s later it sends SIGKILL.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Seconds until `Stopped` is raised again where nothing came of it.
_AGAIN = 0.1


class Stopped(BaseException):
    """The job is to end now; like KeyboardInterrupt no error, so that nothing takes it for one."""


class Stop:
    """Whether the job was asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._inside = False  # of `interrupt`

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
            Stopped: within `interrupt`.
        """
        self.requested = True
        self._raise()

    def _raise(self) -> None:
        if not self._inside:
            return
        # Python drops what is raised while it frees an object, and so does some compiled code.
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        if not isinstance(sys.exc_info()[1], Stopped):  # else it is on its way, and cleans up
            raise Stopped

    def interrupt(self, work: Callable[[], T]) -> T:
        """Return what `work` does, unless the job is to stop: then raise `Stopped` in its midst."""
        try:
            self._inside = True
            self._heed()
            result = work()
            self._inside = False
            self._heed()  # all that was raised may have been dropped
        except BaseException:
            self._inside = False  # already here: in `finally`, Stopped could come before it
            raise
        finally:
            self._inside = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        return result

    def _heed(self) -> None:
        if self.requested:
            raise Stopped
