"""The doctor: what the model would refuse in a stored conversation, and how it is mended."""
