#!/usr/bin/env python3
"""The API as HTTP and JSON, out of the protos and proto/qzo/v1/http.yaml. Needs grpcio-tools, googleapis-common-protos and PyYAML.

    scripts/http_api.py openapi [--check]     makes docs/openapi.yaml, or says whether it is up to date
    scripts/http_api.py descriptors FILE      a descriptor set with google.api.http annotations, which Envoy takes

Both refuse a mapping that does not fit the protos: every method has a rule or a reason to have none, and what a path or a body names is
a field of the request.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, json_format
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
PROTO = ROOT / "proto"
MAPPING = PROTO / "qzo/v1/http.yaml"
OPENAPI = ROOT / "docs/openapi.yaml"
PACKAGE = "qzo.v1"
# Details of errors come as Any, and a gateway writes in JSON only the types that it knows.
SOURCES = [*sorted(str(path.relative_to(PROTO)) for path in (PROTO / "qzo/v1").glob("*.proto")), "google/rpc/error_details.proto"]
UPLOAD = "a header and then a file in pieces: gateways would have to wrap it in JSON. gRPC clients and qzoctl upload"
BETWEEN_PROGRAMS = "between coordinator and workers of one release"
UNMAPPED = {
    "qzo.v1.DatasetService.CreateDataset": UPLOAD,
    "qzo.v1.ModelService.CreateModel": UPLOAD,
    "qzo.v1.Coordination.Work": BETWEEN_PROGRAMS,
    "qzo.v1.Coordination.FetchBlob": BETWEEN_PROGRAMS,
    "qzo.v1.Coordination.PutSnapshot": BETWEEN_PROGRAMS,
    "qzo.v1.Serving.Serve": BETWEEN_PROGRAMS,
    "qzo.v1.StageService.Feed": BETWEEN_PROGRAMS,
}

Field = descriptor_pb2.FieldDescriptorProto
Message = descriptor_pb2.DescriptorProto
Method = descriptor_pb2.MethodDescriptorProto
Schema = dict[str, Any]

INTEGERS = {Field.TYPE_INT32: "int32", Field.TYPE_UINT32: "uint32"}
# Too large for JSON's numbers, hence texts.
LARGE = {Field.TYPE_INT64: "int64", Field.TYPE_UINT64: "uint64", Field.TYPE_FIXED64: "uint64"}
NUMBER: Schema = {
    "oneOf": [{"type": "number", "format": "double"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}],
    "description": "What is not finite is a text",
}
WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d+)?s$"},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "additionalProperties": True},
    "google.protobuf.Empty": {"type": "object"},
}


class Api:
    """The protos' descriptors, and their comments, by full name."""

    def __init__(self) -> None:
        self.set = _compile()
        self.messages: dict[str, Message] = {}
        self.enums: dict[str, descriptor_pb2.EnumDescriptorProto] = {}
        self.methods: dict[str, Method] = {}
        self.comments: dict[str, str] = {}
        for file in self.set.file:
            self._at = {tuple(at.path): _prose(at.leading_comments, at.trailing_comments) for at in file.source_code_info.location}
            for i, message in enumerate(file.message_type):
                self._add_message(f"{file.package}.{message.name}", message, (4, i))
            for i, enum in enumerate(file.enum_type):
                self._add_enum(f"{file.package}.{enum.name}", enum, (5, i))
            for i, service in enumerate(file.service):
                name = f"{file.package}.{service.name}"
                self.comments[name] = self._at.get((6, i), "")
                for j, method in enumerate(service.method):
                    self.methods[f"{name}.{method.name}"] = method
                    self.comments[f"{name}.{method.name}"] = self._at.get((6, i, 2, j), "")

    def _add_message(self, name: str, message: Message, path: tuple[int, ...]) -> None:
        self.messages[name] = message
        self.comments[name] = self._at.get(path, "")
        for i, field in enumerate(message.field):
            self.comments[f"{name}.{field.name}"] = self._at.get((*path, 2, i), "")
        for i, nested in enumerate(message.nested_type):
            self._add_message(f"{name}.{nested.name}", nested, (*path, 3, i))
        for i, enum in enumerate(message.enum_type):
            self._add_enum(f"{name}.{enum.name}", enum, (*path, 4, i))

    def _add_enum(self, name: str, enum: descriptor_pb2.EnumDescriptorProto, path: tuple[int, ...]) -> None:
        self.enums[name] = enum
        values = [(value.name, self._at.get((*path, 2, i), "")) for i, value in enumerate(enum.value)]
        parts = [self._at.get(path, ""), *(f"{value}: {text}" for value, text in values if text)]
        self.comments[name] = "; ".join(filter(None, parts))


