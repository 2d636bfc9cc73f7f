# Airflow with the packages of docker/requirements.txt, and nothing else: DAGs and plugins are mounted (docker-compose.yaml).
FROM python:3.11-slim-bookworm

RUN useradd --uid 50000 --create-home airflow \
  && mkdir -p /opt/airflow/logs && chown -R airflow /opt/airflow
COPY docker/requirements.txt /tmp/requirements.txt
RUN python -m venv /opt/venv \
  && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /tmp/requirements.txt

ENV PATH=/opt/venv/bin:$PATH AIRFLOW_HOME=/opt/airflow PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY docker/healthy.py /opt/healthy.py
USER airflow
WORKDIR /opt/airflow
ENTRYPOINT ["airflow"]
