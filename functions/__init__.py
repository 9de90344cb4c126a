"""What AWS invokes, and the HTTP that it speaks. Thin: the work is in core."""
