"""From a name, a folder or a Hub repository to a model, and back."""
