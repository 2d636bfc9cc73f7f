"""`make demo`: the whole pipeline on this machine, on drawn or on one's own images."""
