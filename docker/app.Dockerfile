# "Which fruit is this?"
FROM python:3.11-slim-bookworm

RUN useradd --uid 50000 --create-home fruits
COPY app/requirements.txt /tmp/requirements.txt
RUN python -m venv /opt/venv \
  && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /tmp/requirements.txt
WORKDIR /fruits
COPY spark_jobs spark_jobs
COPY app app

ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER fruits
ENTRYPOINT ["python", "-m", "app", "--host", "0.0.0.0", "--port", "8090"]
