"""UrbanCLIP: the contrastive captioner, its losses, its decoding, its converter."""
