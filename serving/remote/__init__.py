"""What the client is made of: addresses, messages, tensors, and the two ways to a server; all without TensorFlow."""
