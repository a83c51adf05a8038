"""Siamese networks: where in a picture is what another picture shows."""
