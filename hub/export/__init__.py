"""Models in the formats of other libraries, each checked against the model it was made from."""
