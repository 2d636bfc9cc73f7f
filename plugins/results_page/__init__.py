"""The parts of `results_plugin`: what is read from S3, and the pages that show it."""
