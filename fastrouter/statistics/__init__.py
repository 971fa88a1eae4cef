"""What is counted, as JSON and for Prometheus."""
