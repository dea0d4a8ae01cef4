"""Product pictures as samples."""
