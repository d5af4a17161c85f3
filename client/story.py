"""The notebook's whole story through the SDK: data, upload, training, endpoint, evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from client import (
    chapters,
    data,
    evaluation,
    hosting,
    interruption,
    model_card,
    pictures,
    sdk,
    training_job,
)
from client.aws_errors import undone
from client.hosting import Deployment
from client.training_job import TrainingJob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from client.data import Rows
    from client.platform import Platform


@dataclass(frozen=True)
class Story:
    """What is told."""

    name: str  #: of the job, the model and the endpoint
    train: Rows
    test: Rows
    output: Path  #: where the data and the pictures go
    training_instance: str
    serving_instance: str
    instance_count: int = 1  #: of the training job
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    spot: bool = False
    keep: bool = False  #: leave the endpoint, which costs

    def write(self) -> Path:
        """Write the data and its picture; return the directory of channels."""
        chapters.clear(self.output)
        directory = self.output / "data"
        for channel, rows in (("train", self.train), ("test", self.test)):
            data.make_csv(rows.features, rows.labels, f"{channel}.csv", directory / channel)
        if chapters.is_in_a_plane(self.train):
            pictures.draw_data(self.train, self.output / "data.png")
        return directory

    def job(self, platform: Platform, address: str) -> TrainingJob:
        """Return the training job over a directory of channels."""
        checkpoints = f"{platform.home}/checkpoints/{self.name}"
        return TrainingJob(
            name=self.name,
            image=platform.image,
            role=platform.role,
            channels=training_job.channels(address, ["train", "test"]),
            output=platform.output(self.name),
            hyperparameters=self.hyperparameters,
            instance_type=self.training_instance,
            instance_count=self.instance_count,
            spot=self.spot,
            checkpoints=checkpoints if self.spot else None,
            tags=platform.tags,
        )

    def deployment(self, platform: Platform, model: str) -> Deployment:
        """Return the deployment of a model.tar.gz."""
        return Deployment(
            endpoint=self.name,
            model=self.name,
            image=platform.image,
            model_data=model,
            role=platform.role,
            instance_type=self.serving_instance,
            tags=platform.tags,
        )


def tell(
    platform: Platform,
    story: Story,
    say: Callable[[str], None],
    progress: Callable[[str], None],
    *,
    verbose: bool = True,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Live through the story; return what it came to, and how good it is.

    The endpoint is deleted in the end. Where a step fails or is interrupted, what it started is
    stopped, and what was made before is deleted, so that nothing costs. In S3 the data stays once
    there is a model that comes from it.
    """
    say(f"1/6 Data: {len(story.train.labels)} rows to train, {len(story.test.labels)} to test with")
    directory = story.write()
    say("2/6 Uploading it")
    run = f"runs/{story.name}"
    with undone(f"The data {platform.home}/{run}", lambda: platform.remove(run)):
        address = platform.put(directory, run)
        say(f"3/6 Training, in the job {story.name}")
        job = story.job(platform, address)
        description = training_job.run(platform.session, job)
    deployment = story.deployment(platform, training_job.artefact(description))

    def end() -> None:
        say("6/6 Deleting the endpoint")
        # Local mode's containers go with the platform.
        if not platform.session.local_mode:
            with interruption.undisturbed():
                hosting.delete(platform.sagemaker, story.name, progress)

    with undone(f"The endpoint {story.name}", end):
        say(f"4/6 Deploying {deployment.model_data}")
        hosting.deploy(platform.session, deployment, progress)
        say("5/6 Evaluating the endpoint on the test rows")
        predictor = sdk.predictor(platform.session, story.name)
        scored = chapters.evaluate(predictor, story.test, story.output, verbose=verbose)
        training = platform.training(job, description)
        if training.history:
            pictures.draw_history(training.history, story.output / "history.png")
        asked = f"The endpoint {story.name}, on {story.serving_instance},"
        test = model_card.Comparison(asked, "the test set", story.test.features.shape[1])
        model_card.write(model_card.card(scored, test, training), story.output / "model_card.md")
        if not story.keep:
            end()
    summary = training_job.summary(description)
    return summary | ({"endpoint": story.name} if story.keep else {}), evaluation.figures(scored)
