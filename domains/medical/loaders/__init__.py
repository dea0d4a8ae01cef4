"""Medical images and volumes from files."""
