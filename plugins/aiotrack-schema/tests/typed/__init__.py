"""For type checkers."""
