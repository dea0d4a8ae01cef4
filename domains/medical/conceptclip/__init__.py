"""ConceptCLIP: a dual encoder whose caption concepts are tied to image patches."""
