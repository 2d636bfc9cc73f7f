"""What the DAG is made of: settings, requests and checks. Knows Airflow and AWS; knows no Spark."""
