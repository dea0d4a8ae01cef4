"""Published layouts of contrastive models, converted; a room names the ones it has under ``CONVERTERS``."""
