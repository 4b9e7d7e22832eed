"""Benchmarks: `make bench` measures the raw limits of this machine and, in the same run, what pncpki makes of them."""
