"""The Spark that local_emr's steps run on: this repository's Spark environment."""

from demo.local_airflow import PROJECT
from local_emr import Spark

SPARK = Spark(
    python=PROJECT / ".venv/spark/bin/python",
    java_home=PROJECT / ".venv/java",
    jars=PROJECT / ".venv/jars",
    yarn_jars=PROJECT / ".venv/yarn-jars",
    class_archive=PROJECT / ".venv/spark-classes.jsa",
)
