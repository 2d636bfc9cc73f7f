"""`make demo` and `make ui`: the whole pipeline on this machine, on drawn images or on your own."""
