"""Application sessions: who is talking, and which agent holds the conversation."""
