"""Whether a picture can be judged at all: gates, each with its value and limit."""
