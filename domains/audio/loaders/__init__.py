"""Sound and video files to samples."""
