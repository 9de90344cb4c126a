"""What the workbench's servers have in common: HTTP/1.1 on 127.0.0.1, which can also misbehave as a network does."""
