# syntax=docker/dockerfile:1
# Any verb: docker run --rm -v "$PWD":/work convoy run configs/quickstart.yaml
# BASE=cpu (default) or BASE=gpu; the GPU image brings CUDA as packages and needs the NVIDIA container toolkit on the host.
ARG BASE=cpu
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build-cpu
ENV EXTRAS="[full]"
FROM python:${PYTHON}-slim AS build-gpu
ENV EXTRAS="[gpu]"

FROM build-${BASE} AS build
RUN python -m venv /opt/convoy
ENV PATH=/opt/convoy/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY pipeline pipeline
COPY models models
COPY serving serving
RUN pip install --constraint constraints.txt ".${EXTRAS}"

FROM python:${PYTHON}-slim
RUN useradd --create-home --uid 1000 convoy
COPY --from=build /opt/convoy /opt/convoy
ENV PATH=/opt/convoy/bin:$PATH PYTHONUNBUFFERED=1 TF_USE_LEGACY_KERAS=1
USER convoy
WORKDIR /work
ENTRYPOINT ["convoy"]
CMD ["--help"]