def _compile() -> descriptor_pb2.FileDescriptorSet:
    with tempfile.NamedTemporaryFile() as out:
        includes = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
        flags = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out.name}"]
        if protoc.main(["protoc", *includes, *flags, *SOURCES]) != 0:
            raise SystemExit("http_api.py: the protos do not compile")
        return descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes())


def _prose(*comments: str) -> str:
    """One paragraph; rules that separate sections are no comments on what follows them."""
    lines = [line.strip() for comment in comments for line in comment.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("---"))


def read_mapping() -> list[http_pb2.HttpRule]:
    config = yaml.safe_load(MAPPING.read_text())
    return [json_format.ParseDict(rule, http_pb2.HttpRule()) for rule in config["http"]["rules"]]


def bindings(rule: http_pb2.HttpRule) -> Iterator[tuple[str, str, str]]:
    """Verb, path and body of a rule and of its additional bindings."""
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        yield verb, getattr(one, verb), one.body


def variables(path: str) -> dict[str, str]:
    """Field of the request → the names that it may have."""
    return dict(re.findall(r"\{(\w+)=([^}]+)\}", path))


def fits_in_a_query(field: Field) -> bool:
    return field.type != Field.TYPE_MESSAGE or WELL_KNOWN.get(field.type_name.lstrip("."), {}).get("type") == "string"


def problems(api: Api, rules: list[http_pb2.HttpRule], unmapped: dict[str, str]) -> list[str]:
    found, seen = [], {}
    own = {name for name in api.methods if name.startswith(PACKAGE)}
    mapped = [rule.selector for rule in rules]
    found += [f"{name}: no rule, and no reason for that" for name in sorted(own - set(mapped) - set(unmapped))]
    found += [f"{name}: no such method" for name in sorted((set(mapped) | set(unmapped)) - own)]
    found += [f"{name}: a rule, and a reason to have none" for name in sorted(set(mapped) & set(unmapped))]
    found += [f"{name}: two rules" for name in sorted({name for name in mapped if mapped.count(name) > 1})]
    for rule in rules:
        if rule.selector not in own:
            continue
        method = api.methods[rule.selector]
        fields = {field.name: field for field in api.messages[method.input_type.lstrip(".")].field}
        if method.client_streaming:
            found.append(f"{rule.selector}: takes a stream")
        for verb, path, body in bindings(rule):
            here = f"{rule.selector}: {verb} {path}"
            for variable in variables(path):
                if variable not in fields or fields[variable].type != Field.TYPE_STRING:
                    found.append(f"{here}: {variable} is no text of {method.input_type}")
            if re.search(r"[{}=*]", re.sub(r"\{\w+=[\w/*-]+\}", "", path)) or not path.startswith("/v1/"):
                found.append(f"{here}: not a path of this API")
            if body not in ("", "*") and body not in fields:
                found.append(f"{here}: {body} is no field of {method.input_type}")
            if (verb == "post") != bool(body):
                found.append(f"{here}: {'needs a' if verb == 'post' else 'has no'} body")
            if not body or body != "*":
                left = [fields[name] for name in fields if name not in variables(path) and name != body]
                found += [f"{here}: {field.name} does not fit in a query" for field in left if not fits_in_a_query(field)]
            expected = expected_form(method)
            if expected and not re.fullmatch(expected, f"{verb} {path} {body}".strip()):
                found.append(f"{here}: expected as {expected}")
            place = (verb, re.sub(r"\{\w+=([^}]+)\}", r"\1", path))
            if place in seen:
                found.append(f"{here}: {seen[place]} has that path, too")
            seen[place] = rule.selector
    return found


