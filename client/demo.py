"""The notebook's whole story on one machine: data, training, serving, evaluation, clean-up."""

from __future__ import annotations

import json
import shlex
import shutil
from typing import TYPE_CHECKING

import numpy as np

from client import artefact, chapters, data, evaluation, metrics, model_card, pictures
from client.provenance import Channel, Training
from client.runtime import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from client.data import Rows
    from client.runtime import Runtime


def tell(
    runtime: Runtime, train: Rows, test: Rows, output: Path, say: Callable[[str], None]
) -> dict[str, float]:
    """Live through the story, leaving its files in `output`; return the endpoint's metrics.

    What is started is stopped again, also where a step fails.

    Raises:
        ProgramError: if `train` or `serve` fails, or what they need cannot be installed.
    """
    chapters.clear(output)
    job, serving = output / "opt_ml", output / "serving"

    say(f"1/7 Data: {len(train.labels)} rows to train on, {len(test.labels)} to test with")
    data.make_csv(train.features, train.labels, "train.csv", job / "input" / "data" / "train")
    configure(job, input_dim=train.features.shape[1])
    if chapters.is_in_a_plane(train):
        pictures.draw_data(train, output / "data.png")

    say("2/7 Preparing the programs train and serve; the first time takes a minute or two")
    runtime.prepare()

    say("3/7 Training")
    log = runtime.train(job)
    pictures.draw_history(metrics.history(log), output / "history.png")

    say("4/7 Packing model.tar.gz and unpacking it again, as SageMaker does in between")
    artefact.pack(job / "model", output / "model.tar.gz")
    artefact.unpack(output / "model.tar.gz", serving / "model")

    say("5/7 Serving")
    np.savetxt(output / "payload.csv", test.features[:3], fmt="%.6g", delimiter=",")
    with runtime.serve(serving, output / "serve.log") as endpoint:
        say(f"6/7 Evaluating {endpoint.url}/invocations on the {len(test.labels)} test rows")
        scored = chapters.evaluate(endpoint, test, output)
        say("7/7 Cleaning up: stopping the server")
    asked = f"{runtime.origin()}, serving on this machine,"
    evaluated = model_card.Comparison(asked, "the test set", test.features.shape[1])
    training = _training(runtime, train, output, metrics.history(log))
    model_card.write(model_card.card(scored, evaluated, training), output / "model_card.md")
    return evaluation.figures(scored)


def _training(
    runtime: Runtime, train: Rows, output: Path, history: dict[str, list[float]]
) -> Training:
    """Return what the card says of the job."""
    job = output / "opt_ml"
    given = json.loads((job / "input/config/hyperparameters.json").read_text("utf-8"))
    return Training(
        job="demo",
        image=runtime.origin(),
        model=str(output / "model.tar.gz"),
        machines="this machine",
        hyperparameters=given,
        channels=[Channel("train", str(job / "input/data/train"), len(train.labels))],
        metrics=json.loads((job / "output/data/metrics.json").read_text("utf-8")),
        history=history,
    )


def configure(opt_ml: Path, input_dim: int) -> None:
    """Write what SageMaker writes for a job: the files of local_test, and what is writable."""
    config = opt_ml / "input" / "config"
    shutil.copytree(PROJECT / "local_test" / "opt_ml" / "input" / "config", config)
    file = config / "hyperparameters.json"
    hyperparameters = {**json.loads(file.read_text("utf-8")), "input_dim": str(input_dim)}
    file.write_text(json.dumps(hyperparameters, indent=2), "utf-8")
    for directory in ("model", "output", "checkpoints"):
        (opt_ml / directory).mkdir()


def next_steps(runtime: Runtime, output: Path) -> str:
    """Return what the user may want to run now, ready to be pasted."""
    payload = shlex.quote(str(output / "payload.csv"))
    return f"""\
The pictures: {", ".join(str(picture) for picture in sorted(output.glob("*.png")))}.
The model card: {output / "model_card.md"}.

Next, serve this model until Ctrl-C:

    {runtime.serve_command(output / "serving")}

and ask it from another terminal:

    curl --data-binary @{payload} -H 'Content-Type: text/csv' \\
      http://127.0.0.1:8080/invocations
"""
