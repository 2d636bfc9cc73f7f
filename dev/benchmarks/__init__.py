"""What `make bench` measures: each row against something else in the same run, on the same images."""
