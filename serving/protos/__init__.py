"""Protocol buffers of TF Serving that `tensorflow-serving-api` does not ship, in pools of their own."""
