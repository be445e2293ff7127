"""Events → tables."""
