#!/usr/bin/env python3
"""Calls any method of any gRPC server that reflects, as grpcurl does; nothing of QZO's is installed.

    pip install grpcio grpcio-reflection
    qzo-server --dev --reflection
    examples/generic_client/call.py 127.0.0.1:7070                                            # what there is
    examples/generic_client/call.py 127.0.0.1:7070 qzo.v1.JobService/ListJobs '{"parent": "projects/-"}'
    examples/generic_client/call.py 127.0.0.1:7070 qzo.v1.JobService/WatchJob '{"name": "projects/default/jobs/sms-spam"}'

A token in $QZO_TOKEN_FILE goes with the call. With $QZO_TLS_CA, the authorities of the server's certificate, it speaks TLS.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def dial(address: str) -> grpc.Channel:
    authorities = os.environ.get("QZO_TLS_CA")
    if not authorities:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(Path(authorities).read_bytes()))


def main(address: str, method: str = "", body: str = "{}") -> int:
    with dial(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        if not method:
            for service in sorted(database.get_services()):
                try:
                    methods = pool.FindServiceByName(service).methods
                except KeyError:  # one that the server names but cannot describe: gRPC's own health service
                    print(service)
                    continue
                for found in methods:
                    arrow = "→ stream" if found.server_streaming else "→"
                    print(f"{service}/{found.name}({found.input_type.name}) {arrow} {found.output_type.name}")
            return 0
        service, _, name = method.partition("/")
        descriptor = pool.FindServiceByName(service).FindMethodByName(name)
        if descriptor.client_streaming:
            print("call.py: methods that take a stream are not for the command line", file=sys.stderr)
            return 2
        request = json_format.Parse(body, GetMessageClass(descriptor.input_type)(), descriptor_pool=pool)
        kind = channel.unary_stream if descriptor.server_streaming else channel.unary_unary
        call = kind(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        token = os.environ.get("QZO_TOKEN_FILE")
        metadata = [("authorization", f"Bearer {Path(token).read_text().strip()}")] if token else []
        answers = call(request, metadata=metadata)
        try:
            for answer in answers if descriptor.server_streaming else [answers]:
                print(json_format.MessageToJson(answer, descriptor_pool=pool))
        except grpc.RpcError as error:
            print(f"call.py: {error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
