# D-AR's server. CPU by default; --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 for NVIDIA GPUs.
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN pip install -c constraints.txt torch numpy --extra-index-url ${TORCH_INDEX}
COPY src ./src
RUN pip install -c constraints.txt '.[serve]'

RUN useradd --create-home dar
USER dar
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=5)"
ENTRYPOINT ["dar", "serve", "--host", "0.0.0.0"]
