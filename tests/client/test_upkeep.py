"""`status` and `delete`: what a project has, by its tag, and that it is gone in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.client.aws import ACCOUNT, NOTHING, REGION
from tests.client.test_interruption import BUSY, MODEL, ROLE, RUNNING
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from tests.client.aws import Aws

BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"


def things(aws: Aws, *options: str) -> dict[str, dict[str, object]]:
    """Return what `status` lists, by kind and name."""
    done = aws.run("status", "--json", *options)
    assert 0 == done.returncode, done.stderr
    return {f"{one['kind']} {one['name']}": one for one in json.loads(done.stdout)["things"]}


def test_status_lists_what_has_the_projects_tag(stored: Aws) -> None:
    """Whatever it is called; with its instances and state, and what costs is marked."""
    assert 0 == stored.run("deploy", *ROLE, *MODEL, "--endpoint", "another-name").returncode
    stored.settle("CreateTrainingJob", **RUNNING["CreateTrainingJob"])
    assert 0 == stored.run("train", *ROLE, "--no-wait").returncode
    # Named like the project's, and not tagged as its.
    stored.client("sagemaker").create_model(
        ModelName="simplenet-of-somebody-else", ExecutionRoleArn="arn:aws:iam::1:role/x"
    )

    found = things(stored)
    table = stored.run("status", "--running")

    endpoint = found["endpoint another-name"]
    assert ("InService", "1 x ml.t2.medium", True) == (
        endpoint["status"],
        endpoint["instances"],
        endpoint["runs"],
    )
    kinds = sorted(str(one["kind"]) for one in found.values())
    assert ["endpoint", "endpoint configuration", "model", "training job"] == kinds
    assert "model simplenet-of-somebody-else" not in found
    assert 2 == len(table.stdout.splitlines())
    assert all(line.startswith("*") for line in table.stdout.splitlines())
    assert "1 x ml.c4.xlarge" in table.stdout
    assert {} == things(stored, "--project", "two")


def test_an_endpoint_that_costs_only_while_it_scores_is_not_marked(aws: Aws) -> None:
    """It is listed; and `--running` lists what costs."""
    assert 0 == aws.run("deploy", *ROLE, *MODEL, "--serverless").returncode

    endpoint = things(aws)["endpoint simplenet"]
    running = aws.run("status", "--running")

    assert ("serverless", False) == (endpoint["instances"], endpoint["runs"])
    assert ("", True) == (running.stdout, "nothing runs" in running.stderr)


def test_no_endpoint_of_a_name_is_no_word_of_the_others(aws: Aws) -> None:
    """A misspelt name deletes nothing; what costs goes on, and that must not sound like the end."""
    assert 0 == aws.run("deploy", *ROLE, *MODEL).returncode

    done = aws.run("delete", "--endpoint", "simplenet-tow")

    assert 0 == done.returncode, done.stderr
    assert done.stdout.startswith(f"There is no endpoint simplenet-tow in {REGION}; ")
    assert ["simplenet"] == aws.left()["endpoints"]


def test_delete_leaves_nothing_and_finds_nothing_again(stored: Aws) -> None:
    """Jobs are stopped first, S3, ECR and CloudWatch emptied; a second time is no error."""
    assert 0 == stored.run("deploy", *ROLE, *MODEL).returncode
    stored.settle("CreateTrainingJob", **RUNNING["CreateTrainingJob"])
    assert 0 == stored.run("train", *ROLE, "--no-wait").returncode
    logs, s3 = stored.client("logs"), stored.client("s3")
    logs.create_log_group(logGroupName="/aws/sagemaker/Endpoints/simplenet")
    home = "/aws/sagemaker/Endpoints/simplenet"
    logs.create_log_group(logGroupName=f"{home}-2026-11-27-10-00-00-123")  # of a run's endpoint
    logs.create_log_group(logGroupName=f"{home}-two-2026-11-27-10-00-00-123")
    logs.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
    (job,) = stored.asked("CreateTrainingJob")
    for stream in (f"{job['TrainingJobName']}/algo-1", "of-another-job/algo-1"):
        logs.create_log_stream(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream)
    s3.put_object(Bucket=BUCKET, Key="simplenet-two/data/train.csv", Body=b"1,2")

    planned = stored.run("delete", "--all", "--dry-run", "--json")
    unasked = stored.run("delete", "--all")
    assert [] == stored.asked("StopTrainingJob") + stored.asked("DeleteEndpoint")
    done = stored.run("delete", "--all", "--yes", "--json")
    again = stored.run("delete", "--all", "--yes", "--json")

    assert 2 == unasked.returncode
    assert "give --yes" in unasked.stderr
    assert 0 == done.returncode, done.stderr
    assert json.loads(planned.stdout)["done"] == json.loads(done.stdout)["done"]
    assert {"done": [], "left": []} == json.loads(again.stdout)
    assert NOTHING | {"objects": ["simplenet-two/data/train.csv"]} == stored.left()
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert ["simplenet-two/data/train.csv"] == keys
    groups = [found["logGroupName"] for found in logs.describe_log_groups()["logGroups"]]
    assert [f"{home}-two-2026-11-27-10-00-00-123", "/aws/sagemaker/TrainingJobs"] == groups
    streams = logs.describe_log_streams(logGroupName=groups[1])["logStreams"]
    assert ["of-another-job/algo-1"] == [stream["logStreamName"] for stream in streams]
    assert [] == stored.client("ecr").describe_repositories()["repositories"]


def test_an_account_with_nothing_of_the_project_has_nothing_to_delete(aws: Aws) -> None:
    """Not even a bucket; that is no error."""
    aws.client("ecr").delete_repository(repositoryName="simplenet-sagemaker", force=True)

    done = aws.run("delete", "--all", "--yes")

    assert 0 == done.returncode, done.stderr
    assert "Nothing: there is nothing of the project.\n" == done.stdout


def test_what_cannot_be_had_again_stays_if_the_question_is_answered_with_no(stored: Aws) -> None:
    """At a terminal it asks, and names what would go; with --yes, or after yes, it goes."""
    for answer, code in (("n", 1), ("y", 0)):
        terminal, program = os.openpty()
        os.write(terminal, f"{answer}\n".encode())
        done = subprocess.run(
            [sys.executable, "-m", "client", "delete", "--data"],
            cwd=PROJECT,
            env={**stored.environment, "PYTHONPATH": str(PROJECT)},
            stdin=program,
            capture_output=True,
            text=True,
            check=False,
        )
        os.close(program)
        os.close(terminal)

        listed = stored.client("s3").list_objects_v2(Bucket=BUCKET)
        assert code == done.returncode, done.stderr
        assert f"below s3://{BUCKET}/simplenet" in done.stderr
        assert "This cannot be undone. Delete all of it?" in done.stderr
        assert ("nothing is deleted." in done.stderr) is (answer == "n")
        assert bool(listed["KeyCount"]) is (answer == "n")


def test_a_job_that_is_stopping_is_waited_for(stored: Aws) -> None:
    """It is not stopped once more; past the limit it is left, and that is said."""
    stored.settle("CreateTrainingJob", **RUNNING["CreateTrainingJob"])
    assert 0 == stored.run("train", *ROLE, "--no-wait").returncode
    (job,) = stored.asked("CreateTrainingJob")
    stored.settle("DescribeTrainingJob", training_job_status="Stopping")

    given_up = stored.run("delete", "--jobs", "--logs", "--yes", "--max-minutes", "0.01")
    stored.settle("DescribeTrainingJob", training_job_status="Stopped")
    done = stored.run("delete", "--jobs", "--logs", "--yes")

    assert 1 == given_up.returncode
    left = given_up.stderr.split("what is still there:")[1]
    assert f"wait for training job {job['TrainingJobName']} to end: it is still Stopping" in left
    assert [] == stored.asked("StopTrainingJob")
    assert (0, "Nothing: there is nothing of the project.\n") == (done.returncode, done.stdout)


def test_an_endpoint_that_is_being_created_is_deleted_when_it_is_there(aws: Aws) -> None:
    """It is waited for, and says so; with a limit, after which it is left, and what it needs."""
    assert 0 == aws.run("deploy", *ROLE, *MODEL).returncode
    aws.settle("DescribeEndpoint", endpoint_status="Creating")
    aws.refuse(*BUSY)

    given_up = aws.run("delete", "--endpoint", "simplenet", "--max-minutes", "0.01")
    left = aws.left()
    aws.refuse(*BUSY, times=1)
    done = aws.run("delete", "--endpoint", "simplenet")

    assert 1 == given_up.returncode
    assert "still Creating" in given_up.stderr.split("what is still there:")[1]
    assert ["simplenet"] == left["endpoints"]
    assert (1, 1) == (len(left["configurations"]), len(left["models"]))
    assert 2 == given_up.stderr.count("an endpoint that is left may need it")
    assert 0 == done.returncode, done.stderr
    assert "simplenet: Creating, and can be deleted only when that ends" in done.stderr
    assert NOTHING == aws.left()


def test_an_interrupted_deletion_names_what_it_has_not_come_to(aws: Aws) -> None:
    """It can be typed again."""
    assert 0 == aws.run("deploy", *ROLE, *MODEL).returncode
    aws.settle("DescribeEndpoint", endpoint_status="Updating")
    aws.refuse(*BUSY)

    done = aws.interrupt_at(["can be deleted only when that ends"], "delete")

    last = done.stderr.splitlines()[-1]
    assert 130 == done.returncode, done.stderr
    assert last.startswith("Interrupted. Not done, so type it again: delete endpoint simplenet; ")
    assert "delete endpoint configuration simplenet" in last
    assert "delete model simplenet" in last


def test_older_versions_go_too_where_the_bucket_keeps_them(stored: Aws) -> None:
    """They would cost on, out of sight; without the right to list them, that is said."""
    s3 = stored.client("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    key = "simplenet/data/train/train.csv"
    for body in (b"1", b"22"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    s3.delete_object(Bucket=BUCKET, Key=key)
    s3.put_object(Bucket=BUCKET, Key="simplenet-two/a", Body=b"1")
    delete = ("delete", "--data", "--yes", "--json")

    stored.refuse("ListBucketVersions", "AccessDenied", "Access Denied")
    (partly,) = json.loads(stored.run(*delete).stdout)["done"]
    stored.refuse("DeleteObjectVersion", "AccessDenied", "Access Denied")
    refused = stored.run(*delete)
    stored.refuse("Nothing", "", "")
    (wholly,) = json.loads(stored.run(*delete).stdout)["done"]

    assert "older versions stay, and cost, if the bucket keeps them" in partly
    assert 1 == refused.returncode
    assert "AccessDenied" in refused.stderr or "Access Denied" in refused.stderr
    assert " and 8 older versions, " in wholly
    left = s3.list_object_versions(Bucket=BUCKET)
    assert ["simplenet-two/a"] == [found["Key"] for found in left["Versions"]]
    assert "DeleteMarkers" not in left


def test_an_image_is_its_repository_whatever_names_it(stored: Aws) -> None:
    """By its tag, its digest or its address; one of another registry is left alone."""
    ecr = stored.client("ecr")
    (image,) = ecr.describe_images(repositoryName="simplenet-sagemaker")["imageDetails"]
    registry = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
    digest = f"{registry}/simplenet-sagemaker@{image['imageDigest']}"

    for name in ("simplenet-sagemaker", f"{registry}/simplenet-sagemaker:latest", digest):
        planned = stored.run("train", *ROLE, "--dry-run", "--json", "--image", name)
        assert digest == json.loads(planned.stdout)["image"], planned.stderr
    foreign = f"{registry.replace(ACCOUNT, '999999999999')}/simplenet-sagemaker"
    for name, left in ((foreign, 1), (f"{registry}/simplenet-sagemaker:cuda", 0)):
        done = stored.run("delete", "--images", "--yes", "--image", name)
        assert 0 == done.returncode, done.stderr
        assert left == len(ecr.describe_repositories()["repositories"])


def test_delete_says_what_it_could_not_delete(aws: Aws) -> None:
    """And deletes all else; nor does it touch what is another project's."""
    assert 0 == aws.run("deploy", *ROLE, *MODEL).returncode
    aws.refuse("DeleteEndpointConfig", "ThrottlingException", "Rate exceeded")

    done = aws.run("delete", AWS_MAX_ATTEMPTS="1")
    foreign = aws.run("delete", "--endpoint", "simplenet", "--project", "two")

    assert 1 == done.returncode
    assert "delete endpoint configuration simplenet" in done.stderr.split("still there:")[1]
    assert "try again in a minute" in done.stderr
    left = aws.left()
    assert ([], []) == (left["endpoints"], left["models"])
    assert 1 == len(left["configurations"])
    assert 0 == foreign.returncode  # it is gone

    aws.refuse("Nothing", "", "")
    assert 0 == aws.run("deploy", *ROLE, *MODEL, "--endpoint", "third").returncode
    foreign = aws.run("delete", "--endpoint", "third", "--project", "two")
    assert 1 == foreign.returncode
    assert "is not of the project two: it has no tag simplenet:project=two" in foreign.stderr
    foreign = aws.run("deploy", *ROLE, *MODEL, "--endpoint", "third", "--project", "two")
    assert 1 == foreign.returncode
    assert "The endpoint third is not of this project" in foreign.stderr
    left = aws.left()
    assert ["third"] == left["endpoints"]
    assert 1 == len(left["models"])  # nothing was made of the other project's
