# The command and the search page, in a container.
#
#   docker build --target cpu -t vsearch .            or --target cuda, for NVIDIA GPUs
#   docker run --rm -v "$PWD/photos:/photos:ro" -v vsearch:/data vsearch index /photos -o /data/photos.index
#   docker run --rm -v "$PWD/photos:/photos:ro" -v vsearch:/data -p 127.0.0.1:8080:8080 vsearch
#
# Pictures are looked for where they were indexed: give /photos the same folder both times. compose.yaml
# does all of it.

FROM python:3.11-slim AS source
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY vsearch_fast vsearch_fast
COPY kernels kernels
COPY export export

FROM python:3.11-slim AS base
# One user, no root; what is compiled and what is indexed outlives the container in /data.
RUN useradd --create-home --uid 10001 vsearch && install -d -o vsearch /data
ENV VSEARCH_CACHE_DIR=/data/.cache PYTHONUNBUFFERED=1
VOLUME /data
WORKDIR /data
EXPOSE 8080
ENTRYPOINT ["vsearch"]
CMD ["serve", "/data/photos.index", "--host", "0.0.0.0", "--port", "8080"]

FROM base AS cuda
# CUDA 12's libraries come as packages; the machine gives the driver (docker run --gpus all).
RUN --mount=from=source,source=/source,target=/source,rw \
    pip install --no-cache-dir --constraint /source/constraints.txt "/source[gpu,serve,jpeg,heif]"
USER vsearch

FROM base AS cpu
RUN --mount=from=source,source=/source,target=/source,rw \
    pip install --no-cache-dir --constraint /source/constraints.txt "/source[cpu,serve,jpeg,heif]"
USER vsearch
