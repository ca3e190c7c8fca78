"""What the stages hand each other: frozen records, the catalogue that loads them, and the tree of errors."""
