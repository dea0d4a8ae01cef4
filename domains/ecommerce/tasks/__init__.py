"""What users do with product models beyond embedding and classifying; see each module."""
