"""Alerts and a dashboard over the metrics that TF Serving shows."""
