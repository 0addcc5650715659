"""PyTorch models that infer in one thread while another trains them."""
