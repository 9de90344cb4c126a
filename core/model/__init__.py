"""The model: what it is asked, what it answers, and the adapter to Claude's API."""
