"""TF Serving on one machine, with Docker Compose."""
