"""proto/qzo/v1/http.yaml against the protos, and what is made of both. Nothing runs and nothing is fetched."""

from __future__ import annotations

import copy

import http_api
import pytest
import yaml
from google.api import annotations_pb2, http_pb2
from http_api import ROOT, UNMAPPED
from openapi_spec_validator import OpenAPIV30SpecValidator

API = http_api.Api()
RULES = http_api.read_mapping()


def test_every_method_has_a_path_or_a_reason_to_have_none():
    assert http_api.problems(API, RULES, UNMAPPED) == []
    assert len(RULES) + len(UNMAPPED) == sum(name.startswith("qzo.v1.") for name in API.methods)
    text = (ROOT / "docs/http.md").read_text()
    assert [name for name in UNMAPPED if f"`{name.removeprefix('qzo.v1.')}`" not in text] == []


CREATE, DELETE, SCORE = "qzo.v1.JobService.CreateJob", "qzo.v1.JobService.DeleteJob", "qzo.v1.InferenceService.Score"


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"selector": CREATE, "post": "/v1/{parent=projects/*}/jobs", "body": "jbo"}, "jbo is no field"),
        ({"selector": CREATE, "post": "/v1/{parent=projects/*}/jobs"}, "needs a body"),
        ({"selector": CREATE, "post": "/v1/{parent=projects/*}/runs", "body": "job"}, "expected as post"),
        ({"selector": CREATE, "post": "/v1/{project=projects/*}/jobs", "body": "job"}, "project is no text"),
        ({"selector": DELETE, "delete": "/v1/{force=projects/*/jobs/*}"}, "force is no text"),
        ({"selector": DELETE, "delete": "/v1/projects/*/jobs/*"}, "not a path"),
        ({"selector": SCORE, "get": "/v1/{parent=projects/*}:score"}, "task does not fit in a query"),
        ({"selector": SCORE, "post": "/v1/{parent=projects/*}:generate", "body": "*"}, "Generate has that path, too"),
        ({"selector": "qzo.v1.Coordination.Work", "post": "/v1/{work=*}:work", "body": "*"}, "takes a stream"),
        ({"selector": "qzo.v1.JobService.Creat", "get": "/v1/{name=jobs/*}:x"}, "no such method"),
    ],
)
def test_what_does_not_fit_is_found(rule, complaint):
    rules = [one for one in RULES if one.selector != rule["selector"]]
    rules.append(http_api.json_format.ParseDict(rule, http_pb2.HttpRule()))
    assert any(complaint in problem for problem in http_api.problems(API, rules, UNMAPPED))


def test_a_method_that_is_forgotten_or_named_twice_is_found():
    assert any("no rule" in problem for problem in http_api.problems(API, RULES[1:], UNMAPPED))
    assert any("two rules" in problem for problem in http_api.problems(API, [*RULES, RULES[0]], UNMAPPED))
    both = UNMAPPED | {RULES[0].selector: "why not"}
    assert any("a reason to have none" in problem for problem in http_api.problems(API, RULES, both))


def test_the_openapi_document_is_valid_and_that_of_the_protos():
    document = yaml.safe_load(http_api.OPENAPI.read_text())
    OpenAPIV30SpecValidator(copy.deepcopy(document)).validate()
    assert document == http_api.OpenApi(API, RULES).document(), "scripts/http_api.py openapi"
    operations = [operation for place in document["paths"].values() for operation in place.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == 1 + len(RULES)


def test_envoy_gets_annotations_and_transcodes_every_service_that_has_some():
    services = {f"{file.package}.{service.name}": service for file in http_api.annotated(API, RULES).file for service in file.service}
    create = next(method for method in services["qzo.v1.JobService"].method if method.name == "CreateJob")
    assert create.options.Extensions[annotations_pb2.http].body == "job"
    config = (ROOT / "deploy/envoy/envoy.yaml").read_text()
    listed = {name for name in services if f"- {name}\n" in config}
    assert listed == {rule.selector.rpartition(".")[0] for rule in RULES}
