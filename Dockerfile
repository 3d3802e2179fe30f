# Two images from one file: `geolabel` (backend, workers, command line) and `labelstudio`.
#   docker build --target geolabel -t geolabel:local .
#   docker build --target labelstudio -t geolabel-labelstudio:local .
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 UV_LINK_MODE=copy UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never PATH=/opt/uv/bin:$PATH
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 libgomp1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==0.13.9 \
    && useradd --create-home --uid 10001 geolabel \
    && install -d -o geolabel -g geolabel /data

FROM base AS labelstudio
COPY requirements/labelstudio.txt /build/labelstudio.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv --python python3 /opt/venv && uv pip sync --python /opt/venv/bin/python /build/labelstudio.txt
ENV PATH=/opt/venv/bin:$PATH
USER geolabel
WORKDIR /data
EXPOSE 8080
CMD ["label-studio", "start", "--no-browser", "--internal-host", "0.0.0.0", "--port", "8080"]

FROM base AS geolabel
COPY requirements/geolabel.txt /build/geolabel.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv --python python3 /opt/venv && uv pip sync --python /opt/venv/bin/python /build/geolabel.txt
ENV PATH=/opt/venv/bin:$PATH
COPY pyproject.toml README.md LICENSE /app/
COPY geolabel /app/geolabel
COPY ml_backend /app/ml_backend
COPY workers /app/workers
COPY ls_configs /app/ls_configs
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --python /opt/venv/bin/python --no-deps -e .
USER geolabel
EXPOSE 9090
CMD ["uvicorn", "ml_backend.app:app", "--host", "0.0.0.0", "--port", "9090"]
