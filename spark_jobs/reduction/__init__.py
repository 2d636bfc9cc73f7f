"""From features to few components: which features count, their moments, the PCA and its results."""
