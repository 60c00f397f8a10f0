"""Command lines, and what stands behind the numbers of the documents."""
