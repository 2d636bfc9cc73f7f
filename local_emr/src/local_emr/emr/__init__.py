"""EMR: the API, the clusters and the steps behind it."""
