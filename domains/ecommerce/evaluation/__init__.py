"""How well a model or a catalogue finds products."""
