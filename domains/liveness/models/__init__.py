"""Image-text models of liveness: categories by text, FLIP."""
