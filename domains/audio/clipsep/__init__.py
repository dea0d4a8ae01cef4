"""CLIPSep and its relatives: separation of sounds by a query."""
