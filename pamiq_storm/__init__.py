"""Train models that do not fit into device memory, bit for bit."""
