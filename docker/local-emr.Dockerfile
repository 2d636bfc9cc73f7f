# The local AWS endpoint with the Spark that its steps run on, and the demo's images and weights.
FROM python:3.11-slim-bookworm

RUN apt-get update \
  && apt-get install -y --no-install-recommends make openjdk-17-jre-headless procps \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 50000 --create-home fruits \
  && mkdir /data && chown fruits /data
WORKDIR /fruits
COPY Makefile pyproject.toml ./
COPY dev dev
COPY requirements requirements
COPY local_emr local_emr
# Compiled here, as the user below may not write what Python compiles. The cache holds 1 GB that nothing needs any more.
RUN UV_COMPILE_BYTECODE=1 make setup && rm -rf ~/.cache
COPY demo demo
RUN .venv/airflow/bin/python -m demo.seed --weights-only

ENV LOCAL_EMR_SPARK_PYTHON=/fruits/.venv/spark/bin/python \
  LOCAL_EMR_JARS=/fruits/.venv/jars \
  LOCAL_EMR_JAVA_HOME=/fruits/.venv/java \
  LOCAL_EMR_CLASS_ARCHIVE=/fruits/.venv/spark-classes.jsa \
  PATH=/fruits/.venv/airflow/bin:$PATH \
  PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER fruits
# Every address of its container, for the published port; outside, docker-compose.yaml lets this machine alone reach it.
CMD ["python", "-m", "local_emr", "--host", "0.0.0.0", "--port", "5555", "--data-dir", "/data"]
