"""Load on a model server: requests that are sent when they are due, whether or not earlier ones were answered."""
