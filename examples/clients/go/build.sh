#!/usr/bin/env bash
# examples/clients/go/build.sh [OUT_DIR]: makes OUT_DIR/client (default build/examples/go) with Debian's Go and its packages:
#   golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev protoc-gen-go-1-5 protoc-gen-go-grpc protobuf-compiler
set -euo pipefail
cd "$(dirname "$0")/../../.."
out=${1:-build/examples/go}
mkdir -p "$out/src"
out=$(realpath "$out")
services=(proto/qzo/v1/{common,job,dataset,model,adapter,inference,token,worker}.proto)
protoc -I proto --go_out="$out/src" --go-grpc_out="$out/src" "${services[@]}"
# Debian's packages lie in a GOPATH. In a module: go get google.golang.org/grpc google.golang.org/protobuf.
GO111MODULE=off GOPATH="$out:/usr/share/gocode" GOCACHE="$out/cache" go build -o "$out/client" ./examples/clients/go
