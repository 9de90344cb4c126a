"""From this machine to AWS: `make deploy`, `make secret`, `make remove`. See __main__.py."""
