#!/usr/bin/env bash
# examples/clients/java/build.sh [OUT_DIR]: makes OUT_DIR/client (default build/examples/java), a script that runs Client, with Debian's
# packages: default-jdk-headless libgrpc-java protobuf-compiler-grpc-java-plugin protobuf-compiler libprotobuf-java libguava-java
#   libgoogle-gson-java libperfmark-java libnetty-java libnetty-tcnative-java libnetty-tcnative-jni libgeronimo-annotation-1.3-spec-java
set -euo pipefail
cd "$(dirname "$0")/../../.."
out=${1:-build/examples/java}
mkdir -p "$out/src" "$out/classes"
out=$(realpath "$out")
services=(proto/qzo/v1/{common,job,dataset,model,adapter,inference,token,worker}.proto)
protoc -I proto --java_out="$out/src" --plugin=protoc-gen-grpc-java=/usr/bin/grpc_java_plugin --grpc-java_out="$out/src" \
  "${services[@]}" proto/google/rpc/{status,error_details}.proto
classpath=$out/classes
for jar in grpc-{api,context,core,stub,protobuf,protobuf-lite,netty} protobuf guava gson perfmark-api \
  netty-{common,buffer,transport,resolver,handler,codec,codec-http,codec-http2,handler-proxy,tcnative}; do
  classpath+=:/usr/share/java/$jar.jar
done
find "$out/src" -name '*.java' >"$out/sources"
javac -nowarn -d "$out/classes" -cp "$classpath:/usr/share/java/geronimo-annotation-1.3-spec.jar" @"$out/sources" examples/clients/java/Client.java
# Debian's Netty has no ALPN with the JDK's TLS, only with OpenSSL's, whose library it looks for under another name.
install -D /usr/lib/*/jni/libnetty-tcnative.so "$out/lib/libnetty_tcnative.so"
printf '#!/bin/sh\nexec java -Djava.library.path=%q -cp %q Client "$@"\n' "$out/lib" "$classpath" >"$out/client"
chmod +x "$out/client"
