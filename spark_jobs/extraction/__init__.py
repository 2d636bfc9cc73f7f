"""From a manifest of images to features and rejects: the network, its input and its outputs."""
