"""The Spark jobs: an importable package, zipped whole for --py-files; it knows no Airflow and no bucket."""
