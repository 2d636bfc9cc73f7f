"""How long the work takes: docs/cost.md says where each figure is from."""

from datetime import timedelta

# Of a run without images: the cluster's start and end, and the start of three steps. An estimate.
FIXED = timedelta(minutes=15)
# Extraction on an m5's hardware threads: images of 100 x 100 pixels, half of what a whole core does. An estimate.
IMAGES_PER_VCPU_SECOND = 50
# Reading the features of all images back, new ones or not. An estimate.
REDUCED_PER_VCPU_SECOND = 1000
