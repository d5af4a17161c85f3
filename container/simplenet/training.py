"""The program `train`: signals, the log, the exit code and the failure file; `job` does the work.

Nothing heavy is imported up here, for SIGTERM must be heard from the first moment on.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from contextlib import suppress

from simplenet.atomic import replacing
from simplenet.paths import Paths
from simplenet.stop import Stop

log = logging.getLogger("train")

# The first 1,024 characters of the failure file become the job's FailureReason.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
_FAILURE_CHARACTERS = 1024

# As its allocators for the CPU and for CUDA say it.
_TORCH_MEMORY = re.compile(r"can't allocate memory|CUDA out of memory")


def main() -> int:
    """Run one training job; return the exit code, by which SageMaker knows how it went."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    stop = Stop()
    stop.listen()
    paths = Paths.from_environment()
    with suppress(OSError):
        paths.failure.unlink()  # of an earlier job in the same place, on one's own machine
    # What torch says to itself of a lost connection, with the frames of its stack.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Over a second, for torch is in it; a SIGTERM that comes now is answered by the job, which may
    # have a checkpoint to make a model of.
    from simplenet import job  # noqa: PLC0415

    try:
        job.train(paths, stop)
    except job.REFUSALS as error:
        return _fail(paths, str(error))
    except Exception as error:
        if _memory_is_full(error):
            return _fail(
                paths, "The memory is not enough for the data; use a larger instance type."
            )
        if isinstance(error, OSError):
            return _fail(paths, f"{error.filename or paths.root}: {error.strerror or error}.")
        log.exception("The job failed by a fault of the program itself.")
        return _fail(paths, f"{type(error).__name__}: {error} (the log has the traceback).")
    return 0


def _memory_is_full(error: Exception) -> bool:
    """Return whether Python, the system or torch found no memory; torch has no type for it."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and _TORCH_MEMORY.search(str(error)) is not None)
    )


def _fail(paths: Paths, reason: str) -> int:
    """Say why the job failed, in the log and where SageMaker looks for it; return the exit code."""
    log.error("failed: %s", reason)
    try:
        with replacing(paths.failure) as temporary:
            text = reason[:_FAILURE_CHARACTERS]
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        log.error("%s could not be written: %s", paths.failure, error)  # noqa: TRY400
    return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # All that matters is on the disk, and Python takes a quarter of a second to take torch apart.
    os._exit(code)
