"""moto's proxy, which also writes down what it is asked, and refuses what it is told to refuse.

It refuses all that client/iam/user.json does not allow, too: what the tests see done needs no more.
It adds what moto's SageMaker lacks: jobs that are stopped, endpoints that score or are updated,
and chosen states.

usage: recording_proxy.py DIRECTORY PORT

DIRECTORY/requests.jsonl gets a line a request. DIRECTORY/refusals.json may hold, by action, the
code and message with which AWS would refuse it, and how often; DIRECTORY/outcomes.json the
attributes of what an action makes. An action whose ACTION.gate is there, a pipe, is answered when
that is opened and closed.
"""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_proxy.proxy3 import MotoRequestHandler
from moto.proxy import main
from moto.s3.models import s3_backends
from moto.sagemaker.models import sagemaker_backends

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DIRECTORY, PORT = Path(sys.argv[1]), sys.argv[2]
PROJECT = Path(__file__).parents[2]

#: The access key of the tests themselves; any other is the program's.
INSPECTOR = "inspector"
_answer = MotoRequestHandler.parse_request


def answer(
    self: MotoRequestHandler, method: str, host: str, path: str, headers: Any, body: bytes | None
) -> Any:
    """Write the request down, and let moto answer it, or refuse it."""
    user = re.search("Credential=([^/]+)/", headers.get("Authorization", ""))
    if user is None or user[1] == INSPECTOR:
        return _answer(self, method, host, path, headers, body)
    request = Request(urlsplit(host).netloc, method, path, headers, body or b"")
    with (DIRECTORY / "requests.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(request.record) + "\n")
    if (gate := DIRECTORY / f"{request.action}.gate").exists():
        gate.read_bytes()
    refusals = told("refusals.json")
    refused = refusals.get(request.action)
    if refused and refused["times"]:
        refused["times"] -= 1
        (DIRECTORY / "refusals.json").write_text(json.dumps(refusals), "utf-8")
        return request.refusal(refused["code"], refused["message"])
    for permission in request.permissions():
        if not is_allowed(*permission):
            action, resource, _ = permission
            said = f"User: {user[1]} is not authorized to perform: {action} on resource: {resource}"
            return request.refusal("AccessDeniedException", said)
    chosen = told("outcomes.json")
    if request.action.startswith("Describe"):
        settle(request.host, request.action, request.body, chosen)
    reply = add(request.host, path, request.action, request.body, headers)
    if reply is None:
        reply = _answer(self, method, host, path, headers, body)
        if request.action == "CreateEndpointConfig":
            made = _find(request.host, request.action, json.loads(request.body))
            made.arn = made.endpoint_config_arn  # moto itself keeps it in a tuple
    settle(request.host, request.action, request.body, chosen)
    return reply


def told(name: str) -> dict[str, Any]:
    """Return what a test wrote down for this proxy."""
    file = DIRECTORY / name
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return found


@dataclass(frozen=True)
class Request:
    """What one of AWS' services is asked."""

    host: str
    method: str
    path: str
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        """The body, as far as it is text."""
        return self.body.decode("utf-8", "replace")

    @property
    def record(self) -> dict[str, Any]:
        """What a test may look at: of the body what says what is asked, and is no data."""
        says = self.text.startswith(("{", "Action="))
        return {
            "action": self.action,
            "body": self.text if says else "",
            "headers": dict(self.headers.items()),
        }

    @property
    def service(self) -> str:
        """Its name in policies."""
        name = self.host.split(".amazonaws")[0].removeprefix("api.").removeprefix("runtime.")
        if ".s3" in f".{name}":
            return "s3"
        return {"tagging": "tag"}.get(name.split(".")[0], name.split(".")[0])

    @property
    def action(self) -> str:
        """Its name, such as CreateTrainingJob."""
        if target := self.headers.get("X-Amz-Target"):
            return str(target).rpartition(".")[2]
        if self.service == "s3":
            return self._s3_action()
        if self.service == "sagemaker":
            return "InvokeEndpointAsync" if "async" in self.path else "InvokeEndpoint"
        return parse_qs(self.text).get("Action", [""])[0]

    def _s3_action(self) -> str:
        if self.host.startswith("s3."):
            return "ListAllMyBuckets"
        path, _, query = self.path.partition("?")
        of_bucket = path == "/"
        if query == "delete":
            return "DeleteObjectVersion" if "<VersionId>" in self.text else "DeleteObject"
        if query.startswith("versions"):
            return "ListBucketVersions"
        if query == "location":
            return "GetBucketLocation"
        kinds = {"PUT": "CreateBucket"} if of_bucket else {"PUT": "PutObject", "POST": "PutObject"}
        kinds |= {"DELETE": "DeleteBucket" if of_bucket else "DeleteObject"}
        return kinds.get(self.method, "ListBucket" if of_bucket else "GetObject")

    def permissions(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yield what is needed to ask this: an action, a resource, and what conditions look at."""
        asked = json.loads(self.body) if self.headers.get("X-Amz-Target") else {}
        if invoked := re.match("/endpoints/([^/]+)/", self.path):
            asked = {"EndpointName": invoked[1]}
        # AWS knows no tag of what is not there.
        tags = getattr(_find(self.host, self.action, asked), "tags", None) or []
        context = {f"aws:ResourceTag/{tag['Key']}": tag["Value"] for tag in tags}
        context |= {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in asked.get("Tags", [])}
        for resource in self._resources(asked):
            yield f"{self.service}:{self.action}", resource, context
        if asked.get("Tags") and self.service == "sagemaker":
            yield "sagemaker:AddTags", "arn:aws:sagemaker:::", context
        described = self.text if self.headers.get("X-Amz-Target") else ""
        for role in re.findall(r'Role(?:Arn)?": "(arn:[^"]+)"', described):
            yield "iam:PassRole", role, {"iam:PassedToService": "sagemaker.amazonaws.com"}

    def _resources(self, asked: Mapping[str, Any]) -> list[str]:
        if self.service == "s3" and not self.host.startswith("s3."):
            bucket = f"arn:aws:s3:::{self.host.split('.s3')[0]}"
            path = self.path.partition("?")[0].strip("/")
            keys = re.findall("<Key>(.*?)</Key>", self.text) or ([path] if path else [])
            return [f"{bucket}/{key}" for key in keys] or [bucket]
        if self.service == "logs" and "logGroupName" in asked:
            return [f"arn:aws:logs:::log-group:{asked['logGroupName']}"]
        if self.service == "ecr":
            name = asked.get("repositoryName") or "".join(asked.get("repositoryNames", []))
            return [f"arn:aws:ecr:::repository/{name}"]
        if self.service == "iam":
            words = parse_qs(self.text)
            if "RoleName" in words:
                return [f"arn:aws:iam:::role/{words['RoleName'][0]}"]
            return [words["PolicySourceArn"][0].replace(":sts:", ":iam:")]  # moto's user is odd
        return [f"arn:aws:{self.service}:::"]

    def refusal(self, code: str, message: str) -> tuple[int, dict[str, str], str]:
        """Return AWS' answer that it will not, in the language of the service."""
        status = 403 if code.startswith(("AccessDenied", "Expired", "Invalid")) else 400
        if self.service == "sagemaker" or self.headers.get("X-Amz-Target"):
            said = {"__type": code, "message": message}
            return status, {"x-amzn-errortype": code}, json.dumps(said)
        error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        if self.service != "s3":
            error = f"<ErrorResponse>{error}</ErrorResponse>"
        return status, {}, "" if self.method == "HEAD" else error


def is_allowed(action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Tell whether client/iam/user.json allows something; all its statements allow."""
    policy = json.loads((PROJECT / "client" / "iam" / "user.json").read_text("utf-8"))
    return any(
        _matches(statement["Action"], action)
        and _matches(statement["Resource"], resource)
        and all(
            _holds(operator, key, wanted, context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
        for statement in policy["Statement"]
    )


def _matches(patterns: str | list[str], name: str) -> bool:
    several = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(name, pattern) for pattern in several)


def _holds(operator: str, key: str, wanted: str, context: Mapping[str, str]) -> bool:
    if operator == "Null":
        return (key not in context) == (wanted == "true")
    if operator == "StringEquals":
        return context.get(key) == wanted
    raise ValueError(operator)


# By the noun of an action, which is also in what names one: where moto keeps them.
_KEPT = {
    "TrainingJob": "training_jobs",
    "HyperParameterTuningJob": "hyper_parameter_tuning_jobs",
    "TransformJob": "transform_jobs",
    "Endpoint": "endpoints",
    "EndpointConfig": "endpoint_configs",
    "Model": "_models",
}
# By the action that stops one: where moto keeps its state.
_STOPPED_BY = {
    "StopTrainingJob": "training_job_status",
    "StopHyperParameterTuningJob": "hyper_parameter_tuning_job_status",
    "StopTransformJob": "transform_job_status",
}


def settle(host: str, action: str, body: bytes, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
    """Give what an action makes or describes the attributes that a test chose for it."""
    if action in outcomes and (made := _find(host, action, json.loads(body))):
        for attribute, value in outcomes[action].items():
            setattr(made, attribute, value)


def add(host: str, path: str, action: str, body: bytes, headers: Any) -> Any:
    """Return the answer to what moto has none for; None for all else."""
    if action in _STOPPED_BY:
        setattr(_find(host, action, json.loads(body)), _STOPPED_BY[action], "Stopped")
        return 200, {}, "{}"
    if action == "UpdateEndpoint":
        asked = json.loads(body)
        endpoint = _find(host, action, asked)
        endpoint.endpoint_config_name = asked["EndpointConfigName"]
        return 200, {}, json.dumps({"EndpointArn": endpoint.arn})
    if action == "SimulatePrincipalPolicy":
        return 200, {}, _simulate(parse_qs(body.decode("utf-8")))
    if action == "InvokeEndpointAsync":
        return _queue(headers["X-Amzn-SageMaker-InputLocation"])
    if re.fullmatch("/endpoints/[^/]+/invocations", path) and body.startswith(b"\x93NUMPY"):
        return 200, {"Content-Type": "application/x-npy"}, _scores(body)
    return None


def _simulate(asked: Mapping[str, list[str]]) -> str:
    """Say of each action whether client/iam/user.json allows it."""
    resource = asked["ResourceArns.member.1"][0]
    actions = [words[0] for name, words in asked.items() if name.startswith("ActionNames.")]
    decided = "".join(
        f"<member><EvalActionName>{action}</EvalActionName><EvalDecision>"
        f"{'allowed' if is_allowed(action, resource, {}) else 'implicitDeny'}"
        "</EvalDecision></member>"
        for action in actions
    )
    return (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<SimulatePrincipalPolicyResult><EvaluationResults>{decided}</EvaluationResults>"
        "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    )


def _queue(rows: str) -> tuple[int, dict[str, str], str]:
    """Leave a reply to rows in S3 at once, or the refusal of rows that are no numbers."""
    bucket, _, key = rows.removeprefix("s3://").partition("/")
    s3 = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    found = s3.get_object(bucket, key)
    scored = found is not None and b"," in found.value
    place, said = ("replies", b"0.75\n") if scored else ("failures", b"expected a number")
    s3.put_object(bucket, f"{key}.{place}", value=said)
    locations = {
        f"X-Amzn-SageMaker-{name}Location": f"{rows}.{where}"
        for name, where in (("Output", "replies"), ("Failure", "failures"))
    }
    return 202, locations, json.dumps({"InferenceId": "1"})


def _scores(body: bytes) -> bytes:
    """Score each row by its first feature, as a container would in form."""
    rows = np.load(io.BytesIO(body), allow_pickle=False)
    scores = io.BytesIO()
    np.save(scores, (rows[:, :1] < 0.5).astype(np.float32), allow_pickle=False)
    return scores.getvalue()


def _find(host: str, action: str, asked: Mapping[str, Any]) -> Any:
    """Return moto's own object of what a request to SageMaker names; None if there is none."""
    found = re.search(r"sagemaker\.([\w-]+)\.amazonaws", host)
    noun = re.sub("^(Create|Describe|Update|Delete|Stop|Invoke)|Async$", "", action)
    if not found or noun not in _KEPT:
        return None
    kept = getattr(sagemaker_backends[DEFAULT_ACCOUNT_ID][found[1]], _KEPT[noun])
    return kept.get(asked.get(f"{noun}Name"))


MotoRequestHandler.parse_request = answer  # type: ignore[method-assign]
main(["-H", "127.0.0.1", "-p", PORT])
