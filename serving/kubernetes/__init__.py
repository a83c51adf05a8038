"""TF Serving in Kubernetes, alone or through KServe."""
