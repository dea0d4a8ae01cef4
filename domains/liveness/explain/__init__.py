"""What a decision rests on: words, frame, and where in the picture."""
