"""Files to what models take."""
