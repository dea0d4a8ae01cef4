"""A catalogue on disk: what is in it, taking in rows, and search."""
