# Images of the coordinator, of a CPU worker and of a worker for NVIDIA GPUs:
#   docker build --target coordinator -t qzo-coordinator .
#   docker build --target worker-cpu -t qzo-worker-cpu .
#   docker build --target worker-cuda -t qzo-worker-cuda .
#   docker build --target worker-cuda-nccl -t qzo-worker-cuda-nccl .
# In clear text on a network of their own (docs/deploy.md has more, docs/security.md what else there is):
#   docker network create qzo
#   docker run -d --network qzo --name qzo -p 127.0.0.1:7070:7070 -v qzo-data:/var/lib/qzo qzo-coordinator \
#     --listen 0.0.0.0:7070 --insecure
#   docker run -d --network qzo -v qzo-models:/var/cache/qzo qzo-worker-cpu --server qzo:7070 --insecure
FROM debian:bookworm-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY scripts/packages.txt scripts/
# Versions are those of the Debian release, which only gets fixes.
# hadolint ignore=DL3008
RUN apt-get update \
  && grep -v '^#' scripts/packages.txt | DEBIAN_FRONTEND=noninteractive xargs apt-get install -y --no-install-recommends \
  && rm -rf /var/lib/apt/lists/*
# As on most machines: compilers' caches keep languages apart.
ENV LANG=C.UTF-8
COPY . .
RUN cmake --preset release -DQZO_TESTS=OFF -DQZO_BENCH=OFF \
  && cmake --build --preset release --target qzo-server qzo-worker qzoctl \
  && strip build/release/bin/qzo-server build/release/bin/qzo-worker build/release/bin/qzoctl

# The shared libraries that both programs link.
FROM debian:bookworm-slim AS runtime
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends \
    libabsl20220623 libcpp-httplib0.11 libfmt9 libgrpc++1.51 libgrpc29 libpcre2-8-0 libprometheus-cpp-core1.0 \
    libprotobuf32 libspdlog1.10 libssl3 libutf8proc2 libxxhash0 \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 10001 --create-home --home-dir /home/qzo --shell /usr/sbin/nologin qzo
COPY LICENSE /usr/share/doc/qzo/

FROM runtime AS coordinator
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends libpng16-16 libsqlite3-0 libyaml-cpp0.7 \
  && rm -rf /var/lib/apt/lists/* \
  && install -d -o qzo -g qzo /var/lib/qzo
COPY --from=build /src/build/release/bin/qzo-server /src/build/release/bin/qzoctl /usr/local/bin/
ENV QZO_DATA_DIR=/var/lib/qzo
VOLUME /var/lib/qzo
EXPOSE 7070 7080 9464
USER 10001
# Asks this container's own server.
HEALTHCHECK --interval=10s --timeout=15s --start-period=30s CMD ["qzoctl", "--quiet", "get", "workers"]
ENTRYPOINT ["qzo-server"]

FROM runtime AS worker
RUN install -d -o qzo -g qzo /var/cache/qzo
ENV QZO_CACHE_DIR=/var/cache/qzo
VOLUME /var/cache/qzo
EXPOSE 9465
USER 10001
ENTRYPOINT ["qzo-worker"]

FROM worker AS worker-cpu
COPY --from=build /src/build/release/bin/qzo-worker /usr/local/bin/

# The same tree with NVIDIA's compiler, which PyPI has. nvcc looks for its libraries in lib64, CMake for the runtime without a version.
FROM build AS build-cuda
COPY scripts/packages-cuda.txt scripts/
RUN python3 -m venv /tmp/venv \
  && /tmp/venv/bin/pip install --no-cache-dir --no-deps --target /opt/cuda -r scripts/packages-cuda.txt \
  && ln -s lib /opt/cuda/nvidia/cu13/lib64 \
  && ln -s libcudart.so.13 /opt/cuda/nvidia/cu13/lib/libcudart.so
ENV CUDA_PATH=/opt/cuda/nvidia/cu13 NCCL_HOME=/opt/cuda/nvidia/nccl
RUN cmake --preset release \
  && cmake --build --preset release --target qzo-worker \
  && strip build/release/bin/qzo-worker

# CUDA's runtime is part of the program; the driver comes from the host, by NVIDIA's container toolkit (docs/gpu.md).
FROM worker AS worker-cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility NVIDIA_REQUIRE_CUDA=cuda>=13.0
COPY --from=build-cuda /src/build/release/bin/qzo-worker /usr/local/bin/

# 200 MB more: for rows between stages that travel by NCCL (--stage-transport nccl).
FROM worker-cuda AS worker-cuda-nccl
COPY --from=build-cuda /opt/cuda/nvidia/nccl/lib/libnccl.so.2 /usr/local/lib/
USER 0
RUN ldconfig
USER 10001
