"""One room per vertical. A room imports ``core`` and itself, never another room."""
