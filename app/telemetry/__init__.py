"""What the operator is told: metrics, log lines, spans."""
