"""MiniFASNet: the small convolutional baseline."""
