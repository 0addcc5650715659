"""A double of the CUDA runtime: torch's CUDA build runs on host threads. See README.md beside this file."""
