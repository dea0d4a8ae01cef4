"""What users do with liveness models; see each module."""
