"""Evidence: specs in, records out, tables from records."""
