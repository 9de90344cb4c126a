"""Latchkey's library: what a conversation is and how a turn of it is answered. It knows no HTTP and no AWS event."""
