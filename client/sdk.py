"""SageMaker's Python SDK, version 2, behind plain functions; nothing else imports it to do things.

Version 3 has no Estimator, Model or Predictor. A module like this one on version 3, or on boto3
alone, could stand in its place.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read when the SDK is imported; it warns otherwise, on every start, of what is said above.
os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
logging.getLogger("sagemaker.config").setLevel(logging.WARNING)


_CONFIGURATION_FILES = ("SAGEMAKER_USER_CONFIG_OVERRIDE", "SAGEMAKER_ADMIN_CONFIG_OVERRIDE")


@contextmanager
def _importing() -> Iterator[None]:
    """Keep from the SDK, while it is imported, what it has no business with yet.

    It opens a session at once, which fails where AWS' configuration is wrong, and logs pages where
    the SDK's own is, before a command could say so. It also lets tracebacks go to stdout.
    """
    files = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", *_CONFIGURATION_FILES)
    empty = dict.fromkeys(files, os.devnull)
    names = [*empty, "AWS_PROFILE", "AWS_DEFAULT_PROFILE"]
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(empty)
    hook = sys.excepthook
    try:
        yield
    finally:
        for name in empty:
            del os.environ[name]
        os.environ.update(kept)
        sys.excepthook = hook


with _importing():
    from jsonschema import ValidationError
    from sagemaker import utils
    from sagemaker.config import load_sagemaker_config
    from sagemaker.deserializers import NumpyDeserializer
    from sagemaker.estimator import Estimator
    from sagemaker.exceptions import UnexpectedStatusException
    from sagemaker.inputs import TrainingInput
    from sagemaker.local import LocalSession, local_session
    from sagemaker.local.local_session import LocalSagemakerClient
    from sagemaker.model import Model
    from sagemaker.multidatamodel import MultiDataModel
    from sagemaker.predictor import Predictor
    from sagemaker.serializers import NumpySerializer
    from sagemaker.session import Session
    from sagemaker.transformer import Transformer
    from sagemaker.tuner import ContinuousParameter, HyperparameterTuner, IntegerParameter
    from yaml import YAMLError

from client import interruption, metrics
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.account import Account
    from client.hosting import Deployment
    from client.training_job import TrainingJob
    from client.transform_job import TransformJob
    from client.tuning_job import TuningJob

__all__ = ["LocalSagemakerClient", "LocalSession", "Session", "UnexpectedStatusException"]

# The user's configuration was checked when it was loaded. The SDK does it again whenever it looks
# for a value, which took half of a command's time; docs/decisions.md has the numbers.
utils.validate_sagemaker_config = lambda _: None

# What it does is told by the commands; what goes wrong is still to be seen.
logging.getLogger("sagemaker").setLevel(logging.WARNING)
logging.getLogger("sagemaker.local.utils").setLevel(logging.ERROR)  # that Docker is not rootless
logging.getLogger("sagemaker").addFilter(
    lambda record: "troubleshooting guide" not in record.getMessage()
)


class _Hosts(local_session._SageMakerContainer):  # type: ignore[misc]  # noqa: SLF001
    """The hosts of a job in local mode, which any user may run."""

    def write_config_files(self, host: str, *settings: Any) -> None:
        """Make what is mounted of a host; Docker would make it as root's, whom it is not for."""
        super().write_config_files(host, *settings)
        for missing in ("model", f"{host}/output/data"):
            Path(self.container_root, missing).mkdir(parents=True, exist_ok=True)


local_session._SageMakerContainer = _Hosts  # noqa: SLF001


def connect(account: Account, bucket: str | None = None) -> Session:
    """Return the SDK's session in an account; its telemetry is off."""
    return Session(
        boto_session=account.aws,
        sagemaker_client=account.client("sagemaker"),
        default_bucket=bucket,
        sagemaker_config=configuration(),
    )


class ConfigurationError(Refusal):
    """The user's configuration of the SDK is none."""


def configuration() -> dict[str, Any]:
    """Return the user's configuration of the SDK, with its telemetry off.

    Raises:
        ConfigurationError: if it is not as the SDK expects it.
    """
    try:
        found: dict[str, Any] = load_sagemaker_config() or {}
    except (ValidationError, YAMLError, ValueError) as error:
        wrong = (
            f"{error.json_path}: {error.message}" if isinstance(error, ValidationError) else error
        )
        sentence = " ".join(str(wrong).split())
        raise ConfigurationError(
            f"The SageMaker SDK's configuration is wrong: {sentence}. Mend the file, which is "
            f"~/.config/sagemaker/config.yaml unless {' or '.join(_CONFIGURATION_FILES)} names "
            "another."
        ) from error
    found.setdefault("SchemaVersion", "1.0")
    modules = (
        found.setdefault("SageMaker", {}).setdefault("PythonSDK", {}).setdefault("Modules", {})
    )
    modules["TelemetryOptOut"] = True
    return found


def estimator(session: Session, job: TrainingJob) -> Estimator:
    """Return the generic Estimator of a job; nothing has started yet."""
    return Estimator(
        image_uri=job.image,
        role=job.role,
        instance_count=job.instance_count,
        instance_type=job.instance_type,
        volume_size=job.volume_gigabytes,
        max_run=job.max_seconds,
        input_mode="File",
        output_path=job.output,
        sagemaker_session=session,
        hyperparameters=dict(job.hyperparameters),
        tags=job.tags,
        metric_definitions=metrics.DEFINITIONS,
        use_spot_instances=job.spot,
        max_wait=job.max_wait_seconds,
        checkpoint_s3_uri=job.checkpoints,
        disable_profiler=True,
        environment=dict(job.environment),
    )


