"""`python -m client evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from client import data, evaluation, model_card, pictures, provenance
from client.commands import options
from client.endpoint import Endpoint, InParts
from client.evaluation import Scored

if TYPE_CHECKING:
    from client.commands.options import Place
    from client.endpoint import Predictor
    from client.provenance import Training

# Labelled rows: no header, the label first.
CSV = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("evaluate")
@options.in_account_or_local
@options.as_json
@click.option("--endpoint", help="An endpoint on SageMaker.")
@click.option(
    "--url",
    help="Where a container serves, without a path.  [default: http://127.0.0.1:PORT]",
)
@click.option("--scores", type=CSV, help="What transform wrote for these rows.")
@click.option(
    "--pictures",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Draw there: the ROC curve, calibration, and where they are known, boundary and history.",
)
@click.option(
    "--card",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a model card there, as Markdown, and next to it as JSON.",
)
@click.option("--job", help="What trained it, for card and history.  [default: the endpoint's]")
@click.argument("csv", type=CSV)
def command(
    place: Place,
    csv: Path,
    *,
    endpoint: str | None,
    url: str | None,
    scores: Path | None,
    directory: Path | None,
    card: Path | None,
    job: str | None,
    as_json: bool,
) -> None:
    r"""Compare the scores of labelled rows with their labels, and print how good they are.

    CSV has no header, and the label (0 or 1) first. A container on this machine scores its rows,
    or an endpoint, or they have been scored in a batch job.

    \b
    Examples:
      python -m client evaluate local_test/test.csv
      python -m client evaluate data/test/test.csv --endpoint simplenet --card card.md
    """
    named = {"--endpoint": endpoint, "--url": url, "--scores": scores, "--local": place.local}
    if len(given := [name for name, value in named.items() if value]) > 1:
        raise click.UsageError(f"{given[0]} and {given[1]} exclude each other; give one.")
    rows = data.read_csv(csv)
    predictor = None
    if scores:
        scored = Scored.of(rows.labels, data.read_scores(scores, rows))
    else:
        predictor = _predictor(place, endpoint, url)
        scored = Scored.of(rows.labels, predictor.predict(rows.features))
    if as_json:
        click.echo(json.dumps(model_card.known(evaluation.figures(scored))))
    else:
        click.echo(evaluation.table(scored), nl=False)
    training = _training(place, endpoint, job) if card or directory else None
    if directory:
        history = training.history if training else None
        for path in pictures.draw(directory, rows, scored, predictor, history):
            options.say(f"Path created: {path}")
    if card:
        asked = endpoint and f"The endpoint {endpoint}"
        test = model_card.Comparison(
            asked=asked or str(scores or url or place.local_endpoint().url),
            data=str(csv),
            features=rows.features.shape[1],
        )
        for path in model_card.write(model_card.card(scored, test, training), card):
            options.say(f"Path created: {path}")


def _predictor(place: Place, endpoint: str | None, url: str | None) -> Predictor:
    if endpoint:
        return InParts(place.predictor(endpoint))
    return Endpoint(url.rstrip("/")) if url else place.local_endpoint()


def _training(place: Place, endpoint: str | None, job: str | None) -> Training | None:
    """Return what is known of the job that the model comes from."""
    if endpoint and not job:
        job = provenance.job_of_endpoint(place.account().client("sagemaker"), endpoint)
    if not job:
        return None
    if place.local or provenance.is_local(job):
        return provenance.of_local_job(job)
    return provenance.of_job(place.account(), job)