def expected_form(method: Method) -> str:
    """What AIP-131 to 136 make of a method's name."""
    standard = re.fullmatch(r"(Get|List|Create|Delete)(\w+)", method.name)
    if not standard:
        return r"(get|post) /v1/.*\}:[a-z][A-Za-z]*( \*)?"
    words = re.findall("[A-Z][a-z]+", standard[2])
    # JobEvents of a job are its events.
    kind = f"({words[0].lower() + ''.join(words[1:])}|{words[-1].lower()})"
    return {
        "Get": rf"get /v1/\{{name=(projects/\*/)?{kind}s/\*\}}",
        "List": rf"get /v1/(\{{parent=projects/\*(/jobs/\*)?\}}/)?{kind}",
        "Create": rf"post /v1/\{{parent=projects/\*\}}/{kind}s {kind}",
        "Delete": rf"delete /v1/\{{name=projects/\*/{kind}s/\*\}}",
    }[standard[1]]


def annotated(api: Api, rules: list[http_pb2.HttpRule]) -> descriptor_pb2.FileDescriptorSet:
    """The descriptors as they would be with `option (google.api.http)` in the protos, without the comments."""
    by_selector = {rule.selector: rule for rule in rules}
    result = descriptor_pb2.FileDescriptorSet()
    result.CopyFrom(api.set)
    for file in result.file:
        file.ClearField("source_code_info")
        for service in file.service:
            for method in service.method:
                if rule := by_selector.get(f"{file.package}.{service.name}.{method.name}"):
                    option = method.options.Extensions[annotations_pb2.http]
                    option.CopyFrom(rule)
                    option.ClearField("selector")
    return result


