"""`transform` against an AWS that is moto: what the batch job is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.client.test_interruption import MODEL, ROLE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.aws import Aws


def test_a_batch_job_is_asked_to_split_filter_and_join(aws: Aws, tmp_path: Path) -> None:
    """By line, in requests of many rows; the model that the job needed is deleted again."""
    rows = tmp_path / "rows.csv"
    rows.write_text("0,0.5,0.25\n1,-0.5,1.0\n")

    done = aws.run(
        *("transform", rows, *ROLE, *MODEL, "--input-filter", "$[1:]", "--join"),
        *("--output", tmp_path / "scores"),
    )

    (job,) = aws.asked("CreateTransformJob")
    assert "MultiRecord" == job["BatchStrategy"]
    source = job["TransformInput"]
    assert ("text/csv", "Line") == (source["ContentType"], source["SplitType"])
    assert "Line" == job["TransformOutput"]["AssembleWith"]
    assert {"InputFilter": "$[1:]", "JoinSource": "Input"} == job["DataProcessing"]
    resources = job["TransformResources"]
    assert ("ml.c4.xlarge", 1) == (resources["InstanceType"], resources["InstanceCount"])
    assert [] == aws.client("sagemaker").list_models()["Models"]
    # moto's job writes nothing, and that is said: there are no scores.
    assert 1 == done.returncode
    assert "Traceback" not in done.stderr