def train(session: Session, job: TrainingJob) -> None:
    """Start a job; local mode returns when it has ended, SageMaker at once."""
    with starting(session):
        estimator(session, job).fit(inputs(job), job_name=job.name, wait=False, logs=False)


def inputs(job: TrainingJob) -> dict[str, TrainingInput]:
    """Return the channels of a job."""
    return {
        name: TrainingInput(
            uri,
            content_type="text/csv",
            distribution="ShardedByS3Key" if job.sharded else "FullyReplicated",
        )
        for name, uri in job.channels.items()
    }


def tune(session: Session, tuning: TuningJob) -> None:
    """Start a tuning job."""
    ranges = {
        name: IntegerParameter(int(span.low), int(span.high), scaling_type=span.scale)
        if span.is_whole
        else ContinuousParameter(span.low, span.high, scaling_type=span.scale)
        for name, span in tuning.ranges.items()
    }
    # The SDK asks itself for a model, and warns that there is none.
    logging.disable(logging.WARNING)
    with starting(session):
        HyperparameterTuner(
            estimator(session, tuning.job),
            objective_metric_name=tuning.objective,
            objective_type=tuning.direction,
            hyperparameter_ranges=ranges,
            metric_definitions=metrics.DEFINITIONS,
            max_jobs=tuning.max_jobs,
            max_parallel_jobs=tuning.parallel,
            early_stopping_type="Auto",
            tags=tuning.job.tags,
        ).fit(inputs(tuning.job), job_name=tuning.name, wait=False)
    logging.disable(logging.NOTSET)


def follow(session: Session, name: str) -> None:
    """Show a job's log, on stderr, until the job ends.

    Raises:
        UnexpectedStatusException: if it fails.
    """
    try:
        with quiet():
            session.logs_for_job(name, wait=True, log_type="All")
    finally:
        sys.stderr.write("\n")


def model(session: Session, deployment: Deployment) -> Model:
    """Return the generic Model of a deployment; nothing is made yet."""
    known = {
        "image_uri": deployment.image,
        "role": deployment.role,
        "name": deployment.model,
        "env": dict(deployment.environment),
        "sagemaker_session": session,
    }
    if deployment.multi_model:
        return MultiDataModel(model_data_prefix=deployment.model_data, **known)
    return Model(model_data=deployment.model_data, **known)


def deploy(session: Session, deployment: Deployment, *, update: bool) -> None:
    """Make a model and its endpoint configuration, and an endpoint or a new one's for the old.

    Model.deploy itself makes no second configuration, which an update in place needs. Local mode
    returns when the endpoint serves.
    """
    sagemaker = session.sagemaker_client
    endpoint = {"EndpointName": deployment.endpoint, "EndpointConfigName": deployment.model}
    tags = {"Tags": deployment.tags}
    with starting(session):
        model(session, deployment).create(
            instance_type=deployment.instance_type, tags=deployment.tags
        )
        sagemaker.create_endpoint_config(
            EndpointConfigName=deployment.model, **deployment.configuration, **tags
        )
        if update:
            sagemaker.update_endpoint(**endpoint)
        else:
            sagemaker.create_endpoint(**endpoint, **tags)


def transform(session: Session, job: TransformJob) -> None:
    """Make a model and start a batch job with it; local mode returns when it has ended."""
    with starting(session):
        Model(
            image_uri=job.image,
            model_data=job.model_data,
            role=job.role,
            name=job.name,
            env=dict(job.environment),
            sagemaker_session=session,
        ).create(instance_type=job.instance_type, tags=job.tags)
        Transformer(
            model_name=job.name,
            instance_count=job.instance_count,
            instance_type=job.instance_type,
            # Many lines a request; what is no lines is one request a file.
            strategy="MultiRecord" if job.by_line else "SingleRecord",
            assemble_with="Line" if job.by_line else None,
            output_path=job.output,
            accept=job.accept,
            max_payload=job.max_megabytes,
            tags=job.tags,
            sagemaker_session=session,
        ).transform(
            job.input,
            content_type=job.content_type,
            split_type="Line" if job.by_line else None,
            job_name=job.name,
            input_filter=job.input_filter,
            join_source="Input" if job.join else None,
            wait=False,
            logs=False,
        )


def predictor(session: Session, endpoint: str) -> Predictor:
    """Return what scores arrays at an endpoint: (rows, features) -> (rows, 1)."""
    return Predictor(
        endpoint,
        sagemaker_session=session,
        serializer=NumpySerializer(),
        deserializer=NumpyDeserializer(),
    )


@contextmanager
def starting(session: Session) -> Iterator[None]:
    """Be quiet, and let an interrupt wait for what SageMaker is asked to make.

    Local mode starts and waits in one call, so there it does not wait.

    Raises:
        KeyboardInterrupt: after an interrupt.
    """
    with quiet(), nullcontext() if session.local_mode else interruption.deferred():
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Send what the SDK prints to stderr, since stdout is for results, and let Ctrl-C through.

    Raises:
        KeyboardInterrupt: after an interrupt, which the SDK's telemetry swallows.
    """
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in interruption.SIGNALS}
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if interrupted and not isinstance(sys.exc_info()[1], KeyboardInterrupt):
            raise KeyboardInterrupt