class OpenApi:
    """Makes the document. Schemas are those of messages that a mapped method reaches."""

    def __init__(self, api: Api, rules: list[http_pb2.HttpRule]):
        self._api = api
        self._rules = rules
        self._schemas: dict[str, Schema] = {"Number": NUMBER}

    def document(self) -> Schema:
        paths: dict[str, Schema] = {}
        for rule in self._rules:
            for i, (verb, path, body) in enumerate(bindings(rule)):
                place, parameters = self._path(path)
                paths.setdefault(place, {})[verb] = self._operation(rule.selector, i, path, parameters, body)
        services = sorted({rule.selector.rpartition(".")[0] for rule in self._rules})
        self._reference("google.rpc.Status")
        for detail in ("ErrorInfo", "BadRequest", "RetryInfo", "ResourceInfo"):
            self._reference(f"google.rpc.{detail}")
        return {
            "openapi": "3.0.3",
            "info": {
                "title": "QZO",
                "version": "v1",
                "description": "The gRPC API qzo.v1 as gateways write it in HTTP and JSON (docs/http.md). Made by scripts/http_api.py from the "
                "protos and proto/qzo/v1/http.yaml. Uploads of datasets and models are not in it.",
                "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            },
            "servers": [{"url": "http://127.0.0.1:8080", "description": "deploy/envoy on the same machine"}],
            "security": [{"token": []}],
            "tags": [self._tag(service) for service in services],
            "paths": dict(sorted(paths.items())),
            "components": {
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "The secret of a token (qzoctl token create)"}},
                "schemas": dict(sorted(self._schemas.items())),
            },
        }

    def _tag(self, service: str) -> Schema:
        return {"name": service.rpartition(".")[2], **self._description(service)}

    def _description(self, name: str) -> Schema:
        return {"description": text} if (text := self._api.comments[name]) else {}

    def _path(self, path: str) -> tuple[str, list[Schema]]:
        """{name=projects/*/jobs/*} → projects/{project}/jobs/{job}, and those parameters."""
        parameters: list[Schema] = []

        def name(match: re.Match[str]) -> str:
            parts: list[str] = []
            for part in match[2].split("/"):
                if part == "*":
                    collection = parts[-1].removesuffix("s")
                    parameters.append({"name": collection, "in": "path", "required": True, "schema": {"type": "string"}})
                    part = f"{{{collection}}}"
                parts.append(part)
            return "/".join(parts)

        return re.sub(r"\{(\w+)=([^}]+)\}", name, path), parameters

    def _operation(self, selector: str, binding: int, path: str, parameters: list[Schema], body: str) -> Schema:
        method = self._api.methods[selector]
        service = selector.split(".")[-2]
        request = method.input_type.lstrip(".")
        rest = [field for field in self._api.messages[request].field if field.name not in variables(path)]
        operation: Schema = {"operationId": f"{service}_{method.name}{binding + 1 if binding else ''}", "tags": [service]}
        operation |= self._description(selector)
        if body != "*":
            parameters = parameters + [self._query(request, field) for field in rest if field.name != body]
        operation["parameters"] = parameters
        if body:
            whole = body == "*"
            schema = self._object(request, rest) if whole else self._type(next(field for field in rest if field.name == body))
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        answer = self._message(method.output_type.lstrip("."))
        description = "OK"
        if method.server_streaming:
            answer, description = {"type": "array", "items": answer}, "A stream: elements of the array come as they are made"
        operation["responses"] = {
            "200": {"description": description, "content": {"application/json": {"schema": answer}}},
            "default": {
                "description": "An error: docs/errors.md lists the reasons",
                "content": {"application/json": {"schema": self._message("google.rpc.Status")}},
            },
        }
        return operation

    def _query(self, request: str, field: Field) -> Schema:
        parameter: Schema = {"name": field.json_name, "in": "query", "schema": self._type(field)}
        return parameter | self._description(f"{request}.{field.name}")

    def _object(self, owner: str, fields: Iterable[Field]) -> Schema:
        properties = {}
        for field in fields:
            schema, description = self._type(field), self._description(f"{owner}.{field.name}")
            if description and "$ref" in schema:  # beside which nothing counts
                schema = {"allOf": [schema]}
            properties[field.json_name] = schema | description
        return {"type": "object", **({"properties": properties} if properties else {})}

    def _type(self, field: Field) -> Schema:
        name = field.type_name.lstrip(".")
        message = self._api.messages.get(name)
        if message is not None and message.options.map_entry:
            return {"type": "object", "additionalProperties": self._type(message.field[1])}
        one = self._one(field, name)
        return {"type": "array", "items": one} if field.label == Field.LABEL_REPEATED else one

    def _one(self, field: Field, name: str) -> Schema:
        if field.type == Field.TYPE_MESSAGE:
            return self._message(name)
        if field.type == Field.TYPE_ENUM:
            return self._reference(name)
        if field.type in INTEGERS:
            return {"type": "integer", **({"minimum": 0} if field.type == Field.TYPE_UINT32 else {}), "format": INTEGERS[field.type]}
        if field.type in LARGE:
            return {"type": "string", "format": LARGE[field.type]}
        if field.type in (Field.TYPE_DOUBLE, Field.TYPE_FLOAT):
            return {"$ref": "#/components/schemas/Number"}
        if field.type == Field.TYPE_BYTES:
            return {"type": "string", "format": "byte"}
        return {"type": "boolean" if field.type == Field.TYPE_BOOL else "string"}

    def _message(self, name: str) -> Schema:
        return dict(WELL_KNOWN[name]) if name in WELL_KNOWN else self._reference(name)

    def _reference(self, name: str) -> Schema:
        key = name.removeprefix(f"{PACKAGE}.")
        if key not in self._schemas:
            self._schemas[key] = {}  # a message may hold itself
            if name in self._api.enums:
                schema: Schema = {"type": "string", "enum": [value.name for value in self._api.enums[name].value]}
            else:
                schema = self._object(name, self._api.messages[name].field)
            self._schemas[key] = schema | self._description(name)
        return {"$ref": f"#/components/schemas/{key}"}


def written(document: Schema) -> str:
    return "# Made by scripts/http_api.py: do not edit.\n" + yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, width=140, default_flow_style=False
    )


def main(arguments: list[str]) -> int:
    api, rules = Api(), read_mapping()
    if found := problems(api, rules, UNMAPPED):
        print("\n".join(found), file=sys.stderr)
        return 1
    match arguments:
        case ["descriptors", path]:
            Path(path).write_bytes(annotated(api, rules).SerializeToString(deterministic=True))
        case ["openapi"]:
            OPENAPI.write_text(written(OpenApi(api, rules).document()))
        case ["openapi", "--check"]:
            if not OPENAPI.exists() or yaml.safe_load(OPENAPI.read_text()) != OpenApi(api, rules).document():
                print("docs/openapi.yaml is not what the protos say: run scripts/http_api.py openapi", file=sys.stderr)
                return 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
